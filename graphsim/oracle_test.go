package graphsim

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quick() Timings {
	return Timings{
		TalkMin: 20 * time.Millisecond, TalkMax: 80 * time.Millisecond, Backoff: 5 * time.Millisecond,
		Attempt: 5 * time.Second, Clock: 20 * time.Second, RecordingClock: 15 * time.Second, Grace: 200 * time.Millisecond,
	}
}

func drive(t *testing.T, cloud *Cloud, calls int) Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := cloud.Run(ctx, Load{Rate: 150, MaxCalls: calls, MaxLive: 24}); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	return cloud.Report()
}

func explain(t *testing.T, r Report) {
	t.Helper()
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(string(text))
}

func TestAWellBehavedRouterIsOK(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer Answering
		change func(*Rates)
	}{
		{"the router answers", AnswerByRouter, func(*Rates) {}},
		{"the bot answers", AnswerByBot, func(*Rates) {}},
		{"repeats wander", AnswerByRouter, func(r *Rates) { r.Wander, r.Reset = 1, 0.1 }},
		{"very unkind", AnswerByRouter, func(r *Rates) {
			r.Duplicate, r.ManyDCs, r.Swapped, r.LateUpdate, r.Batch, r.CallsFail, r.BotFails = 0.6, 0.6, 0.6, 0.6, 0.3, 0.2, 0.1
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && tc.name != "very unkind" {
				t.Skip("SKIPPED with -short: the very unkind cloud has all of it")
			}
			rates := Unkind()
			tc.change(&rates)
			cloud, _ := startToy(t, "", Config{Seed: 7, Timings: quick(), Rates: &rates, Answering: tc.answer})
			r := drive(t, cloud, 120)
			if !r.OK() || len(r.Violations) > 0 {
				explain(t, r)
				t.Fatal("a router without a bug was found guilty")
			}
			if r.Calls != 120 || r.Answered+r.Rejected+r.HungUp != 120 {
				t.Errorf("%d calls, %d answered, %d rejected, %d hung up", r.Calls, r.Answered, r.Rejected, r.HungUp)
			}
			if r.NotificationsSent != r.NotificationsHandled+r.Ignored {
				t.Errorf("%d sent, %d handled, %d ignored", r.NotificationsSent, r.NotificationsHandled, r.Ignored)
			}
			if r.Redirects.Region == 0 || r.Redirects.Node == 0 || r.Relays == 0 || r.Handshakes == 0 || r.DuplicatesSent == 0 {
				explain(t, r)
				t.Error("a behaviour did not occur at all")
			}
			if len(r.CallsByNode) != 4 {
				t.Errorf("calls by node: %v", r.CallsByNode)
			}
		})
	}
}

func TestAPlantedBugIsCaught(t *testing.T) {
	short := func(c *Config) {
		c.Timings.Clock, c.Timings.RecordingClock = 300*time.Millisecond, 300*time.Millisecond
	}
	duplicates := func(c *Config) { c.Rates.Duplicate = 0.5 }
	for _, tc := range []struct {
		bug    string
		change func(*Config)
		count  func(Report) int
		says   string
	}{
		{"drops", nil, func(r Report) int { return r.Lost }, "never handed to a bot"},
		{"errors", func(c *Config) { c.Timings.Attempts = 1 }, func(r Report) int { return r.Lost }, "never accepted"},
		{"handles twice", duplicates, func(r Report) int { return r.HandledTwice }, "handed over twice"},
		{"wrong node", nil, func(r Report) int { return r.Misrouted }, "owns the call in epoch"},
		{"past epoch", nil, func(r Report) int { return r.Misrouted }, "epoch 0 after epoch 1"},
		{"answers late", short, func(r Report) int { return r.AnsweredLate }, "its clock is"},
		{"never answers", short, func(r Report) int { return r.Unanswered }, "not answered within"},
		{"answers twice", nil, func(r Report) int { return r.StaleActions }, "second callback URI"},
		{"reorders", nil, func(r Report) int { return r.OutOfOrder }, "had been accepted before"},
		{"overlaps", func(c *Config) { c.Rates.Swapped = 1 }, func(r Report) int { return r.OutOfOrder }, "while it was still at"},
		{"loses the body", nil, func(r Report) int { return r.Altered }, "another body"},
		{"loops", nil, func(r Report) int { return r.StrayHops }, "redirected more than 3 times"},
		{"two node hops", nil, func(r Report) int { return r.HopsMax.Node - 1 }, "redirected 2 times to a node"},
		{"redirects mid-call", func(c *Config) { c.Timings.Attempts = 2 }, func(r Report) int { return r.Lost }, "the response was 307"},
		{"open redirect", nil, func(r Report) int { return r.StrayHops }, "unknown base"},
		{"bare 202", func(c *Config) { c.Rates.Joining = 1 }, func(r Report) int { return r.RepliesLost }, "did not pass through"},
		{"no handshake", func(c *Config) { c.Rates.Legacy = 1; short(c) }, func(r Report) int { return r.StrayHops }, "not with an empty 204"},
	} {
		t.Run(tc.bug, func(t *testing.T) {
			t.Parallel()
			rates := Kind()
			cfg := Config{Seed: 3, Timings: quick(), Rates: &rates, Switches: Switches{KeepKey: true}}
			if tc.change != nil {
				tc.change(&cfg)
			}
			cloud, toy := startToy(t, tc.bug, cfg)
			if tc.bug == "overlaps" {
				for _, n := range toy.nodes {
					cloud.Bot(n.id).SetWork(20 * time.Millisecond)
				}
			}
			r := drive(t, cloud, 30)
			if r.OK() || tc.count(r) <= 0 || !strings.Contains(strings.Join(r.Violations, "\n"), tc.says) {
				explain(t, r)
				t.Fatalf("the bug %q was not caught", tc.bug)
			}
		})
	}
}

