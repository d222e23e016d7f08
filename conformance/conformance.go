// Package conformance puts the contract of the bot's door (docs/bots.md) to a bot: it
// POSTs what a router would POST, and judges what comes back by the rules of cases.json.
// The same rules are run by the Node program of this folder:
//
//	npx ./conformance http://127.0.0.1:9442/ --health http://127.0.0.1:9442/health
package conformance

import (
	"bytes"
	"context"
	_ "embed" // the rules
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

//go:embed cases.json
var casesText []byte

type cases struct {
	Bodies map[string]json.RawMessage `json:"bodies"`
	Rules  []Rule                     `json:"rules"`
}

// Rule is one thing that a bot must keep.
type Rule struct {
	ID    string `json:"id"`
	Title string `json:"title"` // what must hold
	Fix   string `json:"fix"`   // what to do where it does not
	Needs string `json:"needs"` // "secret": it is skipped without one
	Steps []step `json:"steps"`
}

// step is one request, with what may come back.
type step struct {
	Health   bool              `json:"health"` // GET of the health address
	Again    bool              `json:"again"`  // the request before, byte for byte
	Event    string            `json:"event"`
	Says     string            `json:"says"` // the event in the body, where it is another one
	Call     string            `json:"call"`
	Epoch    int               `json:"epoch"`
	Body     string            `json:"body"`
	Headers  map[string]string `json:"headers"`
	Pad      int               `json:"pad"`      // letters of {pad}
	Deadline int               `json:"deadline"` // ms from now; 0: none
	Copies   int               `json:"copies"`   // so many at once, each of a call of its own
	Sign     string            `json:"sign"`     // none, wrong or old; empty: as a router does
	Want     want              `json:"want"`
}

type want struct {
	Status []string `json:"status"` // such as 2xx or 401; empty: any
	Within int      `json:"within"` // ms; 0: any
	Reply  string   `json:"reply"`  // decision, health or same; empty: any
}

func read() (c cases) {
	d := json.NewDecoder(bytes.NewReader(casesText))
	var file struct {
		About string `json:"about"`
		cases
	}
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		panic("conformance: cases.json is no list of rules: " + err.Error()) // it is part of the program
	}
	return file.cases
}

// Rules returns the rules in the order in which they are put.
func Rules() []Rule { return read().Rules }

// Target is the bot that is judged.
type Target struct {
	URL       string // hand-overs are POSTed here
	HealthURL string // empty: rules about health are skipped
	Secret    string // what the bot shares with its router; empty: nothing is signed
	Client    *http.Client
}

// The outcomes of a rule.
const (
	OK      = "ok"
	Failed  = "failed"
	Skipped = "skipped"
)

// Verdict is what became of one rule.
type Verdict struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Verdict string `json:"verdict"`       // OK, Failed or Skipped
	Why     string `json:"why,omitempty"` // what was seen, or why it was skipped
	Fix     string `json:"fix,omitempty"` // what to do
}

// Run puts all rules to the bot, one after the other. A bot that is not there breaks them.
func Run(ctx context.Context, t Target) []Verdict {
	if t.Client == nil {
		t.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		defer t.Client.CloseIdleConnections()
	}
	c := read()
	var out []Verdict
	for _, r := range c.Rules {
		out = append(out, c.judge(ctx, r, t))
	}
	return out
}

// patience is how long one reply is waited for.
const patience = 10 * time.Second

// reply is what came back; status 0: nothing did.
type reply struct {
	status int
	body   []byte
	took   time.Duration
	err    error
}

func (c cases) judge(ctx context.Context, r Rule, t Target) Verdict {
	v := Verdict{ID: r.ID, Title: r.Title, Verdict: Skipped}
	if r.Needs == "secret" && t.Secret == "" {
		v.Why = "it needs a secret"
		return v
	}
	ids, more := map[string]string{}, []string{}
	defer func() { c.end(ctx, append(slices.Collect(maps.Values(ids)), more...), t) }()
	var init, before = request{}, reply{}
	for n, s := range r.Steps {
		if s.Health && t.HealthURL == "" {
			v.Why = "it needs a health address"
			return v
		}
		if !s.Again {
			init = c.request(s, ids, t)
		}
		got := make([]reply, max(1, s.Copies))
		var all sync.WaitGroup
		for i := range got {
			one := init
			if s.Copies > 0 {
				own := map[string]string{}
				one = c.request(s, own, t)
				more = append(more, own[s.Call])
			}
			all.Go(func() { got[i] = one.send(ctx, t.Client) })
		}
		all.Wait()
		for _, g := range got {
			if err := s.Want.meets(g, before); err != nil {
				v.Verdict, v.Why, v.Fix = Failed, fmt.Sprintf("step %d of %d: %v", n+1, len(r.Steps), err), r.Fix
				return v
			}
		}
		before = got[0]
	}
	v.Verdict = OK
	return v
}

