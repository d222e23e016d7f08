package election

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/cluster/peerpb"
	"tandem/ownership"
)

const patience = 350 * time.Millisecond

// voter is raft and the network of one voter, as its watch sees them.
type voter struct {
	*Watch
	net *net

	mu      sync.Mutex
	leader  ownership.NodeID
	term    uint64
	last    Last
	cannot  bool   // stand
	busy    int    // raft cannot begin so many times
	elected uint64 // term in which it stood
	over    func() // its leader's connection
}

func (v *voter) Leader() ownership.NodeID {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.leader
}

func (v *voter) Voters() []ownership.NodeID { return v.net.names }

func (v *voter) Term() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.term
}

func (v *voter) Last() Last {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.last
}

func (v *voter) grow(to uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last.Index = to
}

func (v *voter) Stands() bool { return !v.cannot }

func (v *voter) Elect() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.busy > 0 {
		v.busy--
		return false
	}
	v.term++
	v.elected, v.leader = v.term, ""
	return true
}

// net is a region whose leader is z.
type net struct {
	t      *testing.T
	names  []ownership.NodeID
	voters map[ownership.NodeID]*voter
	lost   map[ownership.NodeID]bool // who answers nobody

	mu     sync.Mutex
	refuse map[ownership.NodeID]bool // to whom z's machine says that nobody listens
}

func (n *net) refuses(to ownership.NodeID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.refuse[to]
}

// refuseAll has z's machine say so to everybody but some.
func (n *net) refuseAll(but ...ownership.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refuse = map[ownership.NodeID]bool{}
	for id := range n.voters {
		n.refuse[id] = !slices.Contains(but, id)
	}
}

const dead = ownership.NodeID("z")

var errSilent = errors.New("it does not answer")

// region starts voters of a region that z leads. It runs in a bubble.
func region(t *testing.T, names ...ownership.NodeID) *net {
	n := &net{t: t, names: append(names, dead), voters: map[ownership.NodeID]*voter{}, lost: map[ownership.NodeID]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, id := range names {
		v := &voter{net: n, leader: dead, term: 7, last: Last{7, 100}}
		v.Watch = New(Needs{
			Self: id, Raft: v, Patience: patience, Log: slog.New(slog.DiscardHandler),
			Refuses: func(context.Context, ownership.NodeID) bool { return n.refuses(id) },
			Ask: func(ctx context.Context, to ownership.NodeID, req *peerpb.StandRequest) (*peerpb.StandReply, error) {
				time.Sleep(time.Millisecond) // the way there
				if n.lost[to] {
					<-ctx.Done()
					return nil, errSilent
				}
				res := &peerpb.StandReply{No: n.voters[to].Answer(ctx, id, req)}
				time.Sleep(time.Millisecond) // and back
				return res, nil
			},
		})
		v.over = v.Begins(dead)
		n.voters[id] = v
		wg.Go(func() { v.Run(ctx) })
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return n
}

// dies ends z's process, as everybody but some see it.
func (n *net) dies(but ...ownership.NodeID) {
	n.refuseAll(but...)
	for id, v := range n.voters {
		if !slices.Contains(but, id) {
			v.over()
		}
	}
}

// stood returns who has stood for election after all that can happen has.
func (n *net) stood() (all []ownership.NodeID) {
	time.Sleep(4 * patience)
	synctest.Wait()
	for _, id := range n.names {
		if v := n.voters[id]; v != nil && v.elected != 0 {
			all = append(all, id)
		}
	}
	return all
}

func (n *net) want(ids ...ownership.NodeID) {
	n.t.Helper()
	if got := n.stood(); len(got) != len(ids) || len(got) > 0 && got[0] != ids[0] {
		n.t.Errorf("%v stood for election, want %v", got, ids)
	}
}

func TestOneStandsAtOnceWhenTheLeadersProcessEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := region(t, "a", "b")
		n.dies()
		time.Sleep(patience / 10)
		if n.voters["a"].Term() != 8 {
			t.Error("nobody stood within a tenth of raft's patience")
		}
		n.want("a")
	})
}

func TestWhoseLogGoesFurtherStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := region(t, "a", "b", "c", "d")
		n.voters["c"].grow(101)
		n.dies()
		n.want("c")
	})
}

// A leader that is there for one of them loses no lead by the wrong hint of the others.
func TestNobodyStandsAgainstALeaderThatOneVoterHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := region(t, "a", "b", "c", "d")
		n.dies("c")
		n.want()
	})
}

