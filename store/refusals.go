package store

import (
	"slices"
	"time"

	"tandem/store/tablepb"
)

// Bounds of what is told of calls that no node could take.
const (
	refusedSpan   = time.Minute
	refusedSingly = 10 // of an app and tenant, for one reason, in that time: each has its own entry
	refusedRuns   = 64 // apps and tenants at a time; the others are counted together
)

// refusals are the calls that were refused since a moment: of one app and tenant, for one
// reason (of which there are two), or of all that there is no room for.
type refusals struct {
	app, tenant, reason string
	since               time.Time // when the first of all came
	singly              uint32    // those that have their own entry
	more                uint64    // those that are counted
	first, last         time.Time // of those that are counted
}

// refusedLately are they, in the order in which they began. It is replaced, never changed: readers
// may keep it.
type refusedLately []refusals

// with takes one more call, which came at its first, and says whether it is to have its own entry.
func (l refusedLately) with(c refusals) (_ refusedLately, singly bool) {
	same := func(r refusals) bool { return r.app == c.app && r.tenant == c.tenant && r.reason == c.reason }
	i := slices.IndexFunc(l, same)
	if i < 0 && len(l) >= refusedRuns {
		c.app, c.tenant = "", ""
		i = slices.IndexFunc(l, same)
	}
	l = slices.Clone(l)
	if i < 0 {
		i, l = len(l), append(l, refusals{app: c.app, tenant: c.tenant, reason: c.reason, since: c.first})
	}
	r := &l[i]
	if r.singly < refusedSingly && r.app != "" {
		r.singly++
		return l, true
	}
	if r.more == 0 {
		r.first = c.first
	}
	r.more++
	r.last = c.first
	return l, false
}

// until takes out what began before a moment, and gives what was counted of it.
func (l refusedLately) until(end time.Time) (left refusedLately, over []refusals) {
	if !slices.ContainsFunc(l, func(r refusals) bool { return !r.since.After(end) }) {
		return l, nil
	}
	for _, r := range l {
		switch {
		case r.since.After(end):
			left = append(left, r)
		case r.more > 0:
			over = append(over, r)
		}
	}
	return left, over
}

func (l refusedLately) out() (all []*tablepb.Refusals) {
	for _, r := range l {
		all = append(all, &tablepb.Refusals{
			App: r.app, Tenant: r.tenant, Reason: r.reason, Since: nanoseconds(r.since), Singly: r.singly, More: r.more,
			First: nanoseconds(r.first), Last: nanoseconds(r.last),
		})
	}
	return all
}

func readRefused(all []*tablepb.Refusals) (l refusedLately) {
	moment := func(ns int64) time.Time {
		if ns == 0 {
			return time.Time{}
		}
		return time.Unix(0, ns).UTC()
	}
	for _, m := range all {
		l = append(l, refusals{
			m.GetApp(), m.GetTenant(), m.GetReason(), moment(m.GetSince()), m.GetSingly(), m.GetMore(), moment(m.GetFirst()), moment(m.GetLast()),
		})
	}
	return l
}
