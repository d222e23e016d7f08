package bot

import (
	"tandem/ownership"
)

// whyTold is the ending of a call whose end the cloud told.
const whyTold = "the cloud ended it"

// wasAnswered notes that the cloud has taken an answer: the table is told once,
// and again when a later notification first tells where the meeting is or whose,
// and the router begins to keep a movable call of its own alive.
func (d *records) wasAnswered(l *callQueue, h ownership.HandOver) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := l.answered != 0
	if !known {
		l.answered, l.since = h.Epoch, d.now()
	}
	told := ownership.Answered{At: d.conf.Now(), Call: l.call, Epoch: h.Epoch}
	if h.Thread != "" && !l.thread {
		l.thread, told.Thread = true, h.Thread
	}
	if h.Organizer != "" && !l.organiz {
		l.organiz, told.Organizer = true, h.Organizer
	}
	if l.beatAt == 0 && l.endedAt == 0 && l.app.Answer == AnswerByRouter && !l.app.Pinned {
		l.beatAt = d.now().add(beatEvery)
		d.dueAt(l, l.beatAt)
	}
	if !known || told.Thread != "" || told.Organizer != "" {
		d.recordNow(told, l.call, l.partition, true)
	}
}

// end notes that the call is over and has the table release it.
func (d *records) end(l *callQueue, h ownership.HandOver, why string) { d.isOver(l, h, why, "", false) }

// endAs is end with what became of the call, for the region's ledger.
func (d *records) endAs(l *callQueue, h ownership.HandOver, fate ownership.Fate, why string) {
	d.isOver(l, h, why, fate, false)
}

// unanswered is what became of a call of which Graph took no answer: when its clock was
// over, the answer was late.
func (d *records) unanswered(h ownership.HandOver, inTime ownership.Fate) ownership.Fate {
	if !h.Deadline.IsZero() && d.conf.Now().After(h.Deadline) {
		return ownership.FateLate
	}
	return inTime
}

// endTold is end by the cloud's own word: the end of a call is a fact at any epoch.
func (d *records) endTold(l *callQueue, h ownership.HandOver) { d.isOver(l, h, whyTold, "", true) }

func (d *records) isOver(l *callQueue, h ownership.HandOver, why string, fate ownership.Fate, told bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.endedAt != 0 {
		return
	}
	d.settled(l, d.verdictOf(l, &h, fate))
	d.ended(l, told)
	d.stepOver(l, &h, why)
	d.log.Info("call is over", "call", l.call, "partition", l.partition, "epoch", h.Epoch, "why", why)
	d.recordNow(ownership.Release{At: d.conf.Now(), Call: l.call, Epoch: h.Epoch, Why: why, Told: told, Fate: fate}, l.call, l.partition, true)
}

// reconcile tells the table again what it should know of a call.
func (d *records) reconcile(l *callQueue) {
	if k, ok := d.ledger.Find(l.call); ok {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.tellAgain(l, k)
	}
}

// tellAgain tells the table anew of an end or an answer that it shows no sign of:
// it was restored, or the record was lost with a node that stopped. The lock is
// held.
func (d *records) tellAgain(l *callQueue, k ownership.Known) {
	if k.App != l.app.ID || k.Partition != l.partition || d.register.calls[l.call] != nil {
		return
	}
	switch {
	case k.State == ownership.CallEnded:
	case l.endedAt != 0:
		why := whyTold
		if !l.told {
			why = "this node had seen its end"
		}
		d.recordNow(ownership.Release{At: l.endedAt.time(), Call: l.call, Epoch: l.epoch, Why: why, Told: l.told}, l.call, l.partition, false)
	case l.answered != 0 && k.State == ownership.CallClaimed:
		d.recordNow(ownership.Answered{At: d.conf.Now(), Call: l.call, Epoch: l.answered}, l.call, l.partition, false)
	}
}
