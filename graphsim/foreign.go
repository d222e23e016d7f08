package graphsim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Foreign is a bot of somebody else that is tried. Every hand-over passes over the
// simulator's own door to it, so that the oracle sees what the bot made of it, and what
// the bot did wrong is not taken for the router's fault.
type Foreign struct {
	URL       string // hand-overs are POSTed here
	HealthURL string // GET; empty: the bots' health is always good
}

// BotReport is how a foreign bot did. Times are until its reply was read.
type BotReport struct {
	HandedOver   int            `json:"handed_over"`   // hand-overs, repeats among them
	Taken        int            `json:"taken"`         // with a 2xx
	Refused      map[string]int `json:"refused"`       // by status
	TimedOut     int            `json:"timed_out"`     // no reply before the router gave up
	Unreachable  int            `json:"unreachable"`   // no connection, or it broke
	WrongReplies map[string]int `json:"wrong_replies"` // to new calls, by what is wrong
	ReplyMS      Quantiles      `json:"reply_ms"`      // of those that came
	Health       int            `json:"health_asked"`  // how often
	Sick         int            `json:"health_failed"` // of them without a 200 in time
	Full         int            `json:"health_full"`   // of them that said draining, or a load of 1
	WrongHealth  map[string]int `json:"wrong_health"`  // replies of another form
	Unanswered   int            `json:"unanswered"`    // calls that were not answered in time by its fault
	NotTaken     int            `json:"not_taken"`     // notifications that it never took
	Rejected     int            `json:"rejected"`      // calls that it wanted rejected
	Advice       []string       `json:"advice"`        // what to do, a sentence each
}

// OK reports whether the bot took everything in time. What it rejects and what it says
// too much is its own business, and a health check that fails shows by what it brought.
func (b *BotReport) OK() bool {
	return b.HandedOver > 0 && len(b.Refused) == 0 && b.TimedOut == 0 && b.Unreachable == 0 &&
		b.Unanswered == 0 && b.NotTaken == 0
}

// trial watches a foreign bot.
type trial struct {
	Foreign
	client *http.Client

	mu      sync.Mutex
	report  BotReport
	replies []time.Duration
	failed  time.Time // the last time that it failed, in health or hand-over, or wanted no new calls
}

func newTrial(f Foreign) *trial {
	return &trial{
		Foreign: f,
		client: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 3 * time.Second},
		},
		report: BotReport{Refused: map[string]int{}, WrongReplies: map[string]int{}, WrongHealth: map[string]int{}},
	}
}

// passed is what came back from the bot; status 0: nothing did.
type passed struct {
	status int
	header http.Header
	body   []byte
}

// hand passes a hand-over on and counts what becomes of it.
func (t *trial) hand(r *http.Request, event string, body []byte) passed {
	begun := time.Now()
	got, err := t.pass(r, t.URL, body)
	took := time.Since(begun)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.HandedOver++
	switch {
	case r.Context().Err() != nil: // it did not wait for what came
		t.report.TimedOut++
		t.failed = time.Now()
		return passed{}
	case err != nil:
		t.report.Unreachable++
		t.failed = time.Now()
		return passed{}
	}
	t.replies = sample(t.replies, took)
	if got.status/100 != 2 {
		t.report.Refused[strconv.Itoa(got.status)]++
		if got.status/100 != 4 {
			t.failed = time.Now()
		}
		return got
	}
	t.report.Taken++
	if event == "incoming" {
		wrong, rejects := readReply(got.body)
		if rejects {
			t.report.Rejected++
		}
		if wrong != "" {
			t.report.WrongReplies[wrong]++
		}
	}
	return got
}

// tried is what became of one hand-over at a foreign bot.
type tried struct {
	fault bool          // it did not take it in time, or replied what a router cannot use
	leave bool          // it wants to answer by itself, or never
	took  time.Duration // until its reply
}

