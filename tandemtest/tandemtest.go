// Package tandemtest tries a bot the way a Tandem node does, in the bot's own tests:
//
//	func TestBot(t *testing.T) {
//		tandemtest.Test(t, mybot.New(), tandemtest.Options{})
//	}
//
// Test puts the list of package conformance to the bot, then starts a real node and a
// simulated calling cloud on loopback, has the cloud make calls, starts the node anew while
// calls are live, and judges what the bot made of it. The contract is docs/bots.md; bots in
// other languages take 'npx ./conformance URL' and 'tandem dev --bot URL' for the same.
package tandemtest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/conformance"
	"tandem/node"
)

// Options say how the bot is beside its node. The zero value is a bot that answers by
// itself or by its reply, with its health at /health.
type Options struct {
	HealthPath string // empty: /health; "-": the bot has none
	Secret     string // what the bot and its router share (bot.secret_file), 16 bytes or more; empty: nothing is signed
	Answer     string // the app's answer setting: bot (default) or router
	Hosting    string // where the media are: service (default) or app
	Calls      int    // how many the cloud makes; 0: 20
	Unkind     bool   // the cloud repeats, delays and swaps notifications

	attempts int                // of the cloud; 0: as many as it makes
	clock    time.Duration      // of the cloud's answers; 0: 15 s
	talk     time.Duration      // how long a call lasts; 0: up to a second
	shape    func(*node.Config) // further changes to the node
}

func (o Options) filled() Options {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&o.HealthPath, "/health")
	set(&o.Answer, "bot")
	set(&o.Hosting, "service")
	if o.Calls == 0 {
		o.Calls = 20
	}
	return o
}

// testTime bounds one try of a bot.
const testTime = time.Minute

// Test tries a bot that is a handler of this process.
func Test(t *testing.T, bot http.Handler, o Options) {
	t.Helper()
	door := httptest.NewServer(bot)
	defer door.Close()
	TestURL(t, door.URL+"/", o)
}

// TestURL tries a bot that listens somewhere, in whatever language.
func TestURL(t *testing.T, url string, o Options) {
	t.Helper()
	o = o.filled()
	t.Run("contract", func(t *testing.T) {
		for _, v := range conformance.Run(t.Context(), conformance.Target{URL: url, HealthURL: o.health(url), Secret: o.Secret}) {
			if v.Verdict == conformance.Failed {
				t.Errorf("%s: %s: %s\n→ %s", v.ID, v.Title, v.Why, v.Fix)
			}
		}
	})
	t.Run("calls", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), testTime)
		defer cancel()
		for _, wrong := range calls(ctx, t.TempDir(), url, o) {
			t.Error(wrong)
		}
	})
}

// health is the bot's health address.
func (o Options) health(bot string) string {
	if o.HealthPath == "-" {
		return ""
	}
	base, err := http.NewRequest(http.MethodGet, bot, nil) //nolint:noctx // it is not sent
	if err != nil {
		return ""
	}
	return base.URL.JoinPath(o.HealthPath).String()
}

// calls has the cloud call the bot, and says what was wrong.
func calls(ctx context.Context, dir, url string, o Options) (wrong []error) {
	d, err := Start(ctx, dir, url, o)
	if err != nil {
		return []error{err}
	}
	defer d.Stop()
	if err := d.Calls(ctx, o.Calls, true); err != nil {
		return []error{err}
	}
	r := d.Report()
	if !r.Bot.OK() {
		wrong = append(wrong, fmt.Errorf("the bot failed: %s", strings.Join(r.Bot.Advice, " ")))
	}
	for _, what := range slices.Sorted(maps.Keys(r.Bot.WrongReplies)) {
		wrong = append(wrong, fmt.Errorf("the bot's reply to a new call: %s", what))
	}
	if !r.OK() {
		wrong = append(wrong, fmt.Errorf("tandem itself broke a promise, which is no fault of the bot: %q; responses %v, refusals %v", r.Violations, r.Responses, r.Refusals))
	}
	return wrong
}
