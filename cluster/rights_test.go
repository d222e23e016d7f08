package cluster

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store/record"
)

// spoken is the peer link to a node, as whoever holds a node's certificate has it.
func (r *testRegion) spoken(as ownership.NodeID, to *testNode) *transport.Peer {
	r.t.Helper()
	d := transport.NewDialer(r.credsOf(r.ca, testDeployment, "emea", as, time.Minute), time.Second)
	l := transport.NewLinks(d, transport.Identity{Deployment: testDeployment, Region: "emea", Node: as})
	r.t.Cleanup(func() { l.Close(); d.CloseAll() })
	return l.To(to.id, to.Addr())
}

// TestD1_WhoIsNoMemberGetsNothing: a certificate that was made for a node which
// never came, or whose node was removed, opens hello and join alone. What it sends
// is not even read: it is no message at all.
func TestD1_WhoIsNoMemberGetsNothing(t *testing.T) {
	r := newRegion(t, nil)
	nodes := r.form(3)
	n := leaderOf(t, nodes...)
	n.ready()
	gone := without(nodes, n)[0]
	gone.stop()
	if err := n.Remove(soon(t), gone.id); err != nil {
		t.Fatal(err)
	}
	all := []string{
		peerpb.PeerProposeProcedure, peerpb.PeerRenewProcedure, peerpb.PeerTermProcedure, peerpb.PeerDismissProcedure, peerpb.PeerYieldProcedure, peerpb.PeerDirectProcedure,
		peerpb.PeerTransferProcedure, peerpb.PeerBarrierProcedure, peerpb.PeerRelayProcedure, peerpb.PeerWhatIfProcedure, peerpb.PeerTakeProcedure, peerpb.PeerRestoreProcedure,
		peerpb.PeerConsultProcedure, peerpb.PeerStandProcedure,
	}
	for _, who := range []struct {
		id   ownership.NodeID
		want error
	}{{"z", ownership.ErrUnknown}, {gone.id, ownership.ErrGone}} {
		p := r.spoken(who.id, n)
		for _, proc := range all {
			// A message that none of the procedures but one takes.
			garbage := connect.NewClient[peerpb.HandOver, peerpb.HelloReply](p.Via, "https://"+n.Addr()+proc)
			_, err := garbage.CallUnary(ownership.By(soon(t), "mallory"), connect.NewRequest(&peerpb.HandOver{Call: "c", Body: []byte("{}")}))
			if err == nil {
				t.Errorf("node %s was answered at %s", who.id, proc)
			} else if err = p.Said(err); !errors.Is(err, who.want) {
				t.Errorf("node %s at %s: %v, want %v", who.id, proc, err, who.want)
			}
		}
		if _, err := p.Hello(soon(t), &peerpb.HelloRequest{Node: string(who.id)}); err != nil {
			t.Errorf("node %s may say hello: %v", who.id, err)
		}
	}
	claim(t, n, 1)
}