// end tells the bot of the end of a rule's calls, so that it is left as it was found.
func (c cases) end(ctx context.Context, calls []string, t Target) {
	var all sync.WaitGroup
	for _, call := range calls {
		over := c.request(step{Event: "update", Call: "it", Body: "terminated"}, map[string]string{"it": call}, t)
		all.Go(func() { over.send(ctx, t.Client) })
	}
	all.Wait()
}

// request is one hand-over, as a router would write it, or a look at the bot's health.
type request struct {
	method, url string
	header      http.Header
	body        []byte
}

func (r request) send(ctx context.Context, client *http.Client) (got reply) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	begun := time.Now()
	defer func() { got.took = time.Since(begun) }()
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return reply{err: err}
	}
	req.Header = r.header.Clone()
	res, err := client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{err: err}
	}
	return reply{status: res.StatusCode, body: body}
}

// meets says what is wrong with a reply.
func (w want) meets(got, before reply) error {
	ms := got.took.Milliseconds()
	switch {
	case got.err != nil:
		return fmt.Errorf("there was no reply: %w", got.err)
	case len(w.Status) > 0 && !slices.ContainsFunc(w.Status, func(a string) bool { return allows(a, got.status) }):
		return fmt.Errorf("the status is %d, not %s", got.status, strings.Join(w.Status, " or "))
	case w.Within > 0 && ms > int64(w.Within):
		return fmt.Errorf("the reply took %d ms, at most %d", ms, w.Within)
	}
	switch w.Reply {
	case "decision":
		_, err := Decision(got.body)
		return err
	case "health":
		return Health(got.body)
	case "same":
		if now, first := said(got), said(before); now != first {
			return fmt.Errorf("the reply is another one than the first time: %s, first %s", now, first)
		}
	}
	return nil
}

func allows(a string, status int) bool {
	kind, rest := a[:1], a[1:]
	return a == strconv.Itoa(status) || rest == "xx" && kind == strconv.Itoa(status/100)
}

func said(r reply) string {
	d, err := Decision(r.body)
	if err != nil {
		return "no decision"
	}
	return d
}

// Decision returns what the body of a reply to a new call decides: none, answer, or reject
// with its reason. The error says what is wrong with it.
func Decision(body []byte) (string, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return "none", nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil || members == nil {
		return "", errors.New("the reply is no JSON object")
	}
	answer, answers := members["answer"]
	reject, rejects := members["reject"]
	for name := range members {
		if name != "answer" && name != "reject" {
			return "", fmt.Errorf("the reply has a member «%s» that Tandem does not know", name)
		}
	}
	if answers == rejects {
		return "", errors.New(`the reply must say either "answer" or "reject"`)
	}
	if rejects {
		var r *struct {
			Reason *string `json:"reason"`
		}
		if json.Unmarshal(reject, &r) != nil || r == nil || r.Reason != nil && !slices.Contains([]string{"", "none", "busy", "forbidden"}, *r.Reason) {
			return "", errors.New(`"reject" is no object with a reason of none, busy, forbidden`)
		}
		if r.Reason == nil || *r.Reason == "" {
			return "reject none", nil
		}
		return "reject " + *r.Reason, nil
	}
	var a map[string]json.RawMessage
	if json.Unmarshal(answer, &a) != nil || a == nil {
		return "", errors.New(`"answer" is no object`)
	}
	var modalities []json.RawMessage
	var media map[string]json.RawMessage
	if json.Unmarshal(a["acceptedModalities"], &modalities) != nil || modalities == nil || json.Unmarshal(a["mediaConfig"], &media) != nil || media == nil {
		return "", errors.New(`"answer" needs acceptedModalities, a list, and mediaConfig, an object`)
	}
	return "answer", nil
}

// Health says what is wrong with the body of a health reply.
func Health(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil || members == nil {
		return errors.New("the health reply is no JSON object")
	}
	var r struct {
		Load     float64
		Capacity float64
		Draining bool
		Version  string
	}
	given := func(name string, into any, why string) error {
		if text, ok := members[name]; ok && (string(text) == "null" || json.Unmarshal(text, into) != nil) {
			return errors.New(why)
		}
		return nil
	}
	const load, capacity, version = `"load" is no number from 0 to 1`, `"capacity" is no whole number from 0`, `"version" is not of 1 to 64 letters, digits and ._+-, a letter or digit first`
	err := errors.Join(given("load", &r.Load, load), given("capacity", &r.Capacity, capacity), given("draining", &r.Draining, `"draining" is neither true nor false`),
		given("version", &r.Version, version))
	switch {
	case err != nil:
		return err
	case r.Load < 0 || r.Load > 1:
		return errors.New(load)
	case r.Capacity < 0 || r.Capacity != float64(int64(r.Capacity)):
		return errors.New(capacity)
	case !versionText.MatchString(r.Version):
		return errors.New(version)
	}
	return nil
}

// versionText is what a bot may call its version; empty: nothing.
var versionText = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._+-]{0,63})?$`)
