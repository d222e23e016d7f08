package desk

import (
	"strings"
	"testing"
	"time"

	"tandem/ownership"
)

func TestDeskFindsTwoOwnersAndPassedEpochs(t *testing.T) {
	d, err := Open("127.0.0.1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.Owner(1, 1, "emea-1", "a redirect")
	d.Owner(1, 2, "emea-2", "a redirect")
	d.Owner(1, 1, "emea-1", "the table")
	if b := d.Broken(); len(b) != 0 {
		t.Errorf("found %q in a good story", b)
	}
	d.Owner(1, 2, "emea-3", "the table")
	if b := d.Broken(); len(b) != 1 {
		t.Errorf("found %q, want the two owners of one epoch", b)
	}
}

func TestDeskJudgesTandemsOwnEvents(t *testing.T) {
	d, err := Open("127.0.0.1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	told := func(node, event string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.eventLocked(ownership.NodeID(node), "c1", ownership.Event(event))
	}
	told("emea-1", "incoming")
	told("emea-2", "rejoin")
	if on := d.Has("c1"); len(on) != 2 {
		t.Errorf("media at %v, want both until one is told `lost`", on)
	}
	told("emea-1", "lost")
	if on, b := d.Has("c1"), d.Broken(); len(on) != 1 || on[0] != "emea-2" || len(b) != 0 {
		t.Errorf("media at %v; found %q in a good story", on, b)
	}
	told("emea-2", "rejoin")
	if b := d.Broken(); len(b) != 1 || !strings.Contains(b[0], "whose media it has") {
		t.Errorf("found %q, want the rejoin of what lives", b)
	}
	d.over["c1"] = time.Now().Add(-time.Minute)
	told("emea-3", "adopted")
	if b := d.Broken(); len(b) != 2 || !strings.Contains(b[1], "which had ended") {
		t.Errorf("found %q, want the adoption of what ended", b)
	}
}
