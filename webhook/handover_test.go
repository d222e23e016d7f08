package webhook

import (
	"context"
	"errors"
	"testing"

	"tandem/ownership"
)

// TestHandOver is the receiving side of a relay: only the acting owner takes it,
// at its own epoch, and never sends it on.
func TestHandOver(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	ho := ownership.HandOver{Event: ownership.EventUpdate, App: ourApp, Call: "c1", Partition: 1, Epoch: 1, Body: []byte("b"), CallbackURI: "https://evil.example/"}
	ctx := context.Background()
	with := func(change func(*ownership.HandOver)) ownership.HandOver {
		h := ho
		change(&h)
		return h
	}
	for _, c := range []struct {
		name string
		to   *node
		ho   ownership.HandOver
		off  bool
		want error
	}{
		{"not the owner", two, ho, false, ownership.ErrStaleEpoch},
		{"no such partition", one, with(func(h *ownership.HandOver) { h.Partition = 9 }), false, ownership.ErrUnknown},
		{"an epoch to come", one, with(func(h *ownership.HandOver) { h.Epoch = 2 }), false, ownership.ErrFutureEpoch},
		{"no lease", one, ho, true, ownership.ErrFenced},
		{"an event of Tandem's own", one, with(func(h *ownership.HandOver) { h.Event = ownership.EventAdopted }), false, ownership.ErrConflict},
		{"no event", one, with(func(h *ownership.HandOver) { h.Event = "" }), false, ownership.ErrConflict},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.to.leaseOff = c.off
			defer func() { c.to.leaseOff = false }()
			if reply, err := c.to.door.HandOver(ctx, c.ho); !errors.Is(err, c.want) {
				t.Errorf("%+v, %v", reply, err)
			}
		})
	}
	if len(one.handed())+len(two.handed())+len(one.relayed())+len(two.relayed()) != 0 {
		t.Fatal("something was handed on")
	}
	if one.counter(t, "tandem_webhook_relayed_in_total", "refused") != 5 {
		t.Error("refusals are not counted")
	}
	reply, err := one.door.HandOver(ctx, ho)
	if err != nil || reply.Status != 202 {
		t.Fatalf("%+v, %v", reply, err)
	}
	r.moves(1, "emea-2")
	r.moves(1, "emea-1")
	if _, err := one.door.HandOver(ctx, ho); err != nil {
		t.Errorf("an older epoch at the present owner: %v", err)
	}
	got := one.handed()
	if got[0].CallbackURI != one.uri(1, 1, "c1") || got[1].Epoch != 3 || got[1].CallbackURI != one.uri(1, 3, "c1") {
		t.Errorf("%+v", got)
	}
	one.reply = func(ownership.HandOver) (ownership.Reply, error) { return ownership.Reply{}, errors.New("no bot") }
	if _, err := one.door.HandOver(ctx, ho); err == nil || isOwnership(err) {
		t.Error(err)
	}
	r.knows("c1", 1, ownership.CallEnded)
	if reply, err := one.door.HandOver(ctx, ho); err != nil || reply.Status != 202 || len(one.handed()) != 3 {
		t.Errorf("an ended call: %+v, %v", reply, err)
	}
}

// TestI4_ARepeatNeedsNoLease: what the owner has handled it answers while its lease
// is broken too, relayed or not; what it has not waits for the lease.
func TestI4_ARepeatNeedsNoLease(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	ho := ownership.HandOver{Event: ownership.EventUpdate, App: ourApp, Call: "c1", Partition: 1, Epoch: 1, MessageID: "m1"}
	one.leaseOff = true
	one.remembers = map[string]ownership.Reply{"m1": {Status: 200, Body: []byte("as before")}}
	if reply, err := one.door.HandOver(t.Context(), ho); err != nil || string(reply.Body) != "as before" {
		t.Errorf("a repeat got %+v, %v", reply, err)
	}
	other := ho
	other.MessageID = "m2"
	if _, err := one.door.HandOver(t.Context(), other); !errors.Is(err, ownership.ErrFenced) {
		t.Errorf("what is new got %v, want ErrFenced", err)
	}
	two.remembers = one.remembers
	if _, err := two.door.HandOver(t.Context(), ho); !errors.Is(err, ownership.ErrStaleEpoch) {
		t.Errorf("a repeat at another node than the owner got %v, want ErrStaleEpoch", err)
	}
	if len(one.handed())+len(two.handed()) != 0 {
		t.Error("a repeat reached a bot")
	}
}

// TestRelayErrors: what the other side says comes out as 503, never as a guess.
func TestRelayErrors(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one := r.nodes["emea-1"]
	for _, c := range []struct {
		err  error
		code string
	}{
		{ownership.ErrFenced, "no_lease"}, {ownership.ErrStaleEpoch, "no_owner"}, {ownership.ErrUnknown, "no_owner"},
		{ownership.ErrFutureEpoch, "future_epoch"}, {errors.New("connection refused"), "owner_unreachable"}, {context.DeadlineExceeded, "owner_unreachable"},
	} {
		one.relayErr = c.err
		if a := post(t, one.uri(2, 1, "c1"), update("c1")); a.status != 503 || a.code(t) != c.code || a.header.Get("Retry-After") == "" {
			t.Errorf("%v: %+v", c.err, a)
		}
	}
	if n := one.counter(t, "tandem_webhook_hops_total", "relay"); n != 6 {
		t.Errorf("%v relays counted", n)
	}
}

// TestHangUp: a caller that goes away does not tear a hand-over in two.
func TestHangUp(t *testing.T) {
	nd := oneNode(t, setup{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := newRequest(t, nd, incoming("c1")).WithContext(ctx)
	nd.door.tokens = everybody{}
	w := recorder()
	nd.door.ServeHTTP(w, r)
	if w.Code != 202 || len(nd.handed()) != 1 || len(nd.in.claimed()) != 1 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
