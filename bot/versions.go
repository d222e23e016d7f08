package bot

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/graph"
	"tandem/ownership"
)

// shortLife is how long after its answer a call may end and still be taken for one that
// died of it, whatever the cloud's code says: a bot whose media fail hangs up with the
// code of anybody who does. People hang up so soon as well, at every version alike, so
// such ends are counted apart and only ever compared.
const shortLife = 5 * time.Second

// unansweredAfter is how long a call may ring before it counts as not answered: past the
// longest clock of the cloud, whose end of it may never be told.
const unansweredAfter = answerClock + 5*time.Second

// codeUnanswered stands where the cloud has told no code.
const codeUnanswered = "unanswered"

// versions counts what became of the calls of one app, by the version that its bot had
// when it took them. Dispatcher.mu guards it.
type versions []*ownership.VersionTally

// of returns the tally of a version, made if need be. Where too many are known, one goes that
// has no call under way; nil: there is none, and the calls of the version are not counted.
func (v *versions) of(app ownership.AppID, version string) *ownership.VersionTally {
	for _, t := range *v {
		if t.Version == version {
			return t
		}
	}
	if len(*v) >= ownership.MaxVersions {
		i := slices.IndexFunc(*v, func(t *ownership.VersionTally) bool { return t.Live() == 0 })
		if i < 0 {
			return nil
		}
		*v = slices.Delete(*v, i, i+1)
	}
	t := &ownership.VersionTally{App: app, Version: version}
	*v = append(*v, t)
	return t
}

// took counts a call that the bot is about to be handed first. The lock is held.
func (d *queues) took(l *callQueue) {
	if l.tally != nil || l.had {
		return // a repeat of what was not handled
	}
	if l.tally = l.app.versions.of(l.app.ID, l.app.health.version()); l.tally != nil {
		l.tally.Taken++
		l.since = d.now()
		d.dueAt(l, l.since.add(unansweredAfter))
	}
}

// settled counts how a call ended for the version that took it, once. The lock is held.
func (d *queues) settled(l *callQueue, count func(*ownership.VersionTally)) {
	if l.tally != nil {
		count(l.tally)
		l.tally = nil
	}
}

func isOther(t *ownership.VersionTally) { t.Other++ }

func isBad(code string) func(*ownership.VersionTally) {
	return func(t *ownership.VersionTally) { t.Bad, t.Code = t.Bad+1, code }
}

// verdictOf says how an end counts: h tells of it, fate is what the table is told. The lock
// is held.
func (d *queues) verdictOf(l *callQueue, h *ownership.HandOver, fate ownership.Fate) func(*ownership.VersionTally) {
	switch {
	case fate != "":
		return isBad(string(fate))
	case graph.Failed(h.Result):
		return isBad(h.Result)
	case l.answered == 0:
		return isOther
	case d.now().since(l.since) < shortLife:
		return func(t *ownership.VersionTally) { t.Short++ }
	}
	return func(t *ownership.VersionTally) { t.Well++ }
}

// rangTooLong settles a call that nobody answered while it could have been. The lock is held.
func (d *queues) rangTooLong(l *callQueue, now moment) {
	if l.tally != nil && l.answered == 0 && now.since(l.since) >= unansweredAfter {
		d.settled(l, isBad(codeUnanswered))
	}
}

// version is what the bot called its version when it was last asked.
func (p *patient) version() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.report.Version
}

// Versions tells what became of the calls that the bots here took, by app and version,
// with those that they are of now. The counts only grow.
func (d *Dispatcher) Versions() []ownership.VersionTally {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []ownership.VersionTally
	for id, a := range d.apps {
		now := a.health.version()
		a.versions.of(id, now)
		for _, t := range a.versions {
			c := *t
			c.Runs = c.Version == now
			all = append(all, c)
		}
	}
	return all
}

var versionCalls = prometheus.NewDesc("tandem_bot_version_calls_total",
	"Calls by app, version of the bot that took them, and what became of them (taken: all of them; well, bad, short, other).", []string{"app", "version", "outcome"}, nil)

// versionMetrics shows the tallies: at most MaxVersions versions of each app.
type versionMetrics struct{ d *Dispatcher }

// Describe implements prometheus.Collector.
func (versionMetrics) Describe(to chan<- *prometheus.Desc) { to <- versionCalls }

// Collect implements prometheus.Collector.
func (m versionMetrics) Collect(to chan<- prometheus.Metric) {
	for _, t := range m.d.Versions() {
		for outcome, n := range map[string]uint64{"taken": t.Taken, "well": t.Well, "bad": t.Bad, "short": t.Short, "other": t.Other} {
			to <- prometheus.MustNewConstMetric(versionCalls, prometheus.CounterValue, float64(n), string(t.App), t.Version, outcome)
		}
	}
}
