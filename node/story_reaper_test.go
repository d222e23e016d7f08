package node

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tandem/graphsim"
	"tandem/ownership"
)

// wind is a clock that tests set forward.
type wind struct{ ahead chan time.Duration }

func newWind() *wind {
	w := &wind{make(chan time.Duration, 1)}
	w.ahead <- 0
	return w
}

func (w *wind) now() time.Time {
	d := <-w.ahead
	w.ahead <- d
	return time.Now().Add(d)
}

func (w *wind) forward(d time.Duration) { <-w.ahead; w.ahead <- d }

// TestReaper: the end of a call was never told. After an hour of silence Graph is
// asked, and what is gone there is released; its tombstone goes in time, too.
func TestReaper(t *testing.T) {
	t.Parallel()
	clock := newWind()
	s := deploy(t, plan{nodes: 1, sim: longCalls, shape: func(_ *seat, c *Config) { c.Now = clock.now }})
	n := s.seats[0].node
	s.runAll(graphsim.Load{Rate: 50, MaxCalls: 4})
	eventually(t, "answered calls", func() error {
		got := s.live(s.seats[0], n.ID(), ownership.CallAnswered)
		return not(got == 4, "%d", got)
	})
	silent := newCall()
	_, err := n.region.Claim(t.Context(), ownership.Claim{
		Call: silent, App: testApp, Tenant: testTenant, Answered: true, Pin: ownership.Pin{Node: n.ID()}, Received: time.Now(),
	})
	must(t, err)

	maintenance{n}.reap(t.Context())
	if k, _ := n.table.Known(silent); k.State != ownership.CallAnswered {
		t.Fatalf("a call of this minute is %s", k.State)
	}
	clock.forward(61 * time.Minute)
	maintenance{n}.reap(t.Context())
	if k, _ := n.table.Known(silent); k.State != ownership.CallEnded {
		t.Errorf("a call that is silent for an hour and gone at Graph is %s", k.State)
	}
	reaped, _ := n.table.Call(silent)
	if !strings.Contains(reaped.Ending, "gone when asked") {
		t.Errorf("its record says %q", reaped.Ending)
	}
	if live := s.live(s.seats[0], n.ID(), ownership.CallAnswered); live != 4 {
		t.Errorf("%d of the 4 calls that Graph knows are left", live)
	}

	// Late notifications of the tombstone do no harm; then it is forgotten. It
	// ended when the leader's clock says: that one no test sets forward.
	uri := s.seats[0].follow(n.door.CallbackURI(1, 1, string(silent)))
	late, err := s.cloud.Mint(graphsim.TokenOptions{Tenant: testTenant, Age: -61 * time.Minute})
	must(t, err)
	if a := s.post(uri, late, sample(t, established, silent)); a.status != http.StatusAccepted {
		t.Errorf("F36: a late notification of a reaped call: %d %s", a.status, a.body)
	}
	forgotten := reaped.EndedAt.Add(n.cfg.Cluster.Tombstones)
	clock.forward(time.Until(forgotten.Add(-10 * time.Second)))
	maintenance{n}.forget(t.Context())
	if _, known := n.table.Known(silent); !known {
		t.Error("the tombstone was forgotten too early")
	}
	clock.forward(time.Until(forgotten.Add(time.Second)))
	maintenance{n}.forget(t.Context())
	if _, known := n.table.Known(silent); known {
		t.Error("the tombstone stays for ever")
	}
}

// TestOrphansAreListedAndReaped: what is needed to rejoin a call whose node died
// is in the list; when the bot says that it is over, it goes.
func TestOrphansAreListedAndReaped(t *testing.T) {
	long(t, "it takes 10 s")
	t.Parallel()
	clock := newWind()
	s := deploy(t, plan{shape: func(x *seat, c *Config) {
		pinnedCalls(x, c)
		c.Apps[0].Silence = new(time.Duration) // nobody waits for its node to come back
		c.Now = clock.now
	}})
	one, two := s.seats[0], s.seats[1]
	// The first notification says nothing of the meeting; a later one does.
	h := s.answered(one, two)
	meeting := strings.ReplaceAll(sample(t, "graph-established-meeting-with-chatinfo.json", h.Call), "2f1a1100-b174-40a0-aba7-0b405e01ed92", string(h.Call))
	if a := s.post(one.follow(h.CallbackURI), s.token(tenantOf(0)), meeting); a.status != http.StatusAccepted {
		t.Fatalf("telling of the meeting: %d %s", a.status, a.body)
	}
	eventually(t, "the meeting in the table", func() error {
		c, _ := one.node.table.Call(h.Call)
		return not(c.Thread != "" && c.Organizer != "", "%+v", c)
	})
	two.stop() // without a drain, as a process that is killed
	var orphan ownership.Call
	eventually(t, "the call among the orphans", func() error {
		page, err := one.api().Calls(t.Context(), ownership.CallFilter{State: ownership.CallOrphaned}, "", 0)
		must(t, err)
		if len(page.Items) == 1 {
			orphan = page.Items[0].Call
		}
		return not(orphan.ID == h.Call, "%d orphans", len(page.Items))
	})
	if orphan.Tenant != ownership.TenantID(tenantOf(0)) || orphan.Thread == "" || orphan.Organizer == "" || orphan.App != testApp {
		t.Errorf("what its rejoining needs is not in the list: %+v", orphan)
	}
	heir := one
	if p, _ := one.node.table.Partition(orphan.Partition); p.Owner != one.id() {
		heir = s.seats[2]
	}
	eventually(t, "its new owner's bot told to rejoin", func() error {
		for _, e := range heir.seen.of(h.Call) {
			if e.Event == ownership.EventRejoin {
				return nil
			}
		}
		return not(false, "not yet")
	})
	heir.seen.answerWith(func(ownership.HandOver) ownership.Reply { return ownership.Reply{Status: http.StatusGone} })
	clock.forward(61 * time.Minute)
	maintenance{heir.node}.reap(t.Context())
	eventually(t, "the orphan released by its bot's word", func() error {
		k, _ := heir.node.table.Known(h.Call)
		return not(k.State == ownership.CallEnded, "it is %s", k.State)
	})
}