func TestAKindCloudAndNoBugIsOK(t *testing.T) {
	rates := Kind()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	cloud, _ := startToy(t, "", Config{Timings: quick(), Rates: &rates, Logger: log})
	if r := drive(t, cloud, 30); !r.OK() || r.DuplicatesSent > 0 || r.Retries > r.Responses["none"] {
		explain(t, r)
		t.Fatal("the kind cloud was unkind, or the toy guilty")
	}
}

func TestMidcallRedirectsAreFollowedWhereSwitchedOn(t *testing.T) {
	rates := Kind()
	cfg := Config{Timings: quick(), Rates: &rates, Switches: Switches{FollowMidcall: true}}
	cloud, _ := startToy(t, "redirects mid-call", cfg)
	if r := drive(t, cloud, 20); !r.OK() || r.Responses["307"] == 0 {
		explain(t, r)
		t.Fatal("the mid-call redirects were not followed")
	}
}

// TestO19_InvitesRingOnCallbackURIsWhereSwitchedOn: what the service does there is
// not published; either way a good router serves the call.
func TestO19_InvitesRingOnCallbackURIsWhereSwitchedOn(t *testing.T) {
	for _, on := range []bool{true, false} {
		rates := Kind()
		rates.Meeting = 1
		cfg := Config{Timings: quick(), Rates: &rates, Switches: Switches{InviteOnCallback: on, KeepKey: true}}
		cloud, _ := startToy(t, "", cfg)
		if r := drive(t, cloud, 20); !r.OK() || (r.Invited > 0) != on {
			explain(t, r)
			t.Errorf("switched to %v: %d calls rang on a callback URI", on, r.Invited)
		}
	}
}

// F36: a missing end leaves a call that only GET shows to be over.
func TestF36_TheEndIsNeverTold(t *testing.T) {
	rates := Kind()
	rates.NoEnd = 1
	cloud, toy := startToy(t, "", Config{Timings: quick(), Rates: &rates})
	if r := drive(t, cloud, 3); !r.OK() {
		explain(t, r)
		t.Fatal("the router was blamed for the cloud's silence")
	}
	for _, k := range cloud.ledger.order {
		url := cloud.GraphURL() + "/communications/calls/" + k.raw
		if status, _, _ := fetch(t, toy.client, http.MethodGet, url, toy.token, ""); status != http.StatusNotFound || k.end != nil {
			t.Errorf("GET says %d", status)
		}
	}
}

func TestARunWithoutCallsIsNotOK(t *testing.T) {
	if (Report{}).OK() {
		t.Fatal("a run that saw nothing was OK")
	}
}

// F36, section 7: a client that follows a 302 by GET loses the notification.
func TestF36_FollowingByGETLosesTheNotification(t *testing.T) {
	rates := Kind()
	cfg := Config{Timings: quick(), Rates: &rates, Switches: Switches{RedirectAsGET: true}}
	cfg.Timings.Clock = 300 * time.Millisecond
	cfg.Timings.RecordingClock = 300 * time.Millisecond
	cloud, _ := startToy(t, "", cfg)
	if r := drive(t, cloud, 30); r.Lost == 0 || r.Responses["405"] == 0 {
		explain(t, r)
		t.Fatal("following by GET went unnoticed")
	}
}