// A former leader's death says nothing, also while an election goes on.
func TestNobodyStandsForTheDeathOfAnother(t *testing.T) {
	for _, leader := range []ownership.NodeID{"", "a"} {
		synctest.Test(t, func(t *testing.T) {
			n := region(t, "a", "b")
			for _, v := range n.voters {
				v.leader = leader
			}
			n.dies()
			n.want()
		})
	}
}

// A port that refuses is not enough, nor is a connection that ended.
func TestBothBelongToTheHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := region(t, "a", "b")
		n.refuseAll() // only its port is closed
		n.want()
		n.refuseAll("a", "b")
		for _, v := range n.voters {
			v.over() // only its connections ended: somebody between has cut them, or it is silent
		}
		n.want()
	})
}

func TestWithoutAMajorityNobodyStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := region(t, "a", "b", "c", "d")
		n.lost["b"], n.lost["c"] = true, true
		n.dies()
		n.want() // with a, d makes two of five
	})
}

func TestWhoMayNotBeElectedLetsOthersGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := region(t, "a", "b")
		n.voters["a"].cannot = true
		n.dies()
		n.want("b")
	})
}

// While the last entries come in, two may each find the other's log shorter than its own.
// So whoever lets another one go first stands back until that one's round is over.
func TestTwoDoNotStandAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := region(t, "a", "b")
		a := n.voters["a"]
		a.cannot, n.voters["b"].cannot = true, true // nothing happens by itself
		n.dies()
		b := &peerpb.StandRequest{Leader: string(dead), Term: 7, LastTerm: 7, LastIndex: 101}
		if no := a.Answer(t.Context(), "b", b); no != "" {
			t.Fatalf("b may not stand: %s", no)
		}
		if a.stand(dead, 7) {
			t.Error("a stands beside b, which it has let go first")
		}
		time.Sleep(patience / answerWithin)
		if a.stand(dead, 6) {
			t.Error("a stands with what others said in another term")
		}
		if !a.stand(dead, 7) {
			t.Error("a never stands")
		}
		b.Term, b.LastIndex = 8, 100
		if no := a.Answer(t.Context(), "b", b); no == "" {
			t.Error("b is let go although a stands")
		}
	})
}

// The last entry of the dead leader came to b after it had let a go first: a has no vote
// of b's then, and b stands as soon as it knows of that.
func TestWhoCannotGiveItsVoteStandsNext(t *testing.T) {
	for entries, want := range map[uint64]uint64{100: 0, 101: 9} {
		synctest.Test(t, func(t *testing.T) {
			n := region(t, "a", "b")
			n.dies()
			time.Sleep(askAgain)
			b := n.voters["b"]
			if n.voters["a"].Term() != 8 {
				t.Fatal("a does not stand")
			}
			b.mu.Lock()
			b.term, b.leader, b.last.Index = 8, "", entries // a has asked for its vote
			b.mu.Unlock()
			time.Sleep(patience / 2)
			synctest.Wait()
			if b.elected != want {
				t.Errorf("with %d entries to a's 100, b stood for term %d, want %d", entries, b.elected, want)
			}
		})
	}
}

func TestABusyRaftIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := region(t, "a", "b")
		n.voters["a"].busy = 3
		n.dies()
		n.want("a")
	})
}

// A process that is there again before anybody stood, and leads, is left in peace.
func TestALeaderThatSpeaksAgainIsLeftInPeace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := region(t, "a", "b")
		n.voters["a"].over()
		n.refuseAll()
		time.Sleep(20 * time.Millisecond) // b still hears it
		defer n.voters["a"].Begins(dead)()
		time.Sleep(10 * time.Millisecond) // what a asked before is answered
		n.voters["b"].over()
		n.want()
	})
}

func TestNobodyStandsInAnotherTermOrAgainstAnotherLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := region(t, "a", "b")
		n.dies()
		ask := &peerpb.StandRequest{Leader: string(dead), Term: 7, LastTerm: 7, LastIndex: 200}
		for what, change := range map[string]func(*peerpb.StandRequest){
			"an older term":  func(r *peerpb.StandRequest) { r.Term = 6 },
			"another leader": func(r *peerpb.StandRequest) { r.Leader = "b" },
			"an older log":   func(r *peerpb.StandRequest) { r.LastTerm = 6 },
		} {
			req := &peerpb.StandRequest{Leader: ask.Leader, Term: ask.Term, LastTerm: ask.LastTerm, LastIndex: ask.LastIndex}
			change(req)
			if n.voters["a"].Answer(t.Context(), "b", req) == "" {
				t.Errorf("%s: a lets b stand", what)
			}
		}
		n.want("a")
	})
}
