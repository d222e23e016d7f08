package bot

import (
	"context"
	"errors"
	"time"

	"tandem/ownership"
)

const (
	firstRecordPause   = 100 * time.Millisecond
	longestRecordPause = 5 * time.Second
)

// wasAnswered notes that the cloud has taken an answer: the table is told once,
// and again when a later notification first tells where the meeting is or whose,
// and the router begins to keep a movable call of its own alive.
func (d *Desk) wasAnswered(l *line, h ownership.HandOver) {
	d.mu.Lock()
	now := d.conf.Now()
	known := l.answered
	l.answered = true
	told := ownership.Answered{At: now, Call: h.Call, Epoch: h.Epoch}
	if h.Thread != l.thread && h.Thread != "" {
		l.thread, told.Thread = h.Thread, h.Thread
	}
	if h.Organizer != l.organizer && h.Organizer != "" {
		l.organizer, told.Organizer = h.Organizer, h.Organizer
	}
	if l.beatAt.IsZero() && l.app.Answer == AnswerByRouter && !l.app.Pinned {
		l.beatAt = now.Add(beatEvery)
	}
	d.mu.Unlock()
	if !known || told.Thread != "" || told.Organizer != "" {
		d.record(told, h)
	}
}

// end notes that the call is over and has the table release it.
func (d *Desk) end(l *line, h ownership.HandOver, why string) {
	d.mu.Lock()
	now := d.conf.Now()
	known := !l.endedAt.IsZero()
	if !known {
		l.endedAt, l.beatAt = now, time.Time{}
	}
	d.mu.Unlock()
	if known {
		return
	}
	d.log.Info("call is over", "call", h.Call, "partition", h.Partition, "epoch", h.Epoch, "why", why)
	d.record(ownership.Release{At: now, Call: h.Call, Epoch: h.Epoch, Why: why}, h)
}

// record has the table apply an act, trying again behind the caller's back
// until it is done, refused, or Close gives up. It is called by work that Close
// waits for, so the group is never empty here.
func (d *Desk) record(act ownership.Act, h ownership.HandOver) {
	d.mu.Lock()
	d.records++
	d.mu.Unlock()
	d.work.Go(func() {
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.records--
		}()
		for wait := firstRecordPause; ; wait = min(2*wait, longestRecordPause) {
			err := d.apply(d.base, act)
			switch {
			case err == nil:
				return
			case final(err):
				d.log.Info("the table refused a record", "act", nameOf(act), "call", h.Call, "epoch", h.Epoch, "err", err)
				return
			}
			if !pause(d.base, wait) {
				d.log.Warn("a record was cut off", "act", nameOf(act), "call", h.Call, "epoch", h.Epoch, "err", err)
				return
			}
		}
	})
}

// apply gives an act to the Ledger, a bounded number at a time.
func (d *Desk) apply(ctx context.Context, act ownership.Act) error {
	select {
	case d.acts <- struct{}{}:
		defer func() { <-d.acts }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	out, err := d.ledger.Do(ctx, act)
	if err == nil && out != nil {
		err = out.Err
	}
	if err != nil && !final(err) {
		d.count.recordRetries.WithLabelValues(nameOf(act)).Inc()
	}
	return err
}

// final reports whether the table's refusal stands however often it is asked.
func final(err error) bool {
	return errors.Is(err, ownership.ErrStaleEpoch) || errors.Is(err, ownership.ErrUnknown) || errors.Is(err, ownership.ErrConflict)
}

func nameOf(act ownership.Act) string {
	switch act.(type) {
	case ownership.Answered:
		return "answered"
	case ownership.Release:
		return "release"
	default:
		return "seen"
	}
}
