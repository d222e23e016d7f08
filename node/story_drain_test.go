package node

import (
	"context"
	"net/http"
	"os"
	"testing"
	"time"

	"tandem/graphsim"
	"tandem/ownership"
	"tandem/ownership/history"
)

// terminate stops the seat's node as `tandem start` does on SIGTERM.
func (x *seat) terminate(ctx context.Context) (left int) {
	x.s.t.Helper()
	left = x.node.Drain(ctx)
	x.stop()
	return left
}

// placements reads from a table's history which node each new call went to, and
// complains about those that went to a node while it was draining. Calls of a
// live group go with it even then.
func (s *stage) noneOnDraining(n *Node) {
	s.t.Helper()
	events, err := n.table.Events(0, 0)
	must(s.t, err)
	draining := map[ownership.NodeID]bool{}
	for _, e := range events {
		switch e.Kind {
		case history.Draining:
			draining[e.Node] = true
		case history.Undrained:
			delete(draining, e.Node)
		case history.Claimed:
			if draining[e.Node] && e.Reason != ownership.ReasonTogether {
				s.t.Errorf("call %s was placed on %s while it drained: %s", e.Call, e.Node, e.Reason)
			}
		}
	}
}

// TestF25_NodesThatGetSIGTERMHandTheirCallsOver: a rolling restart, followers
// first, under load. Every live call moves in time: nothing is adopted by way of
// a lease that ran out, and every node is back in work afterwards.
func TestF25_NodesThatGetSIGTERMHandTheirCallsOver(t *testing.T) {
	long(t, "it takes 20 s")
	t.Parallel()
	s := deploy(t, plan{
		sim: func(c *graphsim.Config) {
			longCalls(c)
			c.Timings.Attempts = 10
		},
		shape: func(_ *seat, c *Config) { c.Node.Drain = 20 * time.Second },
	})
	order := append([]*seat{}, s.seats[1:]...)
	order = append(order, s.seats[0])
	r := s.run(graphsim.Load{Rate: 10, Duration: 12 * time.Second}, func() {
		for _, x := range order {
			if left := x.terminate(t.Context()); left != 0 {
				t.Errorf("%s stopped with %d live calls", x.name, left)
			}
			x.start()
			s.ready(x)
			eventually(t, x.name+" in work again", func() error {
				n, _ := x.node.table.Node(x.id())
				owned := len(x.node.table.PartitionsOf(x.id()))
				return not(n.State == ownership.NodeActive && owned > 0, "it is %s with %d partitions", n.State, owned)
			})
			eventually(t, "the mark of its stop gone", func() error {
				_, err := os.Stat(drains{x.node}.drainMark())
				return not(err != nil, "it is there")
			})
		}
	})
	s.kept(r)
	s.noneOnDraining(s.seats[0].node)
	t.Logf("%d calls, %d retries, %d adopted, responses %v", r.Calls, r.Retries, r.Adopted, r.Responses)
	if r.Adopted == 0 {
		t.Error("no call was handed over: the story was too tame")
	}
}

// pinnedCalls makes a bot in the nodes' process answer calls whose media it has.
func pinnedCalls(x *seat, c *Config) {
	c.Bot = x.seen
	c.Apps[0].Bot, c.Apps[0].Graph, c.Apps[0].Answer, c.Apps[0].AnswerWith, c.Apps[0].Hosting = AppBot{}, AppGraph{}, "bot", nil, "app"
	c.Pins = []Pin{{When: `call.tenant == "` + tenantOf(0) + `"`, Pin: ownership.Pin{Node: "emea-2"}}}
}

// answered posts a new call that the rules pin to owner, and follows it until the
// table has it as answered.
func (s *stage) answered(at, owner *seat) ownership.HandOver {
	s.t.Helper()
	h := s.owned(at, owner, tenantOf(0))
	uri := at.follow(h.CallbackURI)
	if a := s.post(uri, s.token(tenantOf(0)), sample(s.t, established, h.Call)); a.status != http.StatusAccepted {
		s.t.Fatalf("telling that a call is established: %d %s", a.status, a.body)
	}
	eventually(s.t, "the call as answered", func() error {
		k, _ := at.node.table.Known(h.Call)
		return not(k.State == ownership.CallAnswered, "it is %s", k.State)
	})
	return h
}

