package graphsim

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// judgeOwners: within one epoch a call has one owner and one partition, and no
// hand-over carries a past epoch. The first hand-over of an epoch says who.
func (t *totals) judgeOwners(k *call) {
	r := &t.report
	owner := map[uint64]string{}
	var newest, partition uint64
	begun := false
	for _, s := range k.seen {
		if s.event == "lost" {
			continue // it comes from the node that has the call no more
		}
		if !begun {
			begun = true
			newest, partition = s.epoch, s.partition
			if s.event == "incoming" {
				r.CallsByNode[s.node]++
			}
		}
		holder, known := owner[s.epoch]
		switch {
		case s.past && t.lateByPause(s):
			r.OnTheirWay++
		case s.past:
			r.Misrouted++
			r.violation("call %s: %s was handed %s with epoch %d after epoch %d", k.id, s.node, s.name(), s.epoch, newest)
		case known && holder != s.node:
			r.Misrouted++
			r.violation("call %s: %s was handed %s, but %s owns the call in epoch %d", k.id, s.node, s.name(), holder, s.epoch)
		case s.partition != partition:
			r.Misrouted++
			r.violation("call %s: %s was handed %s in partition %d, but the call lives in %d", k.id, s.node, s.name(), s.partition, partition)
		case !known:
			owner[s.epoch] = s.node
			if s.epoch > newest && owner[newest] != s.node {
				r.Adopted++
			}
			newest = s.epoch
		}
	}
}

// name is a hand-over in words.
func (s *sighting) name() string {
	if s.notice != nil {
		return s.notice.what
	}
	return s.event
}

func judgeActions(r *Report, k *call) {
	for _, a := range k.actions {
		if a.stale != "" {
			r.StaleActions++
			r.violation("call %s: %s %s", k.id, a.verb, a.stale)
		}
		if a.verb != "answer" || a.part == 0 || len(k.seen) == 0 {
			continue
		}
		if won, _, _ := readCallback(k.callback, k.webhookPath); a.status == http.StatusConflict && a.region != won {
			// Both regions had claimed the call, as a rule that fails open allows
			// while they cannot see each other; the cloud took one answer.
			r.Clashed++
			continue
		}
		if first := k.seen[0]; first.partition != 0 && first.partition != a.part {
			r.Misrouted++
			r.violation("call %s: the answer's callback URI names partition %d of %s, but %s was told partition %d",
				k.id, a.part, a.region, first.node, first.partition)
		}
	}
}

// judgeOrder: when one notification was done with before another was sent, the
// bot must get them in that order; and a bot never gets two of a call at once.
// What came with a past epoch is judged by judgeOwners, and not again for coming
// after the newer one's.
func (t *totals) judgeOrder(k *call) {
	r := &t.report
	for i, a := range k.notices {
		for _, b := range k.notices[i+1:] {
			early, late := a, b
			if b.okSeq != 0 && b.okSeq < a.sentSeq {
				early, late = b, a
			}
			if early.okSeq == 0 || early.okSeq > late.sentSeq {
				continue
			}
			before, after := early.present(), late.present()
			if len(before) > 0 && len(after) > 0 && before[0].seq > after[0].seq {
				r.OutOfOrder++
				r.violation("call %s: the bot got %s before %s, which had been accepted before the other was sent", k.id, late.what, early.what)
			}
		}
	}
	for i := 1; i < len(k.seen); i++ {
		a, b := k.seen[i-1], k.seen[i]
		if a.node == b.node && (a.doneSeq == 0 || a.doneSeq > b.seq) && !t.replyWasLate(a) {
			r.OutOfOrder++
			r.violation("call %s: the bot of %s got %s while it was still at %s", k.id, b.node, b.name(), a.name())
		}
	}
}

// judgeNotice: handled once, by a bot that got the body as it was sent.
func (t *totals) judgeNotice(n *notice) {
	r := &t.report
	if n.sentSeq == 0 || n.abandoned || n.okSeq == 0 && n.gaveUp == "" {
		return // not sent, cut off, or under way
	}
	r.NotificationsSent++
	handled := n.taken()
	switch {
	case (n.okSeq == 0 || len(handled) == 0) && t.botsFault(n.call):
		t.notTaken++
	case n.okSeq == 0:
		r.Lost++
		r.violation("call %s: %s was never accepted: %s", n.call.id, n.what, n.gaveUp)
	case len(handled) == 0 && (n.loose || n.afterEnd() || n.inherited() || n.first && n.call.over && !n.call.settled()):
		// The last: the caller hung up unanswered, which judgeClock tells.
		r.Ignored++
	case len(handled) == 0:
		r.Lost++
		r.violation("call %s: %s was accepted but never handed to a bot", n.call.id, n.what)
	default:
		r.NotificationsHandled++
		t.judgeHandled(n, handled)
	}
	if n.badReply {
		r.RepliesLost++
		r.violation("call %s: the bot's response to %s did not pass through", n.call.id, n.what)
	}
}

