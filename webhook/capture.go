package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"sync/atomic"
	"time"

	"tandem/ownership"
	"tandem/policy"
)

// Captured is a new call as it may leave the deployment: what the rules could see of it,
// without its body and token, and with persons, meetings and the call itself by a name
// that only says which are the same. Tenants, apps and regions are as they were: rules
// are about them.
type Captured struct {
	At    time.Time        `json:"at"`
	Call  ownership.CallID `json:"call"`
	Facts policy.Facts     `json:"facts"`
	To    ownership.Region `json:"to,omitempty"` // where it went; empty: nobody might take it
}

// followerCalls is how many calls a slow follower may lag behind before it misses some.
const followerCalls = 1024

// follower is told of new calls.
type follower struct {
	calls  chan recorded
	missed atomic.Int64
}

// tell never waits: calls go on, whoever listens.
func (l *follower) tell(c recorded) {
	select {
	case l.calls <- c:
	default:
		l.missed.Add(1)
	}
}

// listen begins to tell a follower of new calls, and gives those that are remembered.
func (t *traffic) listen(l *follower) (before []recorded) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.heard == nil {
		t.heard = map[*follower]bool{}
	}
	t.heard[l] = true
	return append(before, t.calls...)
}

func (t *traffic) leave(l *follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.heard, l)
}

// Captures takes what rings at a door along, and holds rules against it.
type Captures struct{ *Handler }

// Capture calls each with every new call that rings here first, until the context ends or
// each returns an error; with recent, also with those that are remembered, before. It
// returns how many calls it missed because each was too slow. Nothing is kept for it: as
// long as nobody captures, nothing is captured.
func (h Captures) Capture(ctx context.Context, recent bool, each func(Captured) error) (missed int64, err error) {
	l := &follower{calls: make(chan recorded, followerCalls)}
	before := h.traffic.listen(l)
	defer h.traffic.leave(l)
	veil := veil{h.handles.Derived("capture")[0]}
	if recent {
		for _, c := range before {
			if err := each(veil.captured(c)); err != nil {
				return l.missed.Load(), err
			}
		}
	}
	for {
		select {
		case c := <-l.calls:
			if err := each(veil.captured(c)); err != nil {
				return l.missed.Load(), err
			}
		case <-ctx.Done():
			return l.missed.Load(), nil
		}
	}
}

// Replay holds a candidate against captured calls. diff: against where they would go by
// the rules in force; else against where they went.
func (h Captures) Replay(calls []Captured, candidate *policy.Compiled, diff bool) RulesDiff {
	all := make([]recorded, len(calls))
	for i, c := range calls {
		all[i] = recorded{at: c.At, call: c.Call, facts: c.Facts, to: c.To}
	}
	var went func(recorded) policy.RegionStep
	if !diff {
		went = func(c recorded) policy.RegionStep {
			return policy.RegionStep{Step: policy.StepHere, Region: c.to, Why: "as it was captured"}
		}
	}
	return h.compare(all, went, candidate.Rules, candidate.Pins, "")
}

// veil gives persons and meetings names of which nobody can tell whose they are, and that
// are the same on all nodes of the deployment.
type veil struct{ key []byte }

// name hides a text, unless there is none: rules ask whether there is one.
func (v veil) name(text string) string {
	if text == "" {
		return ""
	}
	mac := hmac.New(sha256.New, v.key)
	mac.Write([]byte(text))
	return "h." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12])
}

func (v veil) captured(c recorded) Captured {
	f := c.facts
	for _, who := range []*string{&f.Observed, &f.OnBehalfOf, &f.Organizer, &f.Thread, &f.ChainID} {
		*who = v.name(*who)
	}
	return Captured{At: c.at.UTC(), Call: ownership.CallID(v.name(string(c.call))), Facts: f, To: c.to}
}
