package cluster

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// setBack makes a region of three, and of one that does not lead a copy of its disk from
// before twenty claims, of which the leader has heard that the node has them.
func setBack(t *testing.T) (nodes []*testNode, ldr, n, was *testNode) {
	t.Helper()
	r := newRegion(t, nil)
	nodes = r.form(3)
	ldr = leaderOf(t, nodes...)
	n = without(nodes, ldr)[0]
	converge(t, nodes)
	held := n.tb.Applied()
	eventually(t, "the table is on the disk", func() bool { return n.tb.Durable() >= held })
	was = n.copyTo(filepath.Join(r.dir, "of-before"))
	for i := range 20 {
		claim(t, ldr, i)
	}
	applied := ldr.tb.Applied()
	eventually(t, "the leader has heard that the node has all of it", func() bool {
		last, _ := ldr.leading.Load().Leases.Last(n.id)
		return last.Applied >= applied
	})
	return nodes, ldr, n, was
}

// TestADiskThatWasSetBackIsRefused: a voter's disk is brought back to an earlier moment
// of the same process's life, as a snapshot of a virtual machine does. It is the heir of
// the process that the table names, and has forgotten entries, and votes.
func TestADiskThatWasSetBackIsRefused(t *testing.T) {
	long(t)
	nodes, _, n, was := setBack(t)
	n.stop()
	was.up(joining(without(nodes, n)...))
	eventually(t, "it is refused", func() bool { return len(was.fatals()) > 0 })
	if err := was.fatals()[0]; !errors.Is(err, ownership.ErrDiffers) || !strings.Contains(err.Error(), "set back") || !strings.Contains(err.Error(), "empty its data directory") {
		t.Errorf("it ended with %v", err)
	}
	if !was.trans.NotAdmitted.Load() {
		t.Error("it takes part in raft")
	}
}

// TestWhoRemembersVouchesForNoDiskThatWasSetBack: without a leader the others vouch for
// a process. With the vote of one that has forgotten entries, and the node that has
// them away, the region would go on without acknowledged claims. What the disk was told
// holds for its later starts, too.
func TestWhoRemembersVouchesForNoDiskThatWasSetBack(t *testing.T) {
	long(t)
	nodes, ldr, n, was := setBack(t)
	third := without(nodes, ldr)[1]
	n.kill()
	third.kill()
	eventually(t, "nobody leads", func() bool { return ldr.leading.Load() == nil })
	was.up(joining(ldr))
	eventually(t, "it is refused", func() bool { return len(was.fatals()) > 0 })
	if err := was.fatals()[0]; !errors.Is(err, ownership.ErrDiffers) || !strings.Contains(err.Error(), "set back") {
		t.Errorf("it ended with %v", err)
	}
	if !was.trans.NotAdmitted.Load() || ldr.leading.Load() != nil || was.leading.Load() != nil {
		t.Error("it takes part in raft, or one of the two leads")
	}
	was.kill()
	// Who is started anew remembers nothing; the disk itself does.
	ldr.kill()
	ldr.up(joining(third))
	if err := was.tryUp(joining(ldr)); !errors.Is(err, ownership.ErrDiffers) || !strings.Contains(err.Error(), "set back") {
		t.Errorf("a disk that was refused starts again with %v", err)
	}
	third.up(joining(ldr))
	ldr = leaderOf(t, ldr, third)
	for i := range 20 {
		if k, ok := ldr.Find(claimOf(i).Call); !ok || k.Partition == 0 {
			t.Errorf("the acknowledged claim %d is lost", i)
		}
	}
}

// TestTheNewestLogSaysWhoVotes: a voter may have been away when the entry came that gave
// it its vote, and its log may name as voters nodes that are gone for good.
func TestTheNewestLogSaysWhoVotes(t *testing.T) {
	r := newRegion(t, nil)
	n := r.form(1)[0]
	claim(t, n, 1)
	told := func(term, index uint64, voters ...string) map[ownership.NodeID]greeting {
		return map[ownership.NodeID]greeting{"x": {HelloReply: &peerpb.HelloReply{LastTerm: term, LastIndex: index, Voters: voters}}}
	}
	own, term, index := []string{string(n.id)}, n.lastTerm(), n.raft.LastIndex()
	for name, tt := range map[string]struct {
		met  map[ownership.NodeID]greeting
		want []string
	}{
		"nobody is here":           {nil, own},
		"a log of a later term":    {told(term+1, 1, "x", "y"), []string{"x", "y"}},
		"a longer log":             {told(term, index+1, "x", "y"), []string{"x", "y"}},
		"a shorter log":            {told(term, index-1, "x", "y"), own},
		"a log of an earlier term": {told(term-1, index+9, "x", "y"), own},
		"software that says none":  {told(term+1, index+1), own},
	} {
		if got := n.electorate(tt.met); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v vote, want %v", name, got, tt.want)
		}
	}
}

// TestOfTwoProcessesTheOneWithLessEnds: without a leader two processes of one node's data
// see each other. If the one that knows more ended as well, both would be gone: the copy
// is refused as set back.
func TestOfTwoProcessesTheOneWithLessEnds(t *testing.T) {
	r := newRegion(t, nil)
	n := r.form(1)[0]
	claim(t, n, 1)
	term, index := n.lastTerm(), n.raft.LastIndex()
	for name, tt := range map[string]struct {
		term, index uint64
		ends        bool
	}{
		"it knows less":             {term, index - 1, false},
		"it is of an earlier term":  {term - 1, index + 9, false},
		"it knows as much":          {term, index, true},
		"it knows more":             {term, index + 1, true},
		"software that tells none":  {0, 0, true},
		"it is of a later term yet": {term + 1, 1, true},
	} {
		if name == "it is of an earlier term" && term == 1 {
			continue // there is none
		}
		other := greeting{HelloReply: &peerpb.HelloReply{Process: "another", LastTerm: tt.term, LastIndex: tt.index}, addr: "10.0.0.1:8471"}
		err := n.vouched(nil, []greeting{other})
		if err == nil || errors.Is(err, ownership.ErrTwin) != tt.ends {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestASnapshotTakesNoEntryAway: one of before, from a leader that does not know yet that
// its time is over. Raft would drop the log for it, and entries that others count on.
func TestASnapshotTakesNoEntryAway(t *testing.T) {
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	n := without(nodes, ldr)[0]
	claim(t, ldr, 1)
	converge(t, nodes)
	before := n.tb.Applied()
	for i := range 20 {
		claim(t, ldr, 2+i)
	}
	converge(t, nodes)
	was := n.raft.LastIndex()
	req := &raft.InstallSnapshotRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte(ldr.id), Addr: []byte(ldr.Addr())}, SnapshotVersion: 1,
		Term: ldr.raft.CurrentTerm(), LastLogIndex: before, LastLogTerm: ldr.raft.CurrentTerm(), Size: 5,
	}
	err := ldr.trans.InstallSnapshot(raft.ServerID(n.id), raft.ServerAddress(n.id), req, &raft.InstallSnapshotResponse{}, strings.NewReader("hello"))
	if err == nil || !strings.Contains(err.Error(), "what came after") {
		t.Errorf("a snapshot up to entry %d was taken by a node that has %d: %v", before, was, err)
	}
	if now := n.raft.LastIndex(); now < was {
		t.Errorf("the log ends at entry %d, and went to %d", now, was)
	}
}
