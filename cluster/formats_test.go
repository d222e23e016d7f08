package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

// mixed is a region in which one node's software reads an older command format.
type mixed struct {
	t     *testing.T
	nodes []*testNode
	calls int
}

// same waits until all nodes have one table, ledger and all, and one history.
func (m *mixed) same(when string) {
	m.t.Helper()
	eventually(m.t, "all tables are the same "+when, func() bool {
		var sums []string
		var told [][]history.Event
		_, at := m.nodes[0].tb.Hash()
		for _, n := range m.nodes {
			sum, before := n.tb.Hash()
			sums, told = append(sums, sum), append(told, m.history(n))
			if _, after := n.tb.Hash(); before != at || after != at {
				return false // something was written meanwhile
			}
		}
		for i, n := range m.nodes[1:] {
			if sums[i+1] != sums[0] || !cmp.Equal(told[i+1], told[0]) {
				m.t.Fatalf("%s, at entry %d the table of %s differs: %s, that of %s is %s", when, at, n.id, sums[i+1], m.nodes[0].id, sums[0])
			}
		}
		return true
	})
}

func (m *mixed) history(n *testNode) (all []history.Event) {
	m.t.Helper()
	all, err := n.tb.Events(0, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}

// act has a node do something, through changes of the leader on a busy machine.
func (m *mixed) act(n *testNode, act ownership.Act) (err error) {
	m.t.Helper()
	eventually(m.t, ownership.Doing(act), func() bool {
		var out *ownership.Outcome
		if out, err = n.Do(ownership.By(soon(m.t), "ann"), act); err == nil {
			err = out.Err
		}
		return !errors.Is(err, ownership.ErrNoLeader)
	})
	return err
}

// does asks a node for something that older software does not know, and wants it refused in
// words that say what to do, or done.
func (m *mixed) does(n *testNode, act ownership.Act, done bool) {
	m.t.Helper()
	err := m.act(n, act)
	if done == (err != nil) || err != nil && !strings.Contains(err.Error(), "upgrade all its nodes first") {
		m.t.Errorf("in format %d, %s at %s: %v", n.tb.Format(), ownership.Doing(act), n.id, err)
	}
}

// take claims calls by all nodes, ends them, and counts those that went to one node.
func (m *mixed) take(calls int, at ownership.NodeID) (went int) {
	m.t.Helper()
	for range calls {
		m.calls++
		p := claim(m.t, m.nodes[m.calls%len(m.nodes)], m.calls)
		if p.Owner == at {
			went++
		}
		if err := m.act(m.nodes[0], ownership.Release{At: time.Now(), Call: claimOf(m.calls).Call, Epoch: p.Epoch, Why: "over"}); err != nil {
			m.t.Fatal(err)
		}
	}
	return went
}

// TestAMixedRegionBeginsNothingNew: while one node reads an older command format, the region
// has one table, whoever leads; it keeps no ledger and no deposits, and goes by no rule for
// versions of bots, though its leader knows that one of them ends every call badly. Each of them
// begins when the last node reads its format, and is refused in words before.
func TestAMixedRegionBeginsNothingNew(t *testing.T) {
	long(t)
	formats := []uint32{ownership.FormatLedger - 1, ownership.FormatLedger, ownership.FormatRollouts}
	r := newRegion(t, func(c *Config) {
		calm(c)
		if c.Node.ID == "a" {
			c.Node.Format = formats[0]
		}
	})
	m := &mixed{t: t, nodes: r.form(3)}
	a, b, c := m.nodes[0], m.nodes[1], m.nodes[2]
	versions := map[*testNode][]ownership.VersionTally{
		a: {{App: "app", Version: "1", Runs: true, Taken: 90, Well: 90}},
		b: {{App: "app", Version: "1", Runs: true, Taken: 90, Well: 90}},
		c: {{App: "app", Version: "1", Taken: 9, Well: 9}, {App: "app", Version: "2", Runs: true, Taken: 9, Bad: 9}},
	}
	deployed := func(n *testNode, v string) {
		n.mu.Lock()
		n.takes = versions[n]
		n.mu.Unlock()
		eventually(t, string(n.id)+"'s version is known", func() bool {
			return slices.ContainsFunc(b.Fitness().Versions, func(s ownership.VersionState) bool { return s.Version == v && slices.Contains(s.Nodes, n.id) })
		})
	}
	deployed(a, "1")
	deployed(b, "1")
	deployed(c, "2")
	halted := func() bool {
		return slices.ContainsFunc(b.tb.Rollouts(), func(r ownership.Rollout) bool { return r.Version == "2" && r.Halted })
	}
	for _, format := range formats {
		if format != formats[0] {
			a.restart(func(c *Config) { c.Node.Format = format })
			a.ready()
		}
		eventually(t, fmt.Sprintf("the region writes format %d", format), func() bool {
			return !slices.ContainsFunc(m.nodes, func(n *testNode) bool { return n.tb.Format() != format })
		})
		keeps, rolls := format >= ownership.FormatLedger, format >= ownership.FormatRollouts
		if rolls { // what is known of the version counts from the first moment on
			eventually(t, "the version that ends every call is halted", halted)
		}
		for _, leads := range []*testNode{b, a} { // of newer software, and the one of older
			eventually(t, string(leads.id)+" leads", func() bool {
				ctx, cancel := context.WithTimeout(soon(t), time.Second)
				defer cancel()
				return leaderOf(t, m.nodes...) == leads || leaderOf(t, m.nodes...).TransferLeader(ctx, leads.id) == nil && leaderOf(t, m.nodes...) == leads
			})
			for _, n := range m.nodes {
				m.does(n, ownership.SetKeep{At: time.Now(), Keep: ownership.Keep{Days: 30 + m.calls%7, EndedDays: 7}}, keeps)
				m.does(n, ownership.Note{At: time.Now(), By: "ann", Action: "drain", Subject: "node c", Status: 200}, keeps)
				m.does(n, ownership.SetDeposit{At: time.Now(), Name: "acme/x", Value: []byte(leads.id), Expect: ownership.AnyDeposit}, rolls)
				m.does(n, ownership.SetRollout{At: time.Now(), Rollout: ownership.Rollout{App: "app", Version: "3", Share: 100, By: "ann"}}, rolls)
			}
			went := m.take(24, c.id)
			if (went == 0) != rolls {
				t.Errorf("in format %d, with %s leading, %d of 24 calls went to the version that ends every call", format, leads.id, went)
			}
			m.same(fmt.Sprintf("in format %d, with %s leading", format, leads.id))
		}
		led, err := c.tb.Ledger()
		if err != nil {
			t.Fatal(err)
		}
		entries := led.Size()
		led.Close()
		if (entries > 0) != keeps || (len(c.tb.Deposits()) > 0) != rolls || (len(c.tb.Rollouts()) > 0) != rolls {
			t.Errorf("in format %d there are %d entries, %d deposits, and the rules %+v", format, entries, len(c.tb.Deposits()), c.tb.Rollouts())
		}
		if told := slices.ContainsFunc(m.history(c), func(e history.Event) bool { return e.Kind == history.RolloutHalted }); told != rolls {
			t.Errorf("in format %d the history tells of a halt: %v", format, told)
		}
	}
	if formats[len(formats)-1] != record.CommandFormat {
		t.Errorf("the newest command format is %d: add it, and what begins with it", record.CommandFormat)
	}
}
