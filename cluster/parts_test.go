package cluster

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"tandem/ownership"
)

func TestOverlayForgetsWhatTheTableKnows(t *testing.T) {
	o := newPendingClaims()
	p := ownership.Placement{Partition: 4, Epoch: 2, Owner: "b", Reason: ownership.ReasonLeastLoaded}
	o.put(ownership.Claim{Call: "x"}, p, 9, 10)
	if _, ok := o.call("x", 10); ok {
		t.Error("it keeps what the table has applied")
	}
	o.put(ownership.Claim{Call: "x", App: "app", Pinned: true}, p, 11, 10)
	k, ok := o.call("x", 10)
	if want := (ownership.Known{App: "app", Partition: 4, Owner: "b", Epoch: 2, State: ownership.CallClaimed, Pinned: true}); !ok || k != want {
		t.Errorf("it gives %+v, %v", k, ok)
	}
	if n, e, ok := o.partition(4); !ok || n != "b" || e != 2 {
		t.Errorf("it gives partition 4 to %s at %s, %v", n, e, ok)
	}
	o.put(ownership.Claim{Call: "y", Answered: true}, p, 12, 11)
	if _, ok := o.call("x", 10); ok {
		t.Error("it keeps x, which the table has applied since")
	}
	if _, ok := o.call("y", 12); ok {
		t.Error("it gives a call that the table has applied")
	}
	if k, _ := o.call("y", 11); k.State != ownership.CallAnswered {
		t.Errorf("an answered call is %+v", k)
	}
	if _, _, ok := o.partition(4); !ok {
		t.Error("it forgot partition 4, of which a later placement told")
	}
	for i := range maxPending + 100 {
		o.put(ownership.Claim{Call: ownership.CallID(fmt.Sprint(i))}, p, uint64(20+i), 12)
	}
	if len(o.calls) > maxPending+1 {
		t.Errorf("it holds %d calls, at most %d are allowed", len(o.calls), maxPending)
	}
}

func TestF11_AStalledDiskSilencesTheLeader(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	ldr.diskFailed(errors.New("the disk has not answered for 3s"))
	if ldr.Status().Leased || ldr.lease.Valid(time.Now()) {
		t.Error("a node with a stalled disk still acts")
	}
	eventually(t, "the node is told to end", func() bool { return len(ldr.fatals()) == 1 })
	rest := without(nodes, ldr)
	leaderOf(t, rest...)
	claim(t, rest[0], 1)
}
