package bot

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

// SilentFor is how long a call may show no life before the reaper asks. The
// service itself ends calls 45 min after the last keepAlive.
const SilentFor = 60 * time.Minute

// unclearLimit is how many calls of an app in a row may be unclear in one round.
const unclearLimit = 3

// Reaped counts what a round of the reaper found.
type Reaped struct {
	Asked    int // silent calls of this node
	Released int // gone at Graph, or by the bot's word
	Alive    int // still there; the table was told
	Unclear  int // nobody could say; asked again in the next round
}

// Reap looks at the calls of partitions that this node owns and releases those
// that are over without their end having been seen: live in the table, no life
// for 60 min. Graph is asked where the app has credentials (404: gone); else
// the bot is, by an update without the cloud's headers whose body is
// {"event":"confirm","call":{…}}: 410 says that the call is gone, any 2xx that it
// lives. Orphaned calls are asked about as well. One call
// after the other; an app of which nobody can say is left for the next round, so
// that its slow bot does not hold the others up. The error is ctx's.
func (d *Dispatcher) Reap(ctx context.Context, calls iter.Seq[ownership.Call]) (Reaped, error) {
	var r Reaped
	unclear := map[ownership.AppID]int{} // in a row
	for c := range calls {
		if err := ctx.Err(); err != nil {
			return r, fmt.Errorf("looking for calls that are over: %w", err)
		}
		app := d.apps[c.App]
		if app == nil || c.State == ownership.CallEnded || d.conf.Now().Sub(c.SeenAt) < SilentFor ||
			unclear[c.App] >= unclearLimit || !d.ledger.Holds(c.ID, c.Partition, c.Epoch) || d.livesHere(c) {
			continue
		}
		r.Asked++
		gone, err := d.isGone(ctx, app, c)
		if unclear[c.App]++; err == nil {
			unclear[c.App] = 0
		}
		switch {
		case err != nil:
			r.Unclear++
			d.log.Warn("it is unclear whether a silent call lives", "call", c.ID, "epoch", c.Epoch, "err", err)
			continue
		case gone:
			r.Released++
			end := d.effects.begin(c.Partition)
			err = d.apply(ctx, ownership.Release{At: d.conf.Now(), Call: c.ID, Epoch: c.Epoch, Why: "silent, and gone when asked"})
			end()
			d.closeLine(c)
		default:
			r.Alive++
			err = d.apply(ctx, ownership.Seen{At: d.conf.Now(), Calls: []ownership.CallID{c.ID}})
		}
		if err != nil {
			d.log.Warn("the table did not take the reaper's finding", "call", c.ID, "epoch", c.Epoch, "err", err)
		}
	}
	return r, nil
}

// livesHere reports whether the dispatcher has seen life that the table was not told
// of yet.
func (d *queues) livesHere(c ownership.Call) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.partOf(c.Partition).queues[c.ID]
	return l != nil && l.endedAt == 0 && l.active > l.seenTold && d.now().since(l.active) < SilentFor
}

// closeLine makes late notifications of a reaped call harmless.
func (d *records) closeLine(c ownership.Call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.partOf(c.Partition).queues[c.ID]; l != nil {
		d.ended(l, false)
	}
}

func (d *Dispatcher) isGone(ctx context.Context, app *served, c ownership.Call) (bool, error) {
	if app.Graph == nil {
		return d.confirm(ctx, app, c)
	}
	_, err := app.Graph.Get(ctx, rawID(c))
	if errors.Is(err, graph.ErrGone) {
		return true, nil
	}
	return false, err
}

// confirm asks the bot. It goes past the call's queue: nothing was heard of the
// call for an hour, and the question is no notification. Only 410 Gone ends the
// call: anything in front of the bot may answer 404.
func (d *Dispatcher) confirm(ctx context.Context, app *served, c ownership.Call) (bool, error) {
	h, err := eventOf("confirm", c, "")
	if err != nil {
		return false, err
	}
	h.Event, h.MessageID, h.Deadline = ownership.EventUpdate, "", time.Time{}
	reply, err := d.deliver(ctx, &callQueue{app: app}, h)
	switch {
	case err != nil:
		return false, err
	case reply.Status == http.StatusGone:
		return true, nil
	case reply.Status/100 == 2:
		return false, nil
	default:
		return false, failed(h, ErrReply, fmt.Errorf("asked whether the call lives, it answered %d", reply.Status))
	}
}
