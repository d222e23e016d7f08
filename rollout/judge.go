package rollout

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"tandem/ownership"
)

const (
	leastBound = 5   // calls that an unproven version may hurt in any case
	perCall    = 100 // and one in so many of the app's new calls
	// lostAfter is how long a placed call may be on its way to its node: longer than the
	// cloud's clock. Whatever became of it then, the version never had it.
	lostAfter = 20 * time.Second
	// awayAfter is how long a node may say nothing and still count as one that has a bot.
	awayAfter = 30 * time.Second
	window    = 200 // calls that ended, after which the evidence may begin anew
	perStep   = 30  // calls that must end at each share
)

// steps are the shares of a rule that grows by itself.
var steps = []int{100, 1000, 5000, ownership.WholeShare}

// Judge is what a leader knows of the versions of all bots, for one term. It is safe for
// several goroutines.
type Judge struct {
	mu   sync.Mutex
	apps map[ownership.AppID]*app
}

type app struct {
	versions map[string]*seen
	hosts    map[ownership.NodeID]*host
}

// host is what one node told last of an app's bot.
type host struct {
	process string
	runs    string
	heard   time.Time
	well    bool // the bot takes new calls
	last    map[string]ownership.VersionTally
	transit []time.Time // when the calls were placed that it has not taken yet, oldest first
}

// seen is one version of an app.
type seen struct {
	gone   ownership.VersionTally // of processes that have ended
	since  uint64
	fresh  bool
	proven bool
	alone  bool
	window ownership.VersionTally // what no longer counts as evidence
	out    int                    // calls that batches under way may yet give it
}

// New returns a judge who begins with what an earlier leader told.
func New(told []ownership.VersionState) *Judge {
	j := &Judge{apps: map[ownership.AppID]*app{}}
	for _, s := range told {
		j.app(s.App).versions[s.Version] = &seen{since: s.Since, fresh: s.Fresh, proven: s.Proven, alone: s.Alone}
	}
	return j
}

func (j *Judge) app(id ownership.AppID) *app {
	a := j.apps[id]
	if a == nil {
		a = &app{versions: map[string]*seen{}, hosts: map[ownership.NodeID]*host{}}
		j.apps[id] = a
	}
	return a
}

// Report takes what a process of a node tells with its renewal; nil fit: its bots are well.
func (j *Judge) Report(node ownership.NodeID, process string, tallies []ownership.VersionTally, fit map[ownership.AppID]ownership.AppFitness, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	by := map[ownership.AppID][]ownership.VersionTally{}
	for _, t := range tallies {
		by[t.App] = append(by[t.App], t)
	}
	for id, list := range by {
		h := j.app(id).report(node, process, list)
		h.heard, h.well = now, fit == nil || fit[id].Bot
	}
}

func (a *app) report(node ownership.NodeID, process string, tallies []ownership.VersionTally) *host {
	h, known := a.hosts[node]
	if !known {
		h = &host{process: process, last: map[string]ownership.VersionTally{}}
		a.hosts[node] = h
	}
	if h.process != process {
		a.fold(h)
		h.process = process
	}
	var fresh, all uint64
	for _, t := range tallies {
		if a.versions[t.Version] == nil {
			if len(a.versions) >= 2*ownership.MaxVersions && !t.Runs {
				continue
			}
			a.meet(t.Version)
		}
		was := h.last[t.Version]
		fresh += t.Taken - min(t.Taken, was.Taken)
		h.last[t.Version] = t
		if t.Runs {
			h.runs = t.Version
		}
	}
	h.arrived(fresh)
	// What a node had taken before this leader heard of it is no new call.
	if all = fresh; !known {
		all = 0
	}
	for _, s := range a.versions {
		s.since += all
	}
	return h
}

// meet takes a version in. It is fresh, and watched, if another one was there before.
func (a *app) meet(version string) {
	before := false
	for v, s := range a.versions {
		s.fresh = s.fresh && !s.proven // by now it is what newcomers are compared with
		before = before || v != ""     // a bot tells its version some time after its node has begun
	}
	a.versions[version] = &seen{fresh: before && version != ""}
}

// fold keeps what an ended process has told: what it had under way nobody will tell.
func (a *app) fold(h *host) {
	for v, t := range h.last {
		if s := a.versions[v]; s != nil {
			t.Other += t.Live()
			s.gone.Add(&t)
		}
	}
	h.last = map[string]ownership.VersionTally{}
}

// arrived takes calls that a node has taken off those that are on their way to it.
func (h *host) arrived(n uint64) {
	h.transit = h.transit[min(n, uint64(len(h.transit))):]
}

// onTheWay counts the calls that a node has yet to take.
func (h *host) onTheWay(now time.Time) int {
	for len(h.transit) > 0 && now.Sub(h.transit[0]) > lostAfter {
		h.transit = h.transit[1:]
	}
	return len(h.transit)
}