func TestSIGTERMWaitsForCallsWhoseMediaAreHere(t *testing.T) {
	long(t, "it takes 5 s")
	t.Parallel()
	s := deploy(t, plan{shape: func(x *seat, c *Config) {
		pinnedCalls(x, c)
		c.Node.Drain = 2 * time.Second
		c.Public.Linger = 2500 * time.Millisecond
		c.Cluster.Lease = 20 * time.Second // the restart is shorter
	}})
	at, two := s.seats[0], s.seats[1]
	h := s.answered(at, two)
	gone, begun := make(chan int, 1), time.Now()
	go func() { gone <- two.node.Drain(t.Context()) }()
	eventually(t, "O11: the public door says so to probes", func() error {
		a := s.send(http.MethodGet, "http://"+two.public+"/healthz", "", nil)
		return not(a.status == http.StatusServiceUnavailable && a.body == "", "%d %s", a.status, a.body)
	})
	eventually(t, "not ready, so that load balancers pass it by", func() error {
		a := s.send(http.MethodGet, "http://"+two.admin+"/readyz", "", nil)
		return not(a.status == http.StatusServiceUnavailable, "%d", a.status)
	})
	before := len(two.seen.of(h.Call))
	again := map[string]string{"Authorization": "Bearer " + s.token(tenantOf(0)), "X-Microsoft-Skype-Message-ID": "again"}
	if a := s.send(http.MethodPost, at.follow(h.CallbackURI), sample(t, established, h.Call), again); a.status != http.StatusAccepted {
		t.Errorf("a notification while it drains: %d %s", a.status, a.body)
	}
	if now := len(two.seen.of(h.Call)); now != before+1 {
		t.Errorf("the bot of the draining node was handed %d notifications, want %d", now, before+1)
	}
	if left := <-gone; left != 1 {
		t.Errorf("%d calls are left, want the one whose media are here", left)
	}
	if d := time.Since(begun); d < two.node.cfg.Public.Linger {
		t.Errorf("O10: its doors close after %v", d)
	}
	if owned := len(at.node.table.PartitionsOf(two.id())); owned != 1 {
		t.Errorf("it still owns %d partitions, want the one with the call", owned)
	}
	two.stop()
	two.start()
	s.ready(two)
	k, _ := two.node.table.Known(h.Call)
	if k.State != ownership.CallAnswered || k.Epoch != h.Epoch || !two.node.region.Holds(h.Call, k.Partition, k.Epoch) {
		t.Errorf("back within its lease, the call is %s at epoch %s, want it as it was", k.State, k.Epoch)
	}
}

func TestASecondSIGTERMEndsTheDrain(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, shape: func(x *seat, c *Config) {
		pinnedCalls(x, c)
		c.Pins, c.Node.Drain = nil, time.Hour
	}})
	one := s.seats[0]
	s.answered(one, one)
	ctx, second := context.WithCancel(t.Context())
	gone := make(chan int)
	go func() { gone <- one.node.Drain(ctx) }()
	eventually(t, "the drain in the table", func() error {
		n, _ := one.node.table.Node(one.id())
		return not(n.State == ownership.NodeDraining, "it is %s", n.State)
	})
	second()
	if left := <-gone; left != 1 {
		t.Errorf("%d calls are left, want 1", left)
	}
}

// TestAnOperatorsDrainOutlivesARestart: only the drain of a stop ends with the
// next start.
func TestAnOperatorsDrainOutlivesARestart(t *testing.T) {
	long(t, "it takes 4 s")
	t.Parallel()
	s := deploy(t, plan{shape: func(_ *seat, c *Config) { c.Node.Drain = 5 * time.Second }})
	one, two := s.seats[0], s.seats[1]
	must(t, one.api().Drain(t.Context(), two.id(), time.Time{}))
	eventually(t, "the drain at the node", func() error {
		n, _ := two.node.table.Node(two.id())
		return not(n.State == ownership.NodeDraining, "it is %s", n.State)
	})
	mark := drains{two.node}.drainMark()
	two.terminate(t.Context())
	if _, err := os.Stat(mark); err == nil {
		t.Error("the stop made the operator's drain its own")
	}
	two.start()
	s.ready(two)
	if n, _ := two.node.table.Node(two.id()); n.State != ownership.NodeDraining {
		t.Errorf("the node is %s after its restart, want it drained as the operator left it", n.State)
	}
	must(t, one.api().Undrain(t.Context(), two.id()))
	eventually(t, "partitions on it", func() error {
		return not(len(two.node.table.PartitionsOf(two.id())) > 0, "none")
	})
}

// TestDrainWithin: when the time is up, calls that can be moved are handed over,
// and their new bots are told.
func TestDrainWithin(t *testing.T) {
	long(t, "it takes 10 s")
	t.Parallel()
	s := deploy(t, plan{sim: longCalls})
	count := s.listen()
	one, two := s.seats[0], s.seats[1]
	s.runAll(graphsim.Load{Rate: 50, MaxCalls: 15})
	eventually(t, "answered calls on the node", func() error {
		n := s.live(one, two.id(), ownership.CallAnswered)
		return not(n >= 2 && s.cloud.Report().Answered == 15, "%d", n)
	})
	must(t, one.api().Drain(t.Context(), two.id(), time.Now().Add(300*time.Millisecond)))
	eventually(t, "an empty node", func() error {
		n, err := one.api().Node(t.Context(), two.id())
		must(t, err)
		return not(n.Live == 0, "%d live calls", n.Live)
	})
	s.kept(s.settled())
	if got := count(); len(got.adopted) == 0 || got.adopted[two.name] != 0 {
		t.Errorf("the bots were told %+v", got)
	}
}