// afterEnd: the call's end had been sent before this one was accepted, so that
// a router may have buried the call already.
func (n *notice) afterEnd() bool {
	end := n.call.end
	return end != nil && end != n && end.sentSeq != 0 && n.okSeq > end.sentSeq
}

// inherited: the first notification of a call whose owner died while it rang.
// The new owner's bot was told `adopted` instead, with all that the table knows.
func (n *notice) inherited() bool {
	return n.first && slices.ContainsFunc(n.call.seen, func(s *sighting) bool {
		return s.event == "adopted" && s.status != 0 && s.status < 500
	})
}

func (t *totals) judgeHandled(n *notice, handled []*sighting) {
	r := &t.report
	first := handled[0]
	if at, ok := n.posted[first.node]; !ok || at > first.seq {
		r.Relays++
	}
	for _, s := range handled {
		if s.altered {
			r.Altered++
			r.violation("call %s: the bot of %s got %s with another body than was sent", n.call.id, s.node, n.what)
		}
	}
	for i, s := range handled[1:] {
		if s.past {
			continue // judgeOwners has told
		}
		// The old owner died before it could say 2xx, or before it answered; or
		// the bot's reply came too late for it; or whoever knew that it had been
		// handled died before the repeat came.
		open := n.okSeq == 0 || n.okSeq > s.seq
		if open && (s.epoch > first.epoch || t.replyWasLate(handled[i])) || t.forgotten(first, s) {
			r.HandledAgain++
			continue
		}
		r.HandledTwice++
		r.violation("call %s: %s was handed over twice, on %s and on %s", n.call.id, n.what, first.node, s.node)
	}
}

// decision is how long the first notification of a call took from its last POST
// until the owner's bot had it or the answer was out.
func decision(n *notice) (time.Duration, bool) {
	if !n.first || len(n.handled) == 0 || n.lastStart.IsZero() {
		return 0, false
	}
	at := n.handled[0].at
	if a := n.call.answeredAt; !a.IsZero() && a.Before(at) {
		at = a
	}
	d := at.Sub(n.lastStart)
	return d, d >= 0
}

// judgeClock: every call is answered or rejected inside its clock.
func (t *totals) judgeClock(k *call) (time.Duration, bool) {
	r := &t.report
	if k.outgoing || k.firstPost.IsZero() {
		return 0, false
	}
	r.Calls++
	switch {
	case !k.answeredAt.IsZero():
		r.Answered++
		return k.answeredAt.Sub(k.firstPost), true
	case !k.rejectedAt.IsZero():
		r.Rejected++
	case k.hungUp:
		r.HungUp++
	case (!k.lateAnswer.IsZero() || k.over || time.Since(k.firstPost) > k.clock) && t.leftByBot(k):
		t.unanswered++
	case !k.lateAnswer.IsZero():
		r.AnsweredLate++
		r.violation("call %s (%s): answered after %s, its clock is %s", k.id, k.kind(), k.lateAnswer.Sub(k.firstPost).Round(time.Millisecond), k.clock)
	case k.over || time.Since(k.firstPost) > k.clock:
		r.AnsweredLate++
		r.Unanswered++
		r.violation("call %s (%s): not answered within %s", k.id, k.kind(), k.clock)
	}
	return 0, false
}

// judgeGroups counts, for meetings and pairs, where their calls live.
func judgeGroups(r *Report, calls []*call) {
	first := map[string]string{}
	for _, k := range calls {
		if k.abandoned || len(k.seen) == 0 || k.thread == "" && !k.paired {
			continue
		}
		key := fmt.Sprintf("%s %s %t", k.chain, k.home, k.paired)
		node := k.seen[0].node
		switch other, ok := first[key]; {
		case !ok:
			first[key] = node
		case k.paired && other == node:
			r.PairsBeside++
		case !k.paired && other != node:
			r.GroupsSplit++
		}
	}
}
