package store

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/ownership/history"
)

// call is how one stands: who acts for it, at which epoch, and how far it is.
type stand3 struct {
	owner ownership.NodeID
	epoch ownership.Epoch
	state ownership.CallState
}

// stands compares how calls stand in every way in which the table tells it.
func (r *rig) stands(when string, want map[int]stand3) {
	r.Helper()
	page, _, err := r.table.Calls(ownership.CallFilter{}, "", 0)
	if err != nil {
		r.Fatal(err)
	}
	for n, w := range want {
		id := callID(n)
		k, _ := r.table.Known(id)
		c := r.call(id)
		i := slices.IndexFunc(page, func(c ownership.Call) bool { return c.ID == id })
		for what, got := range map[string]stand3{
			"Known": {k.Owner, k.Epoch, k.State}, "Call": {c.Owner, c.Epoch, c.State}, "Calls": {page[i].Owner, page[i].Epoch, page[i].State},
		} {
			if got != w {
				r.Errorf("%s call %d stands at %+v by %s, want %+v", when, n, got, what, w)
			}
		}
		by, _, err := r.table.Calls(ownership.CallFilter{Node: w.owner, State: w.state, Partition: c.Partition}, "", 0)
		if err != nil {
			r.Fatal(err)
		}
		if !slices.ContainsFunc(by, func(c ownership.Call) bool { return c.ID == id }) {
			r.Errorf("%s call %d is not listed among the %s calls of node %s", when, n, w.state, w.owner)
		}
	}
}

// frozen is a region whose node a held a ringing, a movable and two app-hosted
// calls of two apps in partition 1 when it fell silent, and b got the partition.
func frozen(t *testing.T, lapsed ...ownership.AppID) *rig {
	r := newRegion(t)
	r.must(ownership.Join{At: at(0), Node: node("a"), Partitions: 1})
	r.join("b")
	second := func(c *ownership.Claim) { c.App, c.Pinned = "app-2", true }
	r.claimOn(1, fit("a"), claim(callID(1)), claim(callID(2)), claim(callID(3), pinned), claim(callID(4), second), claim(callID(5), pinned))
	for i := 2; i <= 4; i++ {
		r.must(ownership.Answered{At: at(2), Call: callID(i), Epoch: 1})
	}
	r.must(ownership.Failover{At: at(10), Node: "a", Fitness: fit("b"), Lapsed: lapsed})
	return r
}

