package azure

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Node is what announced maintenance asks of the node on the machine.
type Node interface {
	// Leave stops new calls. until zero: as long as the calls last, none is moved; else
	// what can be moved is, from then on. why is for operators. It may be repeated.
	Leave(ctx context.Context, until time.Time, why string) error
	// Return takes new calls again, unless somebody else stopped them. It may be repeated.
	Return(ctx context.Context, why string) error
	// Away says for how long the machine may stand still from now; 0: nothing is announced.
	Away(time.Duration)
	// Live counts the calls that would be lost with the machine now.
	Live() int
}

// Watch says how announced maintenance is followed.
type Watch struct {
	Machine *Metadata
	Name    string        // of the machine, as events name it; empty: the machine is asked
	Every   time.Duration // between two questions; zero: a second, as Microsoft's page advises
	Begin   bool          // let an event begin before its time, once no call is left
	Now     func() time.Time
	Log     *slog.Logger
}

// Margins.
const (
	// leaveBefore is how long before an event what can be moved is moved, where the
	// notice is long enough: until then calls may end by themselves.
	leaveBefore = 2 * time.Minute
	// settle is how long a machine may be about a freeze, beyond what was announced:
	// "there may be another impact of a shorter duration than what was advertised", and from
	// Started to the end ten minutes pass.
	settle = 10 * time.Minute
	// retryMost bounds the pauses while the service does not answer.
	retryMost = time.Minute
)

// plan is what the events for a machine come to.
type plan struct {
	leave bool
	until time.Time // zero: nothing is moved
	away  time.Duration
	why   string
	ids   []string // of the events that may begin
}

// planOf decides purely. The events of other machines, and those that interrupt nothing, ask
// for nothing.
func planOf(all []Event, machine string, now time.Time) (p plan) {
	for _, e := range all {
		if !e.For(machine) || e.Duration == 0 && e.Type == Freeze {
			continue
		}
		switch e.Type {
		case Freeze:
			p.away = max(p.away, max(e.NotBefore.Sub(now), 0)+max(e.Duration, 0)+settle)
		case Reboot, Redeploy, Preempt, Terminate:
			by := now
			if at := e.NotBefore.Add(-leaveBefore); at.After(now) && e.Type != Preempt {
				by = at
			}
			if p.until.IsZero() || by.Before(p.until) {
				p.until = by
			}
		default:
			continue // a type that nobody knows yet
		}
		p.leave = true
		p.ids = append(p.ids, e.ID)
		if p.why == "" || e.Type != Freeze {
			p.why = e.text()
		}
	}
	return p
}

// text says an event to people.
func (e Event) text() string {
	s := fmt.Sprintf("Azure announces %s of this machine (event %s", e.Type, e.ID)
	if !e.NotBefore.IsZero() {
		s += ", not before " + e.NotBefore.UTC().Format(time.RFC3339)
	}
	if e.Status == Started {
		s += ", started"
	}
	if e.Source != "" {
		s += ", by " + e.Source
	}
	if e.Description != "" {
		s += ": " + e.Description
	}
	return s + ")"
}

// Run follows what is announced until ctx ends. It first has the node return from a
// maintenance that ended while its process was down.
func (w Watch) Run(ctx context.Context, node Node) {
	f := following{Watch: w, node: node, begun: map[string]bool{}}
	for pause := time.Duration(0); sleep(ctx, pause); {
		if err := f.round(ctx); err != nil && ctx.Err() == nil {
			f.failed++
			if f.failed == 1 || f.failed%60 == 0 {
				w.Log.Warn("what Azure announces of this machine is not known; nothing is changed until it is", "err", err)
			}
			pause = min(w.Every<<min(f.failed, 6), retryMost)
			continue
		}
		if f.failed > 0 {
			w.Log.Info("the metadata service answers again")
		}
		f.failed, pause = 0, w.Every
	}
}

// following is one Run.
type following struct {
	Watch
	node   Node
	begun  map[string]bool // events that may begin, as was told
	now    plan            // in force
	known  bool            // what is in force
	failed int             // rounds in a row
}

// round asks, decides and acts. An answer that does not come changes nothing: what was
// announced still is.
func (f *following) round(ctx context.Context) error {
	if f.Name == "" {
		name, err := f.Machine.Name(ctx)
		if err != nil {
			return err
		}
		f.Name = name
	}
	all, err := f.Machine.Events(ctx)
	if err != nil {
		return err
	}
	next := planOf(all, f.Name, f.Now())
	f.node.Away(next.away)
	if err := f.act(ctx, next); err != nil {
		return err
	}
	if f.Begin && next.leave && f.node.Live() == 0 {
		return f.begin(ctx, next.ids)
	}
	return nil
}

// act changes the node's part in its region where the plan has changed.
func (f *following) act(ctx context.Context, next plan) (err error) {
	switch {
	case next.leave && (!f.known || !f.now.leave || !same(next.until, f.now.until)):
		f.Log.Warn("this node takes no new calls: " + next.why)
		err = f.node.Leave(ctx, next.until, next.why)
	case !next.leave && (!f.known || f.now.leave):
		err = f.node.Return(ctx, "what Azure announced of this machine is over")
	case next.leave: // as before
		next.until = f.now.until
	}
	if err == nil {
		f.now, f.known = next, true
	}
	return err
}

// same reports whether a drain need not be moved: "at once" is later at each look.
func same(a, b time.Time) bool {
	return a.IsZero() == b.IsZero() && !a.Before(b.Add(-time.Second))
}

func (f *following) begin(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if f.begun[id] {
			continue
		}
		if err := f.Machine.Begin(ctx, id); err != nil {
			return err
		}
		f.begun[id] = true
		f.Log.Info("no call is left on this machine: its maintenance may begin", "event", id)
	}
	return nil
}