// serveForeign passes a hand-over on to a foreign bot, and its reply back.
func (b *Bot) serveForeign(t *trial, s *sighting, body []byte, w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	got := t.hand(r, s.event, body)
	wrong, _ := readReply(got.body)
	status := got.status
	gone := status == 0
	if gone && r.Context().Err() == nil {
		status = http.StatusServiceUnavailable // no bot was there to take it
	}
	b.cloud.ledger.count(func(*ledger) {
		s.foreign = tried{fault: got.status/100 != 2, took: time.Since(begun)}
		if s.event == "incoming" || s.event == "adopted" {
			s.foreign.leave = wrong != "" || len(bytes.TrimSpace(got.body)) == 0
		}
		if n := s.notice; n != nil && n.wantBody != "" && got.status/100 == 2 {
			n.wantBody = string(got.body) // whatever it says, it is to pass through
		}
	})
	b.cloud.ledger.done(s, status)
	b.cloud.watchers.tell(s.call, b.node, "bot of "+b.node, b.cloud.ledger.named(s))
	if gone {
		panic(http.ErrAbortHandler) // the router sees what the bot's own connection would have shown
	}
	for name, values := range got.header {
		switch name {
		case "Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length": // of the bot's connection
		default:
			w.Header()[name] = values
		}
	}
	w.WriteHeader(got.status)
	_, _ = w.Write(got.body) // a router that left has lost the reply, which the oracle sees
}

// botsFault reports whether it can be a foreign bot's doing that a notification of the
// call was not taken: the bot failed at one of the call's, or nothing of the call was
// handed over while the bot was ill. No other promise is excused by that.
func (t *totals) botsFault(k *call) bool {
	if t.trial == nil {
		return false
	}
	if len(k.seen) == 0 {
		return t.trial.failedSince(k.born)
	}
	return slices.ContainsFunc(k.seen, func(s *sighting) bool { return s.foreign.fault })
}

// leftByBot reports whether a foreign bot is why a call was not answered in time: it
// failed, it took more than half of the clock, or the answer was its own to give.
func (t *totals) leftByBot(k *call) bool {
	return t.botsFault(k) || t.trial != nil && slices.ContainsFunc(k.seen, func(s *sighting) bool {
		return s.foreign.took > k.clock/2 || s.foreign.leave && t.answering == AnswerByBot
	})
}

// pass makes one request with the headers of another one. The connection's own are made anew.
func (t *trial) pass(r *http.Request, to string, body []byte) (passed, error) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, to, bytes.NewReader(body))
	if err != nil {
		return passed{}, err
	}
	req.Header = r.Header.Clone()
	req.Header.Del("Connection")
	res, err := t.client.Do(req)
	if err != nil {
		return passed{}, err
	}
	defer func() { _ = res.Body.Close() }() // nothing is written by closing a response
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	return passed{res.StatusCode, res.Header, text}, err
}

// healthTime is how long a router waits for a health reply.
const healthTime = time.Second

// health asks the bot how it is, as a router would.
func (t *trial) health(w http.ResponseWriter, r *http.Request) {
	if t.HealthURL == "" {
		w.WriteHeader(http.StatusOK)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), healthTime)
	defer cancel()
	got, err := t.pass(r.WithContext(ctx), t.HealthURL, nil)
	left := errors.Is(r.Context().Err(), context.Canceled) && ctx.Err() == nil // a router that stops
	t.mu.Lock()
	defer t.mu.Unlock()
	if left {
		return
	}
	t.report.Health++
	if err != nil || got.status != http.StatusOK {
		t.report.Sick++
		t.failed = time.Now()
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	wrong, full := readHealth(got.body)
	if wrong != "" {
		t.report.WrongHealth[wrong]++
	}
	if full {
		t.report.Full++
		t.failed = time.Now()
	}
	_, _ = w.Write(got.body) // a router that left asks again
}

// readReply says what is wrong with the reply to a new call, and whether it rejects it.
func readReply(body []byte) (wrong string, rejects bool) {
	if len(bytes.TrimSpace(body)) == 0 {
		return "", false
	}
	var said map[string]json.RawMessage
	if json.Unmarshal(body, &said) != nil || said == nil {
		return "it is no JSON object", false
	}
	_, answers := said["answer"]
	_, rejects = said["reject"]
	for _, name := range slices.Sorted(maps.Keys(said)) {
		if name != "answer" && name != "reject" {
			return fmt.Sprintf("it has a member %q that Tandem does not know", name), rejects
		}
	}
	var object map[string]json.RawMessage
	switch {
	case answers && rejects:
		return `it says both "answer" and "reject"`, false
	case answers && (json.Unmarshal(said["answer"], &object) != nil || object == nil):
		return `"answer" is no object`, false
	case answers && (object["acceptedModalities"] == nil || object["mediaConfig"] == nil):
		return `"answer" lacks acceptedModalities or mediaConfig`, false
	case rejects && (json.Unmarshal(said["reject"], &object) != nil || object == nil):
		return `"reject" is no object with a reason`, false
	}
	return "", rejects
}