// TestO22_SilenceIsNotDeath: the answered app-hosted calls of a silent node keep
// partition, owner and epoch; what rings or can move goes at once.
func TestO22_SilenceIsNotDeath(t *testing.T) {
	r := frozen(t)
	reserved := map[int]stand3{
		1: {"b", 2, ownership.CallClaimed}, 2: {"b", 2, ownership.CallAnswered},
		3: {"a", 1, ownership.CallAnswered}, 4: {"a", 1, ownership.CallAnswered}, 5: {"b", 2, ownership.CallClaimed},
	}
	for _, when := range []string{"after the failover", "after a start"} {
		r.stands(when, reserved)
		want := ownership.Partition{ID: 1, Owner: "b", Epoch: 2, BornOn: "a", Live: 3,
			Reserved: []ownership.Reservation{{Node: "a", Epoch: 1, Since: at(10), Live: 2}}}
		if p, _ := r.table.Partition(1); !cmp.Equal(p, want) {
			t.Errorf("%s the partition is %+v", when, p)
		}
		if a, b, all := r.table.Live("a"), r.table.Live("b"), r.table.Counts().Live; a != 2 || b != 3 || all != 5 {
			t.Errorf("%s a acts for %d calls, b for %d, %d in all", when, a, b, all)
		}
		r.reopen()
	}
	r.passSnapshot()
	r.stands("after a snapshot", reserved)

	// The silence has lasted too long for one app, then for all.
	r.must(ownership.Lapse{At: at(40), Node: "a", Apps: []ownership.AppID{"app-1"}})
	r.stands("after one app lapsed", map[int]stand3{3: {"b", 2, ownership.CallOrphaned}, 4: {"a", 1, ownership.CallAnswered}})
	if a, b := r.table.Live("a"), r.table.Live("b"); a != 1 || b != 3 {
		t.Errorf("after one app lapsed a acts for %d calls, b for %d", a, b)
	}
	r.must(ownership.Lapse{At: at(41), Node: "a"})
	r.stands("after all lapsed", map[int]stand3{3: {"b", 2, ownership.CallOrphaned}, 4: {"b", 2, ownership.CallOrphaned}})

	// b's bot took one of them up before a came back.
	r.refused(ownership.TakeUp{At: at(42), Call: callID(3), Epoch: 1}, ownership.ErrStaleEpoch, "at epoch 2")
	r.refused(ownership.TakeUp{At: at(42), Call: callID(3), Epoch: 3}, ownership.ErrFutureEpoch, "at epoch 2")
	r.refused(ownership.TakeUp{At: at(42), Call: callID(2), Epoch: 2}, ownership.ErrConflict, "it is answered")
	r.must(ownership.TakeUp{At: at(42), Call: callID(3), Epoch: 2})
	r.must(ownership.TakeUp{At: at(43), Call: callID(3), Epoch: 2})
	r.must(ownership.Reclaim{At: at(44), Node: "a"})
	for range 2 {
		r.stands("after a came back", map[int]stand3{3: {"b", 2, ownership.CallOrphaned}, 4: {"a", 1, ownership.CallAnswered}})
		if p, _ := r.table.Partition(1); len(p.Reserved) != 1 || p.Reserved[0].Live != 1 {
			t.Errorf("after a came back the partition is %+v", p)
		}
		r.reopen()
	}
	r.refused(ownership.TakeUp{At: at(45), Call: callID(4), Epoch: 2}, ownership.ErrConflict, "it is answered")

	// a ends its call at its own epoch, and nobody else does.
	r.refused(ownership.Release{At: at(46), Call: callID(4), Epoch: 2, Why: "over"}, ownership.ErrConflict, "node a acts for the call at epoch 1")
	r.must(ownership.Release{At: at(46), Call: callID(4), Epoch: 1, Why: "over"})
	if p, _ := r.table.Partition(1); len(p.Reserved) != 0 || p.Live != 3 {
		t.Errorf("after its last call ended the reservation is still there: %+v", p)
	}
	if a := r.table.Live("a"); a != 0 {
		t.Errorf("a acts for %d calls", a)
	}
}

// TestO22_TheTimelineTells: whoever asks for a call learns what became of its
// partition while it was live, and nothing else.
func TestO22_TheTimelineTells(t *testing.T) {
	r := newRegion(t, "a", "b")
	r.must(ownership.Move{At: at(0), Partition: 1, Epoch: 1, To: "b"})
	r.must(ownership.Move{At: at(0), Partition: 1, Epoch: 2, To: "a"})
	out := r.claimOn(1, fit("a"), claim(callID(1), pinned), claim(callID(2), pinned))
	other := out.Placements[1].Partition
	if out.Placements[0].Partition != 1 || other == 1 {
		t.Fatalf("the placements are %+v", out.Placements)
	}
	r.must(ownership.Answered{At: at(2), Call: callID(1), Epoch: 3})
	last := r.lastEvent()
	r.must(ownership.Failover{At: at(3), Node: "a", Fitness: fit("b")})
	r.must(ownership.Lapse{At: at(4), Node: "a"})
	r.must(ownership.Lapse{At: at(4), Node: "a"})
	r.must(ownership.Reclaim{At: at(5), Node: "a"})
	r.must(ownership.Reclaim{At: at(5), Node: "a"})
	r.must(ownership.Lapse{At: at(6), Node: "a"})
	r.must(ownership.TakeUp{At: at(7), Call: callID(1), Epoch: 4})
	r.must(ownership.Release{At: at(8), Call: callID(1), Epoch: 4, Why: "over"})
	r.must(ownership.Move{At: at(9), Partition: 1, Epoch: 4, To: "a"})
	want := []history.Kind{history.Moved, history.Moved, history.Silent, history.Lapsed, history.Reclaimed, history.Lapsed, history.TakenUp, history.Ended, history.Moved}
	if got := r.kinds(last); !slices.Equal(got, want) {
		t.Errorf("the history is %v, want %v", got, want)
	}
	line, err := r.table.Timeline(callID(1))
	if err != nil {
		t.Fatal(err)
	}
	var got []history.Kind
	for _, e := range line {
		got = append(got, e.Kind)
	}
	want = []history.Kind{history.Claimed, history.Answered, history.Moved, history.Lapsed, history.Reclaimed, history.Lapsed, history.TakenUp, history.Ended}
	if !slices.Equal(got, want) {
		t.Errorf("the call's timeline is %v, want %v", got, want)
	}
	if e := line[2]; e.From != "a" || e.Node != "b" || e.Epoch != 4 || e.Text != "0 calls went along, 1 with media on node a are reserved for it" {
		t.Errorf("the move is told as %+v", e)
	}
	if e := line[4]; e.Node != "a" || e.From != "b" || e.Text != "1 calls are node a's again" {
		t.Errorf("the return is told as %+v", e)
	}
}

