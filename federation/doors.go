package federation

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/spelling"
)

// A region is known by several doors: those of the configuration, each address of
// their names, and those that the region tells of its nodes. One dead node, or one
// that is cut off from its region, must not make the whole region count as down.

const (
	maxDoors     = 16               // asked of one region
	resolveEvery = 10 * time.Second // names of doors
)

// door is one place at which a region is asked.
type door struct {
	base   string     // URL, without a slash at the end
	addr   netip.Addr // of several that its name has; zero: whichever is dialled
	learnt bool       // the region told it
	client *http.Client

	said      atomic.Pointer[look] // last; nil: it was not asked yet
	streaming atomic.Bool          // what it said comes by a stream, and is fresh
	rtt       atomic.Int64         // nanoseconds that a request takes there and back, smoothed; 0: unknown

	probed time.Time // when it was asked last; this and the next one are the follower's
	unable time.Time // until then it is not asked for a stream
}

// doorKey tells doors apart.
type doorKey struct {
	base   string
	addr   netip.Addr
	learnt bool
}

// adminURLs returns the admin doors of the configuration, each once.
func (r Region) adminURLs() []string {
	var all []string
	for _, u := range append([]string{r.AdminURL}, r.AdminURLs...) {
		if u = strings.TrimSuffix(u, "/"); u != "" && !slices.Contains(all, u) {
			all = append(all, u)
		}
	}
	return all
}

// doors returns what is to be asked now.
func (f *follower) doors(ctx context.Context) []*door {
	bases := f.region.adminURLs()
	if len(bases) == 0 {
		return f.open([]*door{{base: f.region.URL}})
	}
	configured := len(bases)
	for _, u := range f.learnt {
		if !slices.Contains(bases, u) {
			bases = append(bases, u)
		}
	}
	f.resolve(ctx, bases)
	var all []*door
	for i, b := range bases {
		if len(f.addrs[b]) < 2 {
			all = append(all, &door{base: b, learnt: i >= configured})
			continue
		}
		for _, a := range f.addrs[b] {
			all = append(all, &door{base: b, addr: a, learnt: i >= configured})
		}
	}
	return f.open(all[:min(len(all), maxDoors)])
}

// open makes doors ready to be asked: those of the last round stay as they are.
func (f *follower) open(list []*door) []*door {
	next := make(map[doorKey]*door, len(list))
	all := make([]*door, 0, len(list))
	for _, d := range list {
		key := doorKey{d.base, d.addr, d.learnt}
		if next[key] != nil {
			continue
		}
		if old := f.opened[key]; old != nil {
			d = old
		} else {
			d.client = f.newClient(d.base, d.addr)
		}
		next[key] = d
		all = append(all, d)
	}
	for key, old := range f.opened {
		if next[key] == nil {
			old.client.CloseIdleConnections()
		}
	}
	f.opened = next
	f.known.Store(&all)
	return all
}

// resolve finds the addresses of the doors' names. What cannot be found now keeps
// the ones that it had.
func (f *follower) resolve(ctx context.Context, bases []string) {
	now := time.Now()
	if f.lookup == nil || now.Sub(f.resolved) < resolveEvery && f.addrs != nil {
		return
	}
	f.resolved = now
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	found := make([][]netip.Addr, len(bases))
	var asked sync.WaitGroup
	for i, b := range bases {
		asked.Go(func() {
			u, err := url.Parse(b)
			if err != nil || spelling.Loopback(u.Hostname()) {
				return
			}
			if _, err := netip.ParseAddr(u.Hostname()); err == nil {
				return
			}
			if found[i], err = f.lookup(ctx, u.Hostname()); err != nil {
				found[i] = f.addrs[b]
			}
		})
	}
	asked.Wait()
	next := make(map[string][]netip.Addr, len(bases))
	for i, b := range bases {
		for _, a := range found[i] {
			if a = a.Unmap(); !slices.Contains(next[b], a) {
				next[b] = append(next[b], a)
			}
		}
		slices.SortFunc(next[b], netip.Addr.Compare)
	}
	f.addrs = next
}

// probeEvery is how often a door is asked whether it lives, where another one tells of
// the region.
const probeEvery = 5 * time.Second

