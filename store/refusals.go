package store

import (
	"slices"
	"time"

	"tandem/store/tablepb"
)

// Bounds of what is told of calls that no node could take. A run of them ends after an hour in
// which none came, so an hour has at most so many entries: in a run's first one those that have
// their own and two that count, and one in each that follows.
const (
	refusedAtFirst = time.Minute // after that it is told how many there are, and then
	refusedSpan    = time.Hour   // as often as this
	refusedSingly  = 50          // of an app and tenant, for one reason: the first of a run have each an entry
	refusedRuns    = 64          // apps and tenants at a time; the others are counted together
)

// refusals are the calls of a run: of one app and tenant, for one reason (of which there are
// two), or of all that there is no room for.
type refusals struct {
	app, tenant, reason string
	since               time.Time // when what is counted now began
	told                bool      // how many they are was told before, or could have been
	singly              uint32    // those that have their own entry
	more                uint64    // those that are counted since
	first, last         time.Time // the first of those, and the last of all
}

// ends is when it is told how many there are, or that the run is over.
func (r *refusals) ends() time.Time {
	if r.told {
		return r.since.Add(refusedSpan)
	}
	return r.since.Add(refusedAtFirst)
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
	r.last = c.first
	if r.singly < refusedSingly && r.app != "" {
		r.singly++
		return l, true
	}
	if r.more == 0 {
		r.first = c.first
	}
	r.more++
	return l, false
}

// at gives what is to be told now, and takes out the runs that are over.
func (l refusedLately) at(now time.Time) (left refusedLately, told []refusals) {
	due := func(r refusals) bool { return !r.ends().After(now) }
	if !slices.ContainsFunc(l, due) {
		return l, nil
	}
	for _, r := range l {
		if !due(r) {
			left = append(left, r)
			continue
		}
		if r.more > 0 {
			told = append(told, r)
		}
		if came := !r.last.Before(r.since); came {
			r.since, r.told, r.more, r.first = now, true, 0, time.Time{}
			left = append(left, r)
		}
	}
	return left, told
}

func (l refusedLately) out() (all []*tablepb.Refusals) {
	for _, r := range l {
		all = append(all, &tablepb.Refusals{
			App: r.app, Tenant: r.tenant, Reason: r.reason, Since: nanoseconds(r.since), Told: r.told, Singly: r.singly, More: r.more,
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
			m.GetApp(), m.GetTenant(), m.GetReason(), moment(m.GetSince()), m.GetTold(), m.GetSingly(), m.GetMore(), moment(m.GetFirst()), moment(m.GetLast()),
		})
	}
	return l
}
