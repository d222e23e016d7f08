package faultrig

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"tandem/ownership"
)

func TestModel(t *testing.T) {
	claim, read, release := asked{verbClaim, "c1"}, asked{verbRead, "c1"}, asked{verbRelease, "c1"}
	p7, p8 := told{saidOwner, 7, 1}, told{saidOwner, 8, 1}
	nothing, unknown, taken, ended := told{said: saidNothing}, told{said: saidUnknown}, told{said: saidTaken}, told{said: saidEnded}
	const open = math.MaxInt64
	op := func(from, to int64, in asked, out told) porcupine.Operation {
		return porcupine.Operation{Input: in, Output: out, Call: from, Return: to}
	}
	for _, tt := range []struct {
		name string
		ops  []porcupine.Operation
		bad  bool
	}{
		{"claim, read", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, read, p7)}, false},
		{"two owners", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, claim, p8)}, true},
		{"two owners at once", []porcupine.Operation{op(1, 4, claim, p7), op(2, 5, claim, p8)}, true},
		{"a stale read", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, read, nothing)}, true},
		{"a read beside the claim", []porcupine.Operation{op(1, 4, claim, p7), op(2, 3, read, nothing)}, false},
		{"a read of what nobody claimed", []porcupine.Operation{op(1, 2, read, p7)}, true},
		{"a lost claim took effect", []porcupine.Operation{op(1, open, claim, unknown), op(5, 6, read, p7)}, false},
		{"a lost claim took none", []porcupine.Operation{op(1, open, claim, unknown), op(5, 6, read, nothing)}, false},
		{"a lost claim came and went", []porcupine.Operation{op(1, open, claim, unknown), op(5, 6, read, p7), op(7, 8, read, nothing)}, true},
		{"a repeat was taken", []porcupine.Operation{op(1, 3, claim, p7), op(2, 4, claim, taken)}, false},
		{"an epoch rises", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, read, told{saidOwner, 7, 2}), op(5, 6, read, told{saidOwner, 7, 2})}, false},
		{"an epoch falls", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, read, told{saidOwner, 7, 2}), op(5, 6, read, p7)}, true},
		{"an end", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, release, ended), op(5, 6, read, told{saidEnded, 7, 1})}, false},
		{"an end that nobody made", []porcupine.Operation{op(1, 2, claim, p7), op(5, 6, read, told{saidEnded, 7, 1})}, true},
		{"an end undone", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, release, ended), op(5, 6, read, p7)}, true},
		{"a memory that has not heard of the end", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, release, ended), op(5, 6, claim, p7)}, false},
		{"a release that knew no such call", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, release, nothing)}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if bad := linearizable(tt.ops); (len(bad) > 0) != tt.bad {
				t.Errorf("found %q, want a finding: %v", bad, tt.bad)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	all := make([]time.Duration, 20)
	for i := range all {
		all[i] = time.Duration(i + 1)
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 10, 0.95: 19, 1: 20} {
		if got := quantile(all, q); got != want {
			t.Errorf("quantile %v of 1 to 20 is %d, want %d", q, got, want)
		}
	}
}

func TestDeskFindsTwoOwnersAndPassedEpochs(t *testing.T) {
	d, err := newDesk("127.0.0.1", nil)
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
	d, err := newDesk("127.0.0.1", nil)
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
