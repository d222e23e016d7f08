package trail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"tandem/ownership"
	"tandem/ownership/history"
)

// Bounds of what is followed.
const (
	mostFollowed   = 64             // at one time
	longestFollow  = 24 * time.Hour // then it ends by itself
	followLines    = 200            // of one following in a second, and a burst of
	followBurst    = 2000
	followSentence = "step" // the message of each line
)

// Follow says whose steps a node writes to its log, one line each, until a time.
type Follow struct {
	// One of these says whose.
	Call   ownership.CallID   `json:"call,omitempty"`
	Tenant ownership.TenantID `json:"tenant,omitempty"`
	Node   ownership.NodeID   `json:"node,omitempty"`

	Level slog.Level `json:"level"` // debug: every step; info: only those that failed
	Until time.Time  `json:"until"`
	By    string     `json:"by,omitempty"` // who asked for it
}

// scope is what a following is about, its level and end left out.
func (f Follow) scope() Follow { return Follow{Call: f.Call, Tenant: f.Tenant, Node: f.Node} }

// Check says what is wrong with it at a time.
func (f Follow) Check(now time.Time) error {
	scopes := 0
	for _, is := range []bool{f.Call != "", f.Tenant != "", f.Node != ""} {
		if is {
			scopes++
		}
	}
	switch {
	case scopes != 1:
		return errors.New("name one call, one tenant or one node to follow")
	case f.Level != slog.LevelDebug && f.Level != slog.LevelInfo:
		return errors.New("the level is debug (every step) or info (steps that failed)")
	case f.Until.After(now.Add(longestFollow + time.Minute)): // clocks differ
		return fmt.Errorf("steps are followed for %s at most", longestFollow)
	}
	return nil
}

// following is one Follow at work.
type following struct {
	Follow
	lines   *rate.Limiter
	written int
	left    int // steps that were not written, for there were too many
}

// Follow begins to write steps to the log, or changes until when; a time that has passed
// ends it. The error says what is wrong with it, or that too many are followed.
func (t *Trail) Follow(f Follow) error {
	now := t.now()
	if err := f.Check(now); err != nil {
		return fmt.Errorf("following steps in the log: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	var all []*following
	if p := t.following.Load(); p != nil {
		all = slices.Clone(*p)
	}
	i := slices.IndexFunc(all, func(g *following) bool { return g.scope() == f.scope() })
	switch over := !f.Until.After(now); {
	case over && i < 0:
		return nil
	case over:
		t.ended(all[i], now)
		all = slices.Delete(all, i, i+1)
	case i >= 0:
		all[i] = &following{Follow: f, lines: all[i].lines, written: all[i].written, left: all[i].left}
	case len(all) >= mostFollowed:
		return fmt.Errorf("following steps in the log: %d are followed already; end one, or wait until one ends by itself", mostFollowed)
	default:
		all = append(all, &following{Follow: f, lines: rate.NewLimiter(followLines, followBurst)})
	}
	t.keep(all)
	return nil
}

// Following returns what is followed now.
func (t *Trail) Following() (all []Follow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(t.now())
	if p := t.following.Load(); p != nil {
		for _, f := range *p {
			all = append(all, f.Follow)
		}
	}
	return all
}

// keep replaces the list, which readers hold without a lock. The lock is held.
func (t *Trail) keep(all []*following) {
	if len(all) == 0 {
		t.following.Store(nil)
		return
	}
	t.following.Store(&all)
}

// expire ends what is over. The lock is held.
func (t *Trail) expire(now time.Time) {
	p := t.following.Load()
	if p == nil {
		return
	}
	var left []*following
	for _, f := range *p {
		if now.Before(f.Until) {
			left = append(left, f)
		} else {
			t.ended(f, now)
		}
	}
	if len(left) < len(*p) {
		t.keep(left)
	}
}

// ended says what came of a following. The lock is held.
func (t *Trail) ended(f *following, now time.Time) {
	t.write(now, slog.LevelInfo, "steps are followed no more", slog.Any("of", f.scope().name()), slog.Int("lines", f.written), slog.Int("left_out", f.left))
}

func (f Follow) name() string {
	switch {
	case f.Call != "":
		return "call " + string(f.Call)
	case f.Tenant != "":
		return "tenant " + string(f.Tenant)
	default:
		return "node " + string(f.Node)
	}
}

// tell writes a step to the log if somebody follows it.
func (t *Trail) tell(all []*following, s *history.Step) {
	level := slog.LevelDebug
	if s.Failed() {
		level = slog.LevelInfo
	}
	over := false
	for _, f := range all {
		switch {
		case !s.At.Before(f.Until):
			over = true
		case level >= f.Level && t.about(f, s):
			if t.mayWrite(f) {
				t.write(s.At, level, followSentence, describe(s)...)
			}
			return // one line is enough
		}
	}
	if over {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.expire(t.now())
	}
}

// about reports whether a step is what somebody follows.
func (t *Trail) about(f *following, s *history.Step) bool {
	switch {
	case f.Call != "":
		return s.Call == f.Call
	case f.Tenant != "":
		return s.Tenant == f.Tenant
	default:
		return f.Node == t.node
	}
}

func (t *Trail) mayWrite(f *following) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !f.lines.AllowN(t.now(), 1) {
		f.left++
		return false
	}
	f.written++
	return true
}

// write goes past the log's own level: somebody has asked for these lines.
func (t *Trail) write(at time.Time, level slog.Level, text string, attrs ...slog.Attr) {
	r := slog.NewRecord(at, level, text, 0)
	r.AddAttrs(attrs...)
	_ = t.log.Handle(context.Background(), r) // a log that takes no lines has nobody to tell of it
}

// describe is a step as a line of the log tells it.
func describe(s *history.Step) []slog.Attr {
	attrs := []slog.Attr{slog.String("step", string(s.Kind))}
	text := func(name, v string) {
		if v != "" {
			attrs = append(attrs, slog.String(name, v))
		}
	}
	text("call", string(s.Call))
	if s.Partition != 0 {
		attrs = append(attrs, slog.Uint64("partition", uint64(s.Partition)), slog.Uint64("epoch", uint64(s.Epoch)))
	}
	text("notification", s.Message)
	text("scenario_id", s.Scenario)
	text("client_request_id", s.Request)
	text("chain", s.Chain)
	text("app", string(s.App))
	text("tenant", string(s.Tenant))
	text("to", s.To)
	if s.Status != 0 {
		attrs = append(attrs, slog.Int("status", s.Status))
	}
	if s.Took != 0 {
		attrs = append(attrs, slog.Duration("took", s.Took))
	}
	text("why", s.Text)
	return attrs
}