// Apps that wait for nobody, and nodes that were removed, leave orphans at once.
func TestO22_WhoDoesNotWait(t *testing.T) {
	r := frozen(t, "app-2")
	r.stands("after the failover", map[int]stand3{3: {"a", 1, ownership.CallAnswered}, 4: {"b", 2, ownership.CallOrphaned}})
	r.must(ownership.Depart{At: at(20), Node: "a", Fitness: fit("b")})
	r.stands("after a was removed", map[int]stand3{3: {"b", 2, ownership.CallOrphaned}, 4: {"b", 2, ownership.CallOrphaned}})
	r.refused(ownership.Reclaim{At: at(21), Node: "a"}, ownership.ErrConflict, "was removed")
	again := node("a")
	again.Incarnation = "new"
	r.must(ownership.Join{At: at(22), Node: again, Partitions: 1})
	r.must(ownership.Reclaim{At: at(23), Node: "a"})
	r.stands("after its id came back", map[int]stand3{3: {"b", 2, ownership.CallOrphaned}, 4: {"b", 2, ownership.CallOrphaned}})

	r = newRegion(t, "a", "b")
	r.claimOn(1, fit("a"), claim(callID(1), pinned, func(c *ownership.Claim) { c.Answered = true }))
	r.must(ownership.Depart{At: at(2), Node: "a", Fitness: fit("b")})
	r.stands("after its node left", map[int]stand3{1: {"b", 2, ownership.CallOrphaned}})
	r.refused(ownership.Lapse{At: at(3), Node: "x"}, ownership.ErrUnknown, "ending the wait")
	r.refused(ownership.Reclaim{At: at(3), Node: "x"}, ownership.ErrUnknown, "reclaiming")
}

// A node that dies, comes back and dies again leaves a reservation for each time.
func TestO22_SilentTwice(t *testing.T) {
	r := frozen(t)
	r.must(ownership.Failover{At: at(20), Node: "b", Fitness: fit("a")})
	r.must(ownership.Answered{At: at(21), Call: callID(5), Epoch: 3})
	r.must(ownership.Failover{At: at(30), Node: "a", Fitness: fit("b"), Lapsed: []ownership.AppID{ownership.AllApps}})
	r.stands("after its second death", map[int]stand3{3: {"b", 4, ownership.CallOrphaned}, 5: {"b", 4, ownership.CallOrphaned}})
	r.must(ownership.Reclaim{At: at(31), Node: "a"})
	r.stands("after its second return", map[int]stand3{
		1: {"b", 4, ownership.CallClaimed}, 3: {"a", 1, ownership.CallAnswered}, 5: {"a", 3, ownership.CallAnswered},
	})
	if got := r.table.Live("a"); got != 3 {
		t.Errorf("a acts for %d calls, want 3", got)
	}
	if _, err := r.table.Events(0, 0); err != nil {
		t.Error(err)
	}
}

