package webhook

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"tandem/ownership"
)

// TestRefusalsOfTheTable: all are 503 with a spread Retry-After, none a guess.
func TestRefusalsOfTheTable(t *testing.T) {
	nd := oneNode(t, setup{config: func(c *Config) { c.ClaimTimeout = 20 * time.Millisecond }})
	for _, c := range []struct {
		err  error
		code string
	}{
		{ownership.ErrFull, "full"},
		{fmt.Errorf("claiming: %w", ownership.ErrNoLeader), "no_leader"},
		{errors.New("something else"), "not_placed"},
	} {
		nd.in.refuse = c.err
		a := post(t, nd.url+hookPath, incoming("c1"))
		if a.status != 503 || a.code(t) != c.code {
			t.Errorf("%v: %d %s", c.err, a.status, a.body)
		}
		if r := a.header.Get("Retry-After"); r != "1" && r != "2" && r != "3" {
			t.Errorf("Retry-After is %q", r)
		}
	}
	nd.in.refuse, nd.in.stall = nil, make(chan struct{})
	start := time.Now()
	if a := post(t, nd.url+hookPath, incoming("c1")); a.status != 503 || a.code(t) != "no_leader" || time.Since(start) > time.Second {
		t.Errorf("a claim that hangs: %d %s after %s", a.status, a.body, time.Since(start))
	}
	if len(nd.handed()) != 0 {
		t.Error("something was handed over without a place")
	}
}

// TestARecordingComesBackAtOnce: it rings for 5 s, and two waits of 3 s would be
// its end.
func TestARecordingComesBackAtOnce(t *testing.T) {
	nd := oneNode(t, setup{})
	nd.in.refuse = ownership.ErrFull
	for i := range 20 {
		a := post(t, nd.url+hookPath, incoming(fmt.Sprintf("c%d", i), `"incomingContext":{"observedParticipantId":"p1"}`))
		if a.status != 503 || a.header.Get("Retry-After") != "1" {
			t.Fatalf("%d, Retry-After %q, want 503 and 1", a.status, a.header.Get("Retry-After"))
		}
	}
}

// TestF58_ARingingCallLeavesANodeThatIsCutOffAtOnce: it may be posted there again and
// again, and rings for 15 s. Where the whole region is full there is no hurry.
func TestF58_ARingingCallLeavesANodeThatIsCutOffAtOnce(t *testing.T) {
	nd := oneNode(t, setup{})
	spread := map[string]bool{}
	for i := range 20 {
		for _, err := range []error{ownership.ErrNoLeader, ownership.ErrFenced, ownership.ErrBehind} {
			nd.in.refuse = err
			if a := post(t, nd.url+hookPath, incoming(fmt.Sprintf("c%d", i))); a.status != 503 || a.header.Get("Retry-After") != "1" {
				t.Fatalf("%v: %d, Retry-After %q, want 503 and 1", err, a.status, a.header.Get("Retry-After"))
			}
		}
		nd.in.refuse = ownership.ErrFull
		spread[post(t, nd.url+hookPath, incoming(fmt.Sprintf("c%d", i))).header.Get("Retry-After")] = true
	}
	if len(spread) < 2 {
		t.Errorf("Retry-After of a full region is not spread: %v", spread)
	}
}

// TestNoLease: an owner without a valid lease does not act.
func TestNoLease(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	two.leaseOff = true
	for _, nd := range []*node{one, two} {
		if a := post(t, nd.uri(2, 1, "c1"), update("c1")); a.status != 503 || a.code(t) != "no_lease" {
			t.Errorf("at %s: %+v", nd.id, a)
		}
	}
	// A node that lost its own lease still relays to an owner that has one.
	one.leaseOff, two.leaseOff = true, false
	if a := post(t, one.uri(2, 1, "c1"), update("c1")); a.status != 202 || len(two.handed()) != 1 {
		t.Errorf("%+v", a)
	}
}

// TestBotsAnswers: what may pass passes; redirects and nonsense do not.
func TestBotsAnswers(t *testing.T) {
	nd := oneNode(t, setup{})
	for _, c := range []struct {
		reply ownership.Reply
		err   error
		want  int
		code  string
	}{
		{reply: ownership.Reply{}, want: 202},
		{reply: ownership.Reply{Status: 200, Body: []byte("x")}, want: 200},
		{reply: ownership.Reply{Status: 429, Header: map[string][]string{"Retry-After": {"7"}}}, want: 429},
		{reply: ownership.Reply{Status: 302, Header: map[string][]string{"Location": {"https://evil.example/"}}}, want: 502, code: "bad_bot_reply"},
		{reply: ownership.Reply{Status: 7}, want: 502, code: "bad_bot_reply"},
		{reply: ownership.Reply{Status: 101}, want: 502, code: "bad_bot_reply"},
		{err: errors.New("the bot hangs"), want: 503, code: "bot_unavailable"},
		{err: context.DeadlineExceeded, want: 503, code: "bot_unavailable"},
	} {
		nd.reply = func(ownership.HandOver) (ownership.Reply, error) { return c.reply, c.err }
		a := post(t, nd.uri(1, 1, "c1"), update("c1"))
		if a.status != c.want || a.location() != "" || c.code != "" && a.code(t) != c.code {
			t.Errorf("%+v, %v: %+v", c.reply, c.err, a)
		}
	}
}
