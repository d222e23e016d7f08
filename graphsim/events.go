package graphsim

import "slices"

// own reports whether the event is one of Tandem's own, which carries no
// notification.
func (s *sighting) own() bool {
	return s.event == "adopted" || s.event == "rejoin" || s.event == "lost"
}

// took: the bot did not refuse it.
func (s *sighting) took() bool { return s.status != 0 && s.status < 500 }

// judgeEvents is the sample bot's own view of what Tandem tells it: no bot is
// told to go on with a call whose end it, or another one, has handled; none is
// rung for a call that was answered long ago; none hears `rejoin` of media that
// the cloud hosts; and who was told to let go is left alone.
func (t *totals) judgeEvents(k *call) {
	r := &t.report
	var end *sighting
	lost := map[string]bool{}
	for _, s := range k.seen {
		wrong := ""
		switch {
		case s.event == "lost":
			lost[s.node] = true
		case s.event == "update":
			if lost[s.node] && !s.past {
				wrong = "after it had been told `lost`"
			}
		case s.event == "rejoin" && !k.app.Pinned:
			wrong = "though its media are at the cloud"
		case end != nil && s.own() && !t.diedSoon(end.node, end.at):
			wrong = "though the bot of " + end.node + " had handled its end"
		case s.event == "incoming" && t.rungAgain(k, s):
			wrong = "though it had been answered " + s.at.Sub(k.answeredAt).String() + " before"
		}
		if s.event == "adopted" || s.event == "rejoin" || s.event == "incoming" {
			delete(lost, s.node)
		}
		if end == nil && s.notice != nil && s.notice.what == "terminated" && s.took() {
			end = s
		}
		if wrong != "" {
			r.WrongEvents++
			r.violation("call %s: the bot of %s was told %s %s", k.id, s.node, s.name(), wrong)
		}
	}
}

// rungAgain: a bot was handed the first notification of a call that the table
// has called answered for some time. What no bot had heard of before is told late,
// not again: the router's own answer goes first, and the bot may be told only under
// a lease.
func (t *totals) rungAgain(k *call, s *sighting) bool {
	if k.answeredAt.IsZero() || s.at.Sub(k.answeredAt) < recordWithin {
		return false
	}
	told := func(o *sighting) bool {
		return o.seq < s.seq && o.took() && (o.event == "incoming" || o.event == "adopted")
	}
	if !slices.ContainsFunc(k.seen, told) {
		return false
	}
	return !slices.ContainsFunc(k.seen, func(o *sighting) bool { return t.diedSoon(o.node, k.answeredAt) })
}