// TestFacts: an answer that the cloud took and an end that it told hold at any
// epoch that was.
func TestFacts(t *testing.T) {
	r := frozen(t)
	r.refused(ownership.Answered{At: at(11), Call: callID(5), Epoch: 3}, ownership.ErrFutureEpoch, "is at epoch 2")
	r.refused(ownership.Answered{At: at(11), Call: callID(5), Epoch: 0}, ownership.ErrStaleEpoch, "epoch 0")
	r.must(ownership.Answered{At: at(11), Call: callID(5), Epoch: 1}) // a's record came late
	r.must(ownership.Answered{At: at(11), Call: callID(1), Epoch: 1})
	r.refused(ownership.Answered{At: at(12), Call: callID(5), Epoch: 2, Thread: "19:x"}, ownership.ErrConflict, "it is orphaned")
	r.stands("after late answers", map[int]stand3{5: {"b", 2, ownership.CallOrphaned}, 1: {"b", 2, ownership.CallAnswered}})
	if p, _ := r.table.Partition(1); p.Reserved[0].Live != 2 || p.Live != 2 {
		t.Errorf("after late answers the partition is %+v", p)
	}
	r.refused(ownership.Release{At: at(13), Call: callID(2), Epoch: 1, Why: "over"}, ownership.ErrStaleEpoch, "the call is at epoch 2")
	r.must(ownership.Release{At: at(13), Call: callID(2), Epoch: 1, Why: "the cloud says so", Told: true})
	r.must(ownership.Release{At: at(13), Call: callID(3), Epoch: 7, Why: "the cloud says so", Told: true})
	r.must(ownership.Release{At: at(14), Call: callID(3), Epoch: 1, Why: "again"})
	if c := r.call(callID(3)); c.State != ownership.CallEnded || c.Ending != "the cloud says so" {
		t.Errorf("the ended call is %+v", c)
	}
	r.refused(ownership.Answered{At: at(15), Call: callID(2), Epoch: 1}, ownership.ErrConflict, "it is ended")

	// Nothing was reserved in this partition: such a late answer leaves an orphan.
	r = newRegion(t, "a", "b")
	r.claimOn(1, fit("a"), claim(callID(1), pinned))
	r.must(ownership.Failover{At: at(2), Node: "a", Fitness: fit("b")})
	r.must(ownership.Answered{At: at(3), Call: callID(1), Epoch: 1})
	r.stands("without a reservation", map[int]stand3{1: {"b", 2, ownership.CallOrphaned}})
	if got := r.table.Live("b"); got != 0 {
		t.Errorf("b acts for %d calls, want none", got)
	}
	r.must(ownership.TakeUp{At: at(4), Call: callID(1), Epoch: 2})
}

func TestRecords(t *testing.T) {
	r := newRegion(t, "a")
	r.claimOn(1, fit("a"), claim(callID(1)), claim(callID(2)))
	out := r.do(ownership.Records{At: at(5), Acts: []ownership.Act{
		ownership.Answered{Call: callID(1), Epoch: 1},
		ownership.Answered{Call: callID(9), Epoch: 1},
		ownership.Release{Call: callID(2), Epoch: 2, Why: "over"},
		ownership.Release{Call: callID(2), Epoch: 1, Why: "over"},
		ownership.Seen{Calls: []ownership.CallID{callID(1)}},
		ownership.TakeUp{Call: callID(1), Epoch: 1},
	}})
	want := []string{"", "not in the table", "has not reached", "", "", "it is answered"}
	if out.Err != nil || len(out.Errors) != len(want) {
		t.Fatalf("the batch gave %v, %v", out.Errors, out.Err)
	}
	for i, says := range want {
		if err := out.Errors[i]; (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("record %d gave %v, want %q", i, err, says)
		}
	}
	if c := r.call(callID(1)); !c.AnsweredAt.Equal(at(5)) || !c.SeenAt.Equal(at(5)) {
		t.Errorf("the call is %+v", c)
	}
	if c := r.call(callID(2)); !c.EndedAt.Equal(at(5)) {
		t.Errorf("the call is %+v", c)
	}
}

