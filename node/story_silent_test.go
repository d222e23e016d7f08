package node

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/graphsim"
	"tandem/ownership"
)

// TestO22_WhatComesForASilentOwnerWaitsForIt: a node stands still for longer than its
// lease, while the media of its calls run on in its bot. Its partitions have other
// owners by then, its answered calls have not: what comes for them is answered with
// 503, at once, and reaches its bot in order and once when it wakes up. Nobody is told
// to rejoin, and no call is an orphan.
func TestO22_WhatComesForASilentOwnerWaitsForIt(t *testing.T) {
	long(t, "it takes 25 s")
	t.Parallel()
	s := deploy(t, plan{
		children: true,
		sim: func(c *graphsim.Config) {
			longCalls(c)
			c.Timings.TalkMin, c.Timings.TalkMax = 14*time.Second, 16*time.Second
			c.Timings.Attempts = 14
			c.Answering = graphsim.AnswerByBot
		},
		shape: func(x *seat, c *Config) {
			byTheBot(x, c)
			c.Apps[0].Hosting = "app"
		},
	})
	count := s.listen()
	_, rest := s.leads(s.seats...)
	victim, witness := rest[0], rest[1]
	s.runAll(graphsim.Load{Rate: 50, MaxCalls: 18})
	eventually(t, "answered calls on "+victim.name, func() error {
		all, mine := s.live(witness, "", ownership.CallAnswered), s.live(witness, victim.id(), ownership.CallAnswered)
		return not(mine >= 3 && all == 18, "%d of %d", mine, all)
	})
	page, err := witness.api().Calls(t.Context(), ownership.CallFilter{Node: victim.id(), State: ownership.CallAnswered}, "", 100)
	must(t, err)
	mine := page.Items
	s.aim(slices.DeleteFunc(slices.Clone(s.seats), func(x *seat) bool { return x == victim })...)
	before := s.cloud.Report()

	victim.pause()
	eventually(t, "other owners of its partitions", func() error {
		all, err := witness.api().Partitions(t.Context())
		if err != nil {
			return err
		}
		return not(!slices.ContainsFunc(all, func(p api.PartitionIn) bool { return !p.Retired && p.Owner == victim.id() }), "it still owns some")
	})
	for _, c := range mine[:3] {
		k, err := witness.api().Call(t.Context(), string(c.ID))
		must(t, err)
		if k.State != ownership.CallAnswered || k.Owner != victim.id() || k.Epoch != c.Epoch {
			t.Errorf("a call of the silent node is %s, of %s, at epoch %d; it was at epoch %d", k.State, k.Owner, k.Epoch, c.Epoch)
		}
		for _, body := range []string{sample(t, established, c.ID), endOf(c.ID)} {
			start := time.Now()
			a := s.postOnce(witness.webhook(), s.token(string(c.Tenant)), body)
			if took := time.Since(start); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || took > 3*time.Second {
				t.Errorf("what comes for it is answered after %s with %d %s", took, a.status, a.body)
			}
		}
	}
	eventually(t, "notifications of the cloud's own that have to wait", func() error {
		n := s.cloud.Report().Responses["503"] - before.Responses["503"]
		return not(n > 0, "%d", n)
	})
	victim.resume()

	r := s.settled()
	if !r.OK() {
		t.Errorf("the cloud saw a broken promise: %d lost, %d misrouted, %d handled twice, %d out of order, %d stale actions: %q %v",
			r.Lost, r.Misrouted, r.HandledTwice, r.OutOfOrder, r.StaleActions, r.Violations, r.Responses)
	}
	if n := s.live(witness, "", ownership.CallOrphaned); n > 0 {
		t.Errorf("%d calls are orphans although their node came back in time", n)
	}
	if told := count(); len(told.rejoin) > 0 {
		t.Errorf("bots were told to rejoin: %v", told.rejoin)
	}
	eventually(t, "the end of all its calls in the table", func() error {
		n := s.live(witness, victim.id(), ownership.CallAnswered)
		return not(n == 0, "%d are answered", n)
	})
}
