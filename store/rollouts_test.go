package store

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/ownership/history"
)

func rolloutOf(version string, share int) ownership.Rollout {
	return ownership.Rollout{App: "app", Version: version, Share: share, By: "ann"}
}

func TestRulesForVersionsAreFacts(t *testing.T) {
	r := newRegion(t, "a")
	r.must(ownership.SetRollout{At: at(1), Rollout: rolloutOf("2.5.0", 100)})
	// The leader judged by a rule that is no longer the one: it must not undo what an operator did.
	halt := rolloutOf("2.5.0", 100)
	halt.Halted, halt.By, halt.Reason = true, "tandem", "halted: 5 of its 5 calls ended badly"
	r.refused(ownership.SetRollout{At: at(2), Rollout: halt, Auto: true, Expect: 7}, ownership.ErrConflict, "changed meanwhile")
	r.refused(ownership.SetRollout{At: at(2), Rollout: halt, Auto: true}, ownership.ErrConflict, "changed meanwhile")
	before := r.lastEvent()
	entries := len(r.entries())
	r.must(ownership.SetRollout{At: at(3), Rollout: halt, Auto: true, Expect: 1})
	if got := r.kinds(before); !cmp.Equal(got, []history.Kind{history.RolloutHalted}) {
		t.Errorf("the history tells %q", got)
	}
	if all := r.entries(); len(all) != entries+1 || all[entries].By != "tandem" || !strings.Contains(all[entries].Reason, "5 of its 5") {
		t.Errorf("the ledger has %+v", all[entries:])
	}
	r.refused(ownership.SetRollout{At: at(4), Rollout: rolloutOf("", 100)}, ownership.ErrConflict, "1 to 64 bytes")
	r.refused(ownership.SetRollout{At: at(4), Rollout: rolloutOf("3", 0)}, ownership.ErrConflict, "must be from 1")
	r.refused(ownership.EndRollout{At: at(4), App: "app", Version: "3"}, ownership.ErrUnknown, "3")
	want := halt
	want.At, want.Number = at(3), 2
	r.reopen()
	if got := r.table.Rollouts(); !cmp.Equal(got, []ownership.Rollout{want}) {
		t.Errorf("after a restart the rules are %+v, want %+v", got, want)
	}
	// A restore brings back no version that was halted since.
	old := newRegion(t, "a").snapshotBytes()
	var out bytes.Buffer
	if _, err := (Today{Rollouts: r.table.Rollouts()}).With(bytes.NewReader(old), &out); err != nil {
		t.Fatal(err)
	}
	fresh := newRig(t)
	if err := fresh.table.Restore(io.NopCloser(&out)); err != nil {
		t.Fatal(err)
	}
	if got := fresh.table.Rollouts(); len(got) != 1 || !got[0].Halted {
		t.Errorf("after a restore the rules are %+v", got)
	}
	r.must(ownership.EndRollout{At: at(5), App: "app", Version: "2.5.0", By: "ann"})
	if got := r.table.Rollouts(); len(got) != 0 {
		t.Errorf("ended, the rules are %+v", got)
	}
}

func TestRulesForVersionsAreBoundedAndAHaltFindsRoom(t *testing.T) {
	r := newRegion(t, "a")
	for i := range ownership.MaxRollouts {
		r.must(ownership.SetRollout{At: at(i), Rollout: rolloutOf(fmt.Sprintf("1.%02d", i), 100)})
	}
	r.refused(ownership.SetRollout{At: at(99), Rollout: rolloutOf("2", 100)}, ownership.ErrConflict, "end one first")
	halt := rolloutOf("2", 100)
	halt.Halted = true
	r.must(ownership.SetRollout{At: at(100), Rollout: halt, Auto: true})
	got := r.table.Rollouts()
	if len(got) != ownership.MaxRollouts || got[0].Version != "1.01" || got[len(got)-1].Version != "2" {
		t.Errorf("the rules are %d, from %s to %s", len(got), got[0].Version, got[len(got)-1].Version)
	}
}

// TestARegionOfOlderFormatRefusesRulesForVersions with a sentence that says what to do.
func TestARegionOfOlderFormatRefusesRulesForVersions(t *testing.T) {
	r := newRig(t)
	r.must(ownership.SetFormat{At: at(0), Format: ownership.FormatRollouts - 1})
	r.join("a")
	r.refused(ownership.SetRollout{At: at(1), Rollout: rolloutOf("2.5.0", 100)}, ownership.ErrConflict, "it needs 6")
	r.refused(ownership.EndRollout{At: at(1), App: "app", Version: "2.5.0"}, ownership.ErrConflict, "it needs 6")
	r.refused(ownership.TellRollout{At: at(1), App: "app", Text: "x"}, ownership.ErrConflict, "it needs 6")
}