// TestV1_ADeathCostsTheSame: a failover reads and writes no record of a call,
// however many the dead node had, nor do a lapse, a return and a departure.
func TestV1_ADeathCostsTheSame(t *testing.T) {
	r := newRegion(t, "a", "b", "c")
	var claims []ownership.Claim
	for i := range 3000 {
		claims = append(claims, claim(callID(i+1), func(c *ownership.Claim) {
			c.Answered, c.Pinned, c.Pin.Node = true, i%2 == 0, "a"
		}))
	}
	big := node("a")
	big.Capacity = 100_000
	r.must(ownership.Join{At: at(0), Node: big, Partitions: 2})
	r.claimOn(1, fit("a"), claims...)
	touched := func(what string, act ownership.Act, most int) {
		t.Helper()
		if err := r.table.Flush(); err != nil {
			t.Fatal(err)
		}
		r.must(act)
		r.table.mu.RLock()
		calls, all := len(r.table.dirty.calls), r.table.dirty.size()
		r.table.mu.RUnlock()
		if calls != 0 || all > most {
			t.Errorf("%s wrote %d records of calls, %d in all, want none and at most %d", what, calls, all, most)
		}
	}
	touched("the failover", ownership.Failover{At: at(2), Node: "a", Fitness: fit("b", "c")}, 5)
	if got := r.table.Live("a"); got != 1500 {
		t.Errorf("1,500 calls stay a's, the table says %d", got)
	}
	touched("the lapse", ownership.Lapse{At: at(3), Node: "a"}, 4)
	touched("the return", ownership.Reclaim{At: at(4), Node: "a"}, 4)
	touched("the departure", ownership.Depart{At: at(5), Node: "a", Fitness: fit("b", "c")}, 6)
	if got := r.table.Live("a") + r.table.Live("b") + r.table.Live("c"); got != 1500 {
		t.Errorf("of 3,000 calls 1,500 are orphans, the table counts %d live", got)
	}
}

// TestALateAnswerGivesNothingBack: a call that went to another node as it rang stays
// that one's, an orphan now, whatever becomes of the former owner; what can move is
// answered there as before.
func TestALateAnswerGivesNothingBack(t *testing.T) {
	r := frozen(t)
	out := r.must(ownership.Records{At: at(11), Acts: []ownership.Act{
		ownership.Answered{Call: callID(5), Epoch: 1}, ownership.Answered{Call: callID(1), Epoch: 1},
	}})
	if !slices.Equal(out.Look, []ownership.PartitionID{1}) {
		t.Errorf("to be looked at is %v", out.Look)
	}
	want := map[int]stand3{5: {"b", 2, ownership.CallOrphaned}, 1: {"b", 2, ownership.CallAnswered}, 3: {"a", 1, ownership.CallAnswered}}
	r.stands("after the answer", want)
	r.must(ownership.Reclaim{At: at(12), Node: "a"})
	r.reopen()
	r.stands("after a came back", want)
	r.must(ownership.TakeUp{At: at(13), Call: callID(5), Epoch: 2})
	r.must(ownership.Release{At: at(14), Call: callID(5), Epoch: 2, Why: "over"})
}

// TestAnOlderRegionTellsNoSilence: software that reads an earlier format tells none, and
// all nodes are to have one history.
func TestAnOlderRegionTellsNoSilence(t *testing.T) {
	for format, told := range map[uint32]bool{ownership.FormatLedger - 1: false, ownership.FormatLedger: true} {
		r := newRig(t, func(o *Options) { o.FlushEvery = time.Hour })
		r.must(ownership.SetFormat{At: at(0), Format: format})
		r.join("a", "b")
		last := r.lastEvent()
		r.must(ownership.Failover{At: at(3), Node: "a", Fitness: fit("b")})
		if got := r.kinds(last); slices.Contains(got, history.Silent) != told {
			t.Errorf("in format %d the history is %v", format, got)
		}
	}
}