func (a *app) total(version string) ownership.VersionTally {
	t := ownership.VersionTally{Version: version}
	if s := a.versions[version]; s != nil {
		t.Add(&s.gone)
	}
	for _, h := range a.hosts {
		if one, ok := h.last[version]; ok {
			t.Add(&one)
		}
	}
	return t
}

// others is what became of the calls of all other versions but those that are halted.
func (a *app) others(version string, halted map[string]bool) (sum ownership.VersionTally) {
	for v := range a.versions {
		if v != version && !halted[v] {
			t := a.total(v)
			sum.Add(&t)
		}
	}
	return sum
}

func (a *app) nodes(version string) (all []ownership.NodeID) {
	for id, h := range a.hosts {
		if h.runs == version {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}

// hurt counts the calls of a version that have not ended well.
func (a *app) hurt(version string, base *ownership.VersionTally, others *ownership.VersionTally, now time.Time) uint64 {
	t := a.total(version)
	live := t.Live()
	t = t.Since(base)
	n := t.Bad + live
	if !shorts(others).mostly() {
		n += t.Short
	}
	for _, h := range a.hosts {
		if h.runs == version {
			n += uint64(h.onTheWay(now))
		}
	}
	return n + uint64(a.versions[version].out)
}

func bound(since uint64) uint64 { return max(leastBound, since/perCall) }

// Turns says which new calls may go to the versions with rules, for a batch that is about
// to be placed. Batches go side by side: what one may give away the next may not, until
// Placed has said what came of it. It must be called once for each Turns.
func (j *Judge) Turns(rules []ownership.Rollout, now time.Time) []ownership.Turn {
	return j.turns(rules, now, true)
}

// Look is Turns for a batch that is never placed.
func (j *Judge) Look(rules []ownership.Rollout, now time.Time) []ownership.Turn {
	return j.turns(rules, now, false)
}

func (j *Judge) turns(rules []ownership.Rollout, now time.Time, take bool) []ownership.Turn {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []ownership.Turn
	for i := range rules {
		r := &rules[i]
		a := j.apps[r.App]
		if a == nil || a.versions[r.Version] == nil {
			continue
		}
		s := a.versions[r.Version]
		t := ownership.Turn{App: r.App, Version: r.Version, Nodes: a.nodes(r.Version), Share: r.Share, Left: -1, Halted: r.Halted}
		if len(t.Nodes) == 0 || s.proven && !r.Halted && r.Share >= ownership.WholeShare {
			continue
		}
		if !s.proven && !r.Halted {
			others := a.others(r.Version, haltedOf(rules, r.App))
			most, hurt := bound(s.since), a.hurt(r.Version, &r.Base, &others, now)
			t.Left = int(most - min(most, hurt))
			if take {
				s.out += t.Left
			}
		}
		all = append(all, t)
	}
	return all
}

func haltedOf(rules []ownership.Rollout, id ownership.AppID) map[string]bool {
	halted := map[string]bool{}
	for _, r := range rules {
		if r.App == id && r.Halted {
			halted[r.Version] = true
		}
	}
	return halted
}

// Placed says where the calls of a batch went, each a new one of the app at the node. Of a
// batch of which nobody knows, as when the lead was lost, it is said that all that were left
// went to the first node of each turn.
func (j *Judge) Placed(turns []ownership.Turn, at map[ownership.AppID][]ownership.NodeID, unknown bool, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, t := range turns {
		a := j.apps[t.App]
		if a == nil || t.Left < 0 {
			continue
		}
		if s := a.versions[t.Version]; s != nil {
			s.out -= min(s.out, t.Left)
		}
		if unknown {
			for range min(t.Left, len(at[t.App])) {
				a.hosts[t.Nodes[0]].transit = append(a.hosts[t.Nodes[0]].transit, now)
			}
		}
	}
	if unknown {
		return
	}
	for id, nodes := range at {
		for _, node := range nodes {
			if h := j.app(id).hosts[node]; h != nil {
				h.onTheWay(now)
				h.transit = append(h.transit, now)
			}
		}
	}
}

// States tells what is known of all versions that a node has a bot of, or that have a rule,
// by app and version.
func (j *Judge) States(rules []ownership.Rollout, now time.Time) (all []ownership.VersionState) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, a := range j.apps {
		halted := haltedOf(rules, id)
		for v, s := range a.versions {
			nodes := a.nodes(v)
			r, ruled := ruleOf(rules, id, v)
			if len(nodes) == 0 && !ruled {
				continue
			}
			t, others := a.total(v), a.others(v, halted)
			t.App = id
			all = append(all, ownership.VersionState{
				VersionTally: t, Nodes: nodes, Live: t.Live(), Since: s.since, Fresh: s.fresh, Proven: s.proven, Alone: s.alone,
				Hurt: a.hurt(v, &r.Base, &others, now), Bound: bound(s.since),
			})
		}
	}
	slices.SortFunc(all, func(a, b ownership.VersionState) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Version, b.Version))
	})
	return all
}
