package tandemtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const answer = `{"answer":{"acceptedModalities":["audio"],"mediaConfig":{"@odata.type":"#microsoft.graph.serviceHostedMediaConfig"}}}`

// good is a bot that takes everything, in ten lines.
func good(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	switch event := r.Header.Get("Tandem-Event"); {
	case event == "incoming", event == "adopted" && r.Header.Get("Tandem-Deadline") != "":
		_, _ = io.WriteString(w, answer)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

// TestAGoodBot is what a bot author writes.
func TestAGoodBot(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: starts a node")
	}
	t.Parallel()
	Test(t, http.HandlerFunc(good), Options{HealthPath: "-", Unkind: true})
}

// TestFaultsOfABotAreItsOwn: what a bot does wrong is told as the bot's, with what to do,
// and never as a broken promise of the router.
func TestFaultsOfABotAreItsOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: starts nodes")
	}
	t.Parallel()
	var first sync.Once
	var sleptOver atomic.Value // the call about which nobody replied
	var tries []try
	for name, c := range map[string]struct {
		bot    http.HandlerFunc
		answer string
		says   string
		holds  func(w wrongs) bool
	}{
		"slow": {says: "had no reply before the router gave up", bot: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			first.Do(func() {
				sleptOver.Store(r.Header.Get("Tandem-Call"))
				<-r.Context().Done()
			})
			good(w, r)
		}, holds: func(w wrongs) bool { return w.timedOut > 0 }},
		"refuses": {says: "refused with 404, which is final", bot: func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Tandem-Event") == "incoming" {
				http.NotFound(w, r)
				return
			}
			good(w, r)
		}, holds: func(w wrongs) bool { return w.refused["404"] > 0 && w.unanswered == w.calls && w.notTaken > 0 }},
		"fails": {says: "refused with 500, which means «not now»", bot: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
		}, holds: func(w wrongs) bool { return w.refused["500"] > 0 && w.unanswered == w.calls }},
		"ill": {says: "health checks had no 200", bot: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}, holds: func(w wrongs) bool { return w.sick > 0 && w.unanswered == w.calls }},
		"full": {says: "said draining, or a load of 1", bot: func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				_, _ = io.WriteString(w, `{"load":1,"capacity":50}`)
				return
			}
			good(w, r)
		}, holds: func(w wrongs) bool { return w.unanswered == w.calls }},
		"forgets to answer": {says: "were not answered in time by the bot's fault", bot: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
		}, holds: func(w wrongs) bool { return w.unanswered == w.calls }},
		"says what nobody knows": {says: `it has a member "anser" that Tandem does not know`, bot: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"anser":{}}`)
		}, holds: func(w wrongs) bool { return w.unanswered == w.calls }},
		"is told after the router's answer": {answer: "router", says: "", bot: good, holds: func(w wrongs) bool { return w.ok && w.unanswered == 0 }},
	} {
		tries = append(tries, try{name, func(t *testing.T) {
			door := httptest.NewServer(c.bot)
			defer door.Close()
			o := Options{Answer: c.answer, HealthPath: "-", attempts: 2, clock: 3 * time.Second}
			if name == "slow" {
				o.clock, o.attempts, o.shape = 0, 0, func(n *node.Config) { n.Apps[0].Bot.Timeout = 2 * time.Second }
			}
			if name == "ill" || name == "full" {
				o.HealthPath = "/health"
			}
			ctx, cancel := context.WithTimeout(t.Context(), testTime)
			defer cancel()
			d, err := Start(ctx, t.TempDir(), door.URL+"/", o)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Stop()
			if err := d.Calls(ctx, 6, false); err != nil {
				t.Fatal(err)
			}
			r := d.Report()
			if !r.OK() {
				t.Errorf("the bot's fault was taken for the router's: %q", r.Violations)
			}
			if name == "slow" && !d.replies.GaveUp("solo-1", sleptOver.Load().(string)) {
				t.Error("that the node gave up was not heard in its log")
			}
			told := strings.Join(r.Bot.Advice, "\n")
			seen := wrongs{r.Bot.OK(), r.Calls, r.Bot.TimedOut, r.Bot.Sick, r.Bot.Unanswered, r.Bot.NotTaken, r.Bot.Refused}
			if !strings.Contains(told, c.says) || !c.holds(seen) || r.Bot.OK() != (c.says == "") {
				t.Errorf("the report says %+v and advises %s, want %q", seen, told, c.says)
			}
		}})
	}
	allAtOnce(t, tries)
}

// wrongs are what a report tells of a bot.
type wrongs struct {
	ok                                          bool
	calls, timedOut, sick, unanswered, notTaken int
	refused                                     map[string]int
}

func ExampleOptions() {
	fmt.Println(Options{}.filled().Answer, Options{}.filled().HealthPath)
	// Output: bot /health
}
