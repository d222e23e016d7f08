package store

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/store/record"
)

// The first notification of a recorded call names neither thread nor organizer;
// a later one does, and nothing takes that back.
func TestAnsweredAddsWhatWasNotKnown(t *testing.T) {
	r := newRig(t)
	r.join("a")
	bare, known := claim(callID(1)), claim(callID(2))
	bare.Thread, bare.Organizer = "", ""
	known.Thread, known.Organizer = "19:first", "ann"
	r.claimOn(1, fit("a"), bare, known)
	facts := func(i int, thread, organizer string) {
		t.Helper()
		c := r.call(callID(i))
		if diff := cmp.Diff([]string{thread, organizer}, []string{c.Thread, c.Organizer}); diff != "" || c.State != ownership.CallAnswered {
			t.Errorf("call %d is %s (-want +got):\n%s", i, c.State, diff)
		}
	}
	tell := func(s, i int, thread, organizer string) {
		t.Helper()
		b, err := record.EncodeAct(ownership.Answered{At: at(s), Call: callID(i), Epoch: 1, Thread: thread, Organizer: organizer}, 2)
		if err != nil {
			t.Fatal(err)
		}
		if out := r.entry(b); out.Err != nil {
			t.Fatal(out.Err)
		}
	}
	tell(2, 1, "19:x", "")
	facts(1, "19:x", "")
	tell(3, 1, "19:y", "bob")
	facts(1, "19:x", "bob")
	tell(3, 2, "19:y", "bob")
	facts(2, "19:first", "ann")
	hash, _ := r.table.Hash()
	tell(4, 1, "", "bob")
	if again, _ := r.table.Hash(); again != hash {
		t.Error("a repeat that adds nothing changed the table")
	}
	r.reopen()
	facts(1, "19:x", "bob")
}