// versionText is what a bot may call its version; empty: nothing.
var versionText = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._+-]{0,63})?$`)

// readHealth says what is wrong with a health reply, and whether it wants no new calls.
func readHealth(body []byte) (wrong string, full bool) {
	if len(bytes.TrimSpace(body)) == 0 {
		return "", false
	}
	var said struct {
		Load     *float64 `json:"load"`
		Capacity *int     `json:"capacity"`
		Draining *bool    `json:"draining"`
		Version  *string  `json:"version"`
	}
	switch {
	case json.Unmarshal(body, &said) != nil:
		return "it is no JSON object with load (a number), capacity (a whole number) draining (true or false) and version (a text)", false
	case said.Load != nil && (*said.Load < 0 || *said.Load > 1):
		return "load is not between 0 and 1", *said.Load > 1
	case said.Capacity != nil && *said.Capacity < 0:
		return "capacity is below 0", false
	case said.Version != nil && !versionText.MatchString(*said.Version):
		return "version is not of 1 to 64 letters, digits and ._+-, a letter or digit first", false
	}
	return "", said.Load != nil && *said.Load == 1 || said.Draining != nil && *said.Draining
}

// failedSince reports whether the bot failed after a time, or at most a router's longest
// pause before it: so long a router may keep new calls from a bot that failed.
func (t *trial) failedSince(at time.Time) bool {
	const longestPause = time.Minute
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed.After(at.Add(-longestPause))
}

// told is the report so far, with advice.
func (t *trial) told(unanswered, notTaken int) *BotReport {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.report
	r.Refused, r.WrongReplies, r.WrongHealth = maps.Clone(r.Refused), maps.Clone(r.WrongReplies), maps.Clone(r.WrongHealth)
	r.ReplyMS = quantiles(slices.Clone(t.replies))
	r.Unanswered, r.NotTaken = unanswered, notTaken
	r.advise()
	return &r
}

func (b *BotReport) advise() {
	b.Advice = []string{}
	say := func(format string, args ...any) { b.Advice = append(b.Advice, fmt.Sprintf(format, args...)) }
	if b.HandedOver == 0 {
		say("The bot was handed nothing: its health must be 200 before it gets new calls.")
	}
	if b.TimedOut > 0 {
		say("%d hand-overs had no reply before the router gave up (bot.timeout, 4 s): reply first, work afterwards, and different calls side by side.", b.TimedOut)
	}
	if b.Unreachable > 0 {
		say("%d hand-overs found no bot, or a connection that broke: keep the bot's port open, and idle connections for more than 3 s.", b.Unreachable)
	}
	for _, status := range slices.Sorted(maps.Keys(b.Refused)) {
		switch {
		case strings.HasPrefix(status, "5"):
			say("%d were refused with %s, which means «not now»: the cloud sends them again, and some in a row make the bot sick. Take with 2xx what you have no use for.", b.Refused[status], status)
		case strings.HasPrefix(status, "3"):
			say("%d were redirected with %s: the router follows no redirect, so set bot.url to the final address.", b.Refused[status], status)
		default:
			say("%d were refused with %s, which is final: the cloud sends them no more. Take with 2xx what you have no use for.", b.Refused[status], status)
		}
	}
	for _, wrong := range slices.Sorted(maps.Keys(b.WrongReplies)) {
		say("%d replies to new calls cannot be used: %s. Reply with nothing, {\"answer\":{…}} or {\"reject\":{\"reason\":…}}.", b.WrongReplies[wrong], wrong)
	}
	if b.Sick > 0 {
		say("%d of %d health checks had no 200 within 1 s: two in a row keep new calls away.", b.Sick, b.Health)
	}
	if b.Full > 0 {
		say("%d health replies said draining, or a load of 1: the bot gets no new calls then. Let go of calls that have ended.", b.Full)
	}
	for _, wrong := range slices.Sorted(maps.Keys(b.WrongHealth)) {
		say("%d health replies are ignored: %s.", b.WrongHealth[wrong], wrong)
	}
	if b.Unanswered > 0 {
		say("%d calls were not answered in time by the bot's fault: reply {\"answer\":{…}}, or answer at Graph with Tandem-Callback-Uri before Tandem-Deadline.", b.Unanswered)
	}
}