// TestD1_WhatIsNotAPeersToPropose: a member proposes what belongs to it, and what an
// operator wants in that operator's name, which the leader writes into its audit log.
func TestD1_WhatIsNotAPeersToPropose(t *testing.T) {
	long(t)
	log := &lines{}
	r := newRegion(t, func(c *Config) {
		calm(c)
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	nodes := r.form(3)
	n := leaderOf(t, nodes...)
	n.ready()
	claim(t, n, 1)
	member, other := without(nodes, n)[0], without(nodes, n)[1]
	p := r.spoken(member.id, n)
	propose := func(ctx context.Context, act ownership.Act) error {
		b, err := record.EncodeAct(act, n.tb.Format())
		if err != nil {
			t.Fatal(err)
		}
		res, err := p.Propose(ctx, &peerpb.ProposeRequest{Act: b})
		if err != nil {
			return err
		}
		return transport.FromFault(res.GetOutcome().GetFault())
	}
	now := time.Now()
	token := ownership.GrantToken{At: now, Token: ownership.DoorToken{Name: "mine", Hash: [32]byte{1}, Roles: []string{"operate"}, Expires: now.Add(time.Hour)}}
	rules := ownership.Rules{Number: 1, Digest: ownership.RulesDigest("rules: []"), Text: "rules: []"}
	theirs := n.tb.PartitionsOf(other.id)[0]
	for _, act := range []ownership.Act{
		ownership.Depart{At: now, Node: other.id},
		ownership.Failover{At: now, Node: other.id},
		ownership.Lapse{At: now, Node: other.id},
		ownership.Reclaim{At: now, Node: member.id},
		ownership.Join{At: now, Node: ownership.Node{ID: "z", Incarnation: "z"}},
		ownership.Found{At: now},
		ownership.SetFormat{At: now, Format: n.tb.Format()},
		ownership.Forget{At: now, Before: now},
		ownership.SetRules{At: now, Taken: true, Rules: rules},
		ownership.TellRules{At: now, Text: "they differ"},
		ownership.Move{At: now, Partition: theirs.ID, Epoch: theirs.Epoch, To: member.id},
	} {
		if err := propose(ownership.By(soon(t), "ops"), act); !errors.Is(err, ownership.ErrConflict) || !strings.Contains(err.Error(), "proposes") {
			t.Errorf("a peer proposes %T: %v", act, err)
		}
	}
	byHand := []ownership.Act{
		token,
		ownership.Drain{At: now, Node: other.id},
		ownership.Undrain{At: now, Node: other.id},
		ownership.SetLease{At: now, Length: n.cfg.Timings.Lease},
		ownership.SetKeep{At: now, Keep: ownership.Keep{Days: 90}},
		ownership.Release{At: now, Call: claimOf(1).Call, Why: "by hand"},
		ownership.RevokeToken{At: now, Name: "mine"},
		ownership.SetRules{At: now, Rules: rules},
	}
	nobodys, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, act := range byHand {
		if err := propose(nobodys, act); !errors.Is(err, ownership.ErrConflict) || !strings.Contains(err.Error(), "no operator's name") {
			t.Errorf("%T in nobody's name: %v", act, err)
		}
	}
	if _, err := p.Dismiss(nobodys, &peerpb.DismissRequest{Node: string(other.id)}); !errors.Is(err, ownership.ErrConflict) {
		t.Errorf("a removal in nobody's name: %v", err)
	}
	if _, ok := n.tb.Node("z"); ok || len(n.tb.DoorTokens()) > 0 || len(n.tb.Rules()) > 0 || n.tb.PartitionsOf(other.id)[0].Epoch != theirs.Epoch {
		t.Error("one of them had an effect")
	}
	for _, act := range byHand {
		if err := propose(ownership.By(soon(t), "ops \"of the night\""), act); err != nil {
			t.Errorf("%T in an operator's name: %v", act, err)
		}
	}
	for _, action := range []string{"GrantToken", "Drain", "Undrain", "SetLease", "SetKeep", "RevokeToken", "SetRules"} {
		if !log.has("action=ownership." + action) {
			t.Errorf("the audit log does not tell of %s", action)
		}
	}
	if !log.has(`by="ops \"of the night\""`) || !log.has("from=\"node "+string(member.id)) {
		t.Error("the audit log does not say who proposed it, and through which node")
	}
}

// TestD7_AStrangersLengthTakesNoMemory: raft makes room for what a message says it
// has, so nothing of a message is read before its sender is known to be a member.
func TestD7_AStrangersLengthTakesNoMemory(t *testing.T) {
	r := newRegion(t, nil)
	n := r.form(1)[0]
	n.ready()
	d := transport.NewDialer(r.credsOf(r.ca, testDeployment, "emea", "z", time.Minute), time.Second)
	defer d.CloseAll()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 4 {
		conn, err := d.Dial(soon(t), n.Addr(), true, "")
		if err != nil {
			t.Fatal(err)
		}
		_ = writePreface(conn, &peerpb.HelloRequest{Node: "z", Process: "z"})
		// AppendEntries, a map of one field, its Entries an array of one map, whose Data says 1 GiB.
		_, _ = conn.Write([]byte("\x00\x81\xa7Entries\x91\x81\xa4Data\xdb\x40\x00\x00\x00"))
		closedUnanswered(t, conn)
		_ = conn.Close()
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 256<<20 {
		t.Errorf("a stranger's messages of a few bytes took %d MiB", got>>20)
	}
	claim(t, n, 1)
}
