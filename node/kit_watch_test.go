package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"tandem/bot"
	"tandem/graphsim"
	"tandem/ownership"
	"tandem/ownership/history"
)

// journal keeps what the nodes log.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func newJournal() *journal { return &journal{} }

// Write implements io.Writer.
func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// all is everything that was logged.
func (j *journal) all() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// malformed returns lines that should be JSON with each key once, and are not. What does not
// begin as an object are the last words of a process.
func (j *journal) malformed() (all []string) {
	for line := range strings.Lines(j.all()) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		d := jsontext.NewDecoder(strings.NewReader(line)) // it takes no key twice
		if _, err := d.ReadValue(); err != nil {
			all = append(all, fmt.Sprintf("%v: %s", err, line))
		}
	}
	return all
}

// tail is the last lines.
func (j *journal) tail(lines int) string {
	all := strings.Split(strings.TrimRight(j.all(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// quiet is a logger for nodes that are not meant to start.
func (s *stage) quiet() *slog.Logger { return slog.New(slog.NewJSONHandler(s.log, nil)) }

// recorder is a bot in the node's process that notes its hand-overs.
type recorder struct {
	mu    sync.Mutex
	list  []ownership.HandOver
	reply func(ownership.HandOver) ownership.Reply // nil: an empty 202
}

func newRecorder() *recorder { return &recorder{} }

var _ bot.Bot = (*recorder)(nil)

// Handle implements bot.Bot.
func (r *recorder) Handle(_ context.Context, h ownership.HandOver) (ownership.Reply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, h)
	if r.reply != nil {
		return r.reply(h), nil
	}
	return ownership.Reply{Status: 202}, nil
}

// answerWith sets what the bot says from now on.
func (r *recorder) answerWith(f func(ownership.HandOver) ownership.Reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reply = f
}

// of returns the hand-overs of a call, all calls' for "".
func (r *recorder) of(call ownership.CallID) []ownership.HandOver {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.list), func(h ownership.HandOver) bool { return call != "" && h.Call != call })
}

// running returns a region's nodes that run in this process.
func (s *stage) running(region string) []*Node {
	var all []*Node
	for _, x := range s.of(region) {
		if x.node != nil {
			all = append(all, x.node)
		}
	}
	return all
}

// leader returns a region's leading node, once there is one.
func (s *stage) leader(region string) *seat {
	s.t.Helper()
	var lead *seat
	eventually(s.t, "a leader in "+region, func() error {
		for _, x := range s.of(region) {
			if x.node != nil && x.node.region.Status().State == "leader" {
				lead = x
				return nil
			}
		}
		return not(false, "none")
	})
	return lead
}

// run makes calls and waits until all of them are over; during runs beside.
func (s *stage) run(load graphsim.Load, during ...func()) graphsim.Report {
	s.t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.cloud.Run(s.t.Context(), load) }()
	for _, f := range during {
		f()
	}
	must(s.t, <-done)
	return s.settled()
}

// runAll makes calls and leaves them under way.
func (s *stage) runAll(load graphsim.Load) {
	s.t.Helper()
	must(s.t, s.cloud.Run(s.t.Context(), load))
}

// settled waits until all calls are over.
func (s *stage) settled() graphsim.Report {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 40*time.Second)
	defer cancel()
	if err := s.cloud.Settle(ctx); err != nil {
		s.t.Errorf("waiting for the calls to end: %v", err)
	}
	return s.cloud.Report()
}

// kept checks the promises: I4, I5 and I6 by the cloud's own observations, I1
// and I7 by the nodes' tables.
func (s *stage) kept(r graphsim.Report) {
	s.t.Helper()
	if !r.OK() {
		s.t.Errorf("the cloud saw a broken promise: %d lost, %d misrouted, %d handled twice, %d late, %d stale actions, %d stray hops:\n%s\n%+v",
			r.Lost, r.Misrouted, r.HandledTwice, r.AnsweredLate, r.StaleActions, r.StrayHops, strings.Join(r.Violations, "\n"), r.Responses)
	}
	claimed := map[ownership.CallID]ownership.Region{}
	for _, region := range s.plan.regions {
		for id := range s.oneTruth(region) {
			if other, twice := claimed[id]; twice && r.Clashed == 0 {
				s.t.Errorf("I1: call %s is owned in %s and in %s", id, other, region)
			}
			claimed[id] = ownership.Region(region)
		}
	}
}

// oneTruth waits until all running nodes of a region hold the same table (I7)
// and checks its history (I1); it gives the calls that were claimed.
func (s *stage) oneTruth(region string) map[ownership.CallID]bool {
	s.t.Helper()
	nodes := s.running(region)
	if len(nodes) == 0 {
		return nil
	}
	eventually(s.t, "I7: one table in "+region, func() error {
		hash, at := nodes[0].table.Hash()
		for _, n := range nodes[1:] {
			if h, a := n.table.Hash(); h != hash || a != at {
				return not(false, "%s holds %s at %d, %s holds %s at %d", nodes[0].ID(), hash, at, n.ID(), h, a)
			}
		}
		return nil
	})
	owners := func(n *Node) map[ownership.PartitionID]ownership.Partition {
		m := map[ownership.PartitionID]ownership.Partition{}
		for _, p := range n.table.Partitions() {
			m[p.ID] = p
		}
		return m
	}
	truth := owners(nodes[0])
	for _, n := range nodes[1:] {
		if !maps.EqualFunc(truth, owners(n), func(a, b ownership.Partition) bool { return a.Owner == b.Owner && a.Epoch == b.Epoch }) {
			s.t.Errorf("I1: %s and %s name different owners or epochs", nodes[0].ID(), n.ID())
		}
	}
	return s.history(nodes[0])
}

// history reads a table's events: within one epoch a partition has one owner,
// and epochs only grow.
func (s *stage) history(n *Node) map[ownership.CallID]bool {
	s.t.Helper()
	events, err := n.table.Events(0, 0)
	must(s.t, err)
	type term struct {
		partition ownership.PartitionID
		epoch     ownership.Epoch
	}
	owner, newest, claimed := map[term]ownership.NodeID{}, map[ownership.PartitionID]ownership.Epoch{}, map[ownership.CallID]bool{}
	for _, e := range events {
		switch e.Kind {
		case history.Claimed:
			claimed[e.Call] = true
		case history.Born, history.Moved, history.Adopted:
		default:
			continue
		}
		at := term{e.Partition, e.Epoch}
		if before, known := owner[at]; known && before != e.Node {
			s.t.Errorf("I1: partition %d has two owners in epoch %d: %s and %s", e.Partition, e.Epoch, before, e.Node)
		}
		if e.Epoch < newest[e.Partition] {
			s.t.Errorf("I1: partition %d goes back from epoch %d to %d", e.Partition, newest[e.Partition], e.Epoch)
		}
		owner[at], newest[e.Partition] = e.Node, e.Epoch
	}
	return claimed
}
