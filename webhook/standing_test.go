package webhook

import (
	"errors"
	"fmt"
	"testing"

	"tandem/ownership"
)

// reservedCall is a region in which emea-1 fell silent: its partition went to
// emea-2, its answered call c1 with media of its own is kept for it.
func reservedCall(t *testing.T) (r *region, one, two, three *node) {
	t.Helper()
	r = newRegion(t, newWorld(), "emea", 3, setup{})
	r.knows("c1", 1, ownership.CallAnswered)
	r.reserves("c1")
	r.moves(1, "emea-2")
	return r, r.nodes["emea-1"], r.nodes["emea-2"], r.nodes["emea-3"]
}

// TestO22_AReservedCallIsItsFormerOwners: what comes for it goes to the node with
// its media, at the epoch and with the callback URI that its bot knows, although
// its partition has another owner by now.
func TestO22_AReservedCallIsItsFormerOwners(t *testing.T) {
	_, one, two, three := reservedCall(t)
	for i, c := range []struct{ at, body string }{
		{one.uri(1, 1, "c1"), update("c1")},
		{two.uri(1, 1, "c1"), update("c1")},
		{three.uri(1, 2, "c1"), update("c1")}, // a URI of the new epoch says no more
		{three.url + hookPath, update("c1")},
		{three.url + hookPath, end("c1")},
	} {
		if a := post(t, c.at, c.body); a.status != 202 {
			t.Fatalf("%d: %+v", i, a)
		}
		got := one.handed()
		if len(got) != i+1 || got[i].Epoch != 1 || got[i].CallbackURI != testKeys().CallbackURI(one.url+hookPath, Handle{Region: "emea", Partition: 1, Epoch: 1, Ref: "c1"}) {
			t.Fatalf("%d: the bot heard %+v", i, got)
		}
	}
	if len(two.handed())+len(three.handed()) != 0 {
		t.Error("another bot heard of it")
	}
	// Other calls of the partition are the present owner's.
	if a := post(t, one.uri(1, 1, "c2"), update("c2")); a.status != 202 || len(two.handed()) != 1 || two.handed()[0].Epoch != 2 {
		t.Errorf("%+v", a)
	}
}

// TestO22_SilentOwner: nobody else takes what is reserved, an end neither; the
// caller comes back.
func TestO22_SilentOwner(t *testing.T) {
	_, one, two, three := reservedCall(t)
	for _, nd := range []*node{two, three} {
		nd.relayErr = errors.New("no sign of life")
	}
	one.leaseOff = true // it woke up and has no lease yet
	for name, a := range map[string]answered{
		"update at the partition's owner": post(t, two.uri(1, 1, "c1"), update("c1")),
		"end at the partition's owner":    post(t, two.uri(1, 1, "c1"), end("c1")),
		"end on the plain path":           post(t, three.url+hookPath, end("c1")),
		"end at the node itself":          post(t, one.uri(1, 1, "c1"), end("c1")),
	} {
		if a.status != 503 || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if len(one.handed())+len(two.handed())+len(three.handed()) != 0 {
		t.Error("somebody took it")
	}
	if e := two.door.Explain(t.Context(), ownership.Supposed{Body: []byte(end("c1")), App: ourApp}); e.Calls[0].Owner == nil || e.Calls[0].Owner.Node != "emea-1" || e.Calls[0].Owner.Epoch != 1 {
		t.Errorf("explain: %+v", e.Calls[0])
	}
}

// TestO22_RelayedToTheWrongNode: the partition's owner refuses what another stands
// for, and the other an epoch that the call has not reached.
func TestO22_RelayedToTheWrongNode(t *testing.T) {
	_, one, two, _ := reservedCall(t)
	ho := ownership.HandOver{Event: ownership.EventUpdate, App: ourApp, Call: "c1", Partition: 1, Epoch: 1}
	if _, err := two.door.HandOver(t.Context(), ho); !errors.Is(err, ownership.ErrStaleEpoch) {
		t.Error(err)
	}
	ho.Epoch = 2
	if _, err := one.door.HandOver(t.Context(), ho); !errors.Is(err, ownership.ErrFutureEpoch) {
		t.Error(err)
	}
}

// TestRepeatOfACallThatOnlyTheLeaderKnows: where it stands is the leader's word,
// not this node's idea of the partition.
func TestRepeatOfACallThatOnlyTheLeaderKnows(t *testing.T) {
	r, one, _, three := reservedCall(t)
	r.place = func(ownership.Claim) ownership.PartitionID { return 1 }
	r.answer = func(p ownership.Placement) ownership.Placement { p.Owner, p.Epoch = "emea-1", 1; return p }
	three.forgot.Store(true)
	if a := post(t, three.url+hookPath, update("c1")); a.status != 202 || len(one.handed()) != 1 {
		t.Errorf("%+v", a)
	}
}

// TestCodesOfRefusedClaims: each way in which a call finds no place has a code of
// its own.
func TestCodesOfRefusedClaims(t *testing.T) {
	nd := oneNode(t, setup{})
	for err, code := range map[error]string{
		ownership.ErrFull: "full", ownership.ErrNoBot: "no_bot", ownership.ErrNoLeader: "no_leader",
		ownership.ErrBehind: "not_caught_up", ownership.ErrTwin: "no_lease", errors.New("disk"): "not_placed",
	} {
		nd.in.mu.Lock()
		nd.in.refuse = fmt.Errorf("claiming: %w", err)
		nd.in.mu.Unlock()
		if a := post(t, nd.url+hookPath, incoming("c1")); a.status != 503 || a.code(t) != code || a.header.Get("Retry-After") == "" {
			t.Errorf("%v: %+v", err, a)
		}
	}
	for err, code := range map[error]string{ownership.ErrBehind: "not_caught_up", ownership.ErrTwin: "no_lease"} {
		if no := refusalOfOwner(fmt.Errorf("relaying: %w", err)); !isOwnership(err) || no.code != code {
			t.Errorf("%v of an owner: %s", err, no.code)
		}
	}
}