// round looks at every door and puts together what they said. A door with a stream has
// said it, and while one says that the region is well the others are asked for a sign of
// life only, now and then. Else all others are asked, at once: those that are listened to
// may be the ones that are cut off from their region.
func (f *follower) round(ctx context.Context, doors []*door) look {
	l, heard := f.hearsay()
	well := heard && l.ready
	var asked sync.WaitGroup
	for _, d := range doors {
		if well && time.Since(d.probed) < probeEvery || heard && !well && d.streaming.Load() {
			continue
		}
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, f.timeout)
			defer cancel()
			if !well {
				l := f.region.ask(ctx, d)
				d.said.Store(&l)
				return
			}
			if l := f.region.probe(ctx, d); !d.streaming.Load() {
				d.said.Store(&l)
			}
		})
		d.probed = time.Now()
	}
	asked.Wait()
	l, _ = f.hearsay()
	return l
}

// hearsay puts together what the doors said last; told: one that tells by a stream is among them.
func (f *follower) hearsay() (l look, told bool) {
	doors := *f.known.Load()
	looks := make([]look, len(doors))
	for i, d := range doors {
		if said := d.said.Load(); said != nil {
			looks[i] = *said
		}
		told = told || d.streaming.Load()
	}
	for i, d := range doors {
		if told && !d.streaming.Load() && time.Since(d.probed) > f.interval+f.timeout { // what it once said is older
			looks[i].ready, looks[i].figures = false, nil
		}
	}
	l, best := merge(looks)
	if best >= 0 && looks[best].ready { // one that is cut off may know few
		f.hear(doors[best].base, l.figures.Doors)
	}
	return l, told
}

// merge puts the looks at a region's doors together: it is ready when one says so,
// and the figures are the newest of a door that is well. best is whose they are, -1:
// nobody's.
func merge(looks []look) (l look, best int) {
	best = -1
	silent := 0
	var first error
	for i := range looks {
		k := &looks[i]
		l.answered = l.answered || k.answered
		l.ready = l.ready || k.ready
		if !k.answered {
			silent++
		}
		if k.problem != nil && (first == nil || !k.answered) {
			first = k.problem
		}
		if k.figures != nil && (best < 0 || k.better(&looks[best])) {
			best = i
		}
	}
	if best >= 0 {
		l.figures = looks[best].figures
	}
	switch {
	case len(looks) == 1:
		l.problem = looks[0].problem
	case silent == len(looks):
		l.problem = fmt.Errorf("none of its %d doors answered: %w", len(looks), first)
	case silent > 0:
		l.problem = fmt.Errorf("%d of its %d doors did not answer: %w", silent, len(looks), first)
	case first != nil:
		l.problem = fmt.Errorf("one of its %d doors: %w", len(looks), first)
	}
	return l, best
}

// better compares two looks with figures.
func (l *look) better(than *look) bool {
	if l.ready != than.ready {
		return l.ready
	}
	return l.figures.TableVersion > than.figures.TableVersion
}

// hear keeps the doors that the region told of its nodes.
func (f *follower) hear(teller string, told []string) {
	if len(told) == 0 {
		return // an older version tells none
	}
	var next []string
	for _, u := range told {
		if u = strings.TrimSuffix(u, "/"); len(next) < maxDoors && mayAsk(teller, u) && !slices.Contains(next, u) {
			next = append(next, u)
		}
	}
	slices.Sort(next)
	if !slices.Equal(next, f.learnt) {
		f.learnt, f.resolved, f.changed = next, time.Time{}, time.Now()
	}
}

// mayAsk reports whether an address that a door told may be asked, with the token
// that is meant for the region. It must be of the teller's own kind: never one
// outside https or loopback, and never this machine's own unless the teller is
// there, too.
func mayAsk(teller, told string) bool {
	t, errT := spelling.BaseURL(teller)
	u, errU := spelling.BaseURL(told)
	if errT != nil || errU != nil || spelling.PublicURL(strings.TrimSuffix(told, "/")) != nil {
		return false
	}
	return u.Scheme == t.Scheme && (u.Path == "" || u.Path == "/") && spelling.Loopback(u.Hostname()) == spelling.Loopback(t.Hostname())
}
