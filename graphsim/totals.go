package graphsim

import (
	"maps"
	"slices"
	"time"
)

// foldAfter is how long a call is kept after its end. What comes later than that, a
// bot is handed for a call that does not exist, which is a violation; but for
// Tandem's own events of a call whose end could not be told.
const foldAfter = time.Minute

// maxSamples bounds the durations that the quantiles are made of.
const maxSamples = 100_000

// totals are verdicts summed up over calls.
type totals struct {
	report             Report
	deaths             map[string][]mark            // node to when it lost its memory
	fenced             map[string][]mark            // node to when it may have lost its partitions
	paused             map[string][]mark            // node to when its process was stopped
	woke               map[string][]mark            // node to when it went on after a pause
	gaveUp             func(node, call string) bool // Config.GaveUp
	decisions, answers []time.Duration

	trial     *trial    // nil: the bots are the cloud's own
	answering Answering // the app's setting
	// By a foreign bot's fault: calls that were not answered in time, and notifications
	// that it never took.
	unanswered, notTaken int
}

// add judges one call that has its verdicts.
func (t *totals) add(k *call) {
	r := &t.report
	if k.abandoned {
		r.Abandoned++
		return
	}
	t.judgeOwners(k)
	t.judgeEvents(k)
	judgeActions(r, k)
	t.judgeOrder(k)
	for _, n := range k.notices {
		t.judgeNotice(n)
		if d, ok := decision(n); ok {
			t.decisions = sample(t.decisions, d)
		}
	}
	if d, ok := t.judgeClock(k); ok {
		t.answers = sample(t.answers, d)
	}
}

// sample appends a duration; of too many, the older half is forgotten.
func sample(ds []time.Duration, d time.Duration) []time.Duration {
	if len(ds) >= maxSamples {
		ds = slices.Delete(ds, 0, len(ds)/2)
	}
	return append(ds, d)
}

// clone makes totals that may be added to without changing these.
func (t totals) clone() totals {
	t.report.CallsByNode = maps.Clone(t.report.CallsByNode)
	t.report.Violations = slices.Clone(t.report.Violations)
	t.report.alike = maps.Clone(t.report.alike)
	t.decisions, t.answers = slices.Clone(t.decisions), slices.Clone(t.answers)
	return t
}

// fold sums up the oldest calls that have been over since before a time, and
// forgets them: a demonstration may run for days.
func (l *ledger) fold(before time.Time, remember bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.order) && !l.order[n].overAt.IsZero() && l.order[n].overAt.Before(before) {
		n++
	}
	old := l.order[:n]
	judgeGroups(&l.past.report, old)
	for _, k := range old {
		l.past.add(k)
		l.archive(k)
		if remember {
			l.fates[k.id] = k.fate()
		}
		if k.end == nil || k.end.okSeq == 0 {
			l.untold[k.id] = true
		}
		delete(l.calls, k.id)
		for _, message := range k.messages {
			delete(l.notices, noticeKey(k.id, message))
		}
	}
	l.order = slices.Clone(l.order[n:])
}

// Report judges what was seen so far. It may be called during a run: what is
// under way then counts as lost or unanswered only once its time is over.
func (c *Cloud) Report() Report {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.past.clone()
	r := &t.report
	r.Invited = l.invited
	r.Handshakes, r.Redirects, r.HopsMax = l.handshakes, l.redirects, l.hopsMax
	r.DuplicatesSent, r.Retries, r.Responses = l.duplicates, l.retries, maps.Clone(l.responses)
	r.Refusals = maps.Clone(l.refusals)
	r.StrayHops, r.Misrouted = l.strays.count, r.Misrouted+l.unknown.count
	for _, s := range slices.Concat(l.strays.first, l.unknown.first) {
		r.violation("%s", s)
	}
	for _, k := range l.order {
		t.add(k)
	}
	judgeGroups(r, l.order)
	for kind, n := range map[string]int{"region": l.hopsMax.Region, "node": l.hopsMax.Node} {
		if n > 1 {
			r.violation("one POST was redirected %d times to a %s", n, kind)
		}
	}
	if t.trial != nil {
		r.Bot = t.trial.told(t.unanswered, t.notTaken)
	}
	r.DecisionMS, r.AnswerMS = quantiles(slices.Concat(t.decisions, l.decisions)), quantiles(t.answers)
	return *r
}

// noted counts sentences and keeps the first ones.
type noted struct {
	count int
	first []string
}

func (n *noted) add(sentence string) {
	n.count++
	if len(n.first) < maxAlike {
		n.first = append(n.first, sentence)
	}
}

func quantiles(ds []time.Duration) Quantiles {
	if len(ds) == 0 {
		return Quantiles{}
	}
	slices.Sort(ds)
	at := func(q float64) float64 {
		i := min(len(ds)-1, int(q*float64(len(ds))))
		return float64(ds[i].Microseconds()) / 1000
	}
	return Quantiles{P50: at(0.5), P99: at(0.99)}
}
