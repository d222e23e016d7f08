package doubles

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tandem/ownership"
)

// Page is a part of a region's history of claims.
type Page struct {
	Calls []ownership.CallID `json:"calls"`
	Next  uint64             `json:"next"` // where the next page begins
	More  bool               `json:"more"` // there is one already
}

// Others are the other regions.
type Others interface {
	// Claims returns what a region claimed after a place in its history; after 0 it
	// begins a while ago.
	Claims(ctx context.Context, region ownership.Region, after uint64) (Page, error)
	// Claim returns a region's claim of a call; false: it knows none.
	Claim(ctx context.Context, region ownership.Region, call ownership.CallID) (Claim, bool, error)
}

// Own is this region.
type Own interface {
	// Leads reports whether this node is the one that looks: one does for all.
	Leads() bool
	// Find returns this region's live claim of a call, from memory.
	Find(ownership.CallID) (Claim, bool)
	// Yield ends the claim of a call and says why. The bot that has it is told.
	Yield(ctx context.Context, call ownership.CallID, why string) error
}

// How often others are asked, and the bounds of what is kept about one of them.
const (
	Every       = 2 * time.Second
	mostPending = 10_000
	mostRecent  = 100_000

	// recentRounds are two minutes: the cloud has long given up a call by then that
	// nobody answered.
	recentRounds = 60
	mostPages    = 20 // in one round
	atOnce       = 16 // questions about single calls
)

// Finder compares this region's claims with those of others.
type Finder struct {
	own    Own
	others Others
	log    *slog.Logger
	seen   []*region
}

// region is what is known of one other.
type region struct {
	name    ownership.Region
	after   uint64
	round   int
	recent  []heard                   // its claims, the oldest first
	pending map[ownership.CallID]bool // claimed by both, and not settled
	full    bool                      // told once
	told    bool                      // the last round failed
}

// heard is a claim that the other region told in a round.
type heard struct {
	call  ownership.CallID
	round int
}

// New returns a finder that compares with those regions.
func New(own Own, others Others, regions []ownership.Region, log *slog.Logger) *Finder {
	f := &Finder{own: own, others: others, log: log}
	for _, name := range regions {
		f.seen = append(f.seen, &region{name: name, pending: map[ownership.CallID]bool{}})
	}
	return f
}

// Run looks until the context ends.
func (f *Finder) Run(ctx context.Context) {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.Round(ctx)
		}
	}
}

// Round compares with all regions once. One that does not answer is asked again in the
// next round, from where it was left: what was claimed during a cut is found after it.
func (f *Finder) Round(ctx context.Context) {
	if !f.own.Leads() {
		return
	}
	var g errgroup.Group
	for _, r := range f.seen {
		g.Go(func() error {
			err := f.compare(ctx, r)
			if err != nil && ctx.Err() == nil && !errors.Is(err, ownership.ErrUnreachable) && !r.told {
				f.log.Warn("looking for calls that another region claimed, too", "region", r.name, "err", err)
			}
			r.told = err != nil // a region of older software refuses each round
			return nil
		})
	}
	_ = g.Wait() // none fails
}

func (f *Finder) compare(ctx context.Context, r *region) error {
	for range mostPages {
		p, err := f.others.Claims(ctx, r.name, r.after)
		if err != nil {
			return fmt.Errorf("reading the claims of region %s: %w", r.name, err)
		}
		r.after = p.Next
		for _, call := range p.Calls {
			r.recent = append(r.recent, heard{call, r.round})
		}
		if !p.More {
			break
		}
	}
	f.look(r)
	return f.settleAll(ctx, r)
}

// look finds out which of the other's claims are this region's, too. The same call may
// come here after that region told of it, so each is looked for a while.
func (f *Finder) look(r *region) {
	r.round++
	r.recent = r.recent[max(0, len(r.recent)-mostRecent):]
	r.recent = slices.DeleteFunc(r.recent, func(h heard) bool {
		_, ours := f.own.Find(h.call)
		if ours {
			f.note(r, h.call)
		}
		return ours || r.round-h.round > recentRounds
	})
}

// settleAll looks at what is pending, several at a time: after a cut it is much.
func (f *Finder) settleAll(ctx context.Context, r *region) error {
	var g errgroup.Group
	g.SetLimit(atOnce)
	var mu sync.Mutex
	var settled []ownership.CallID
	for call := range r.pending {
		g.Go(func() error {
			done, err := f.settle(ctx, r.name, call)
			if done {
				mu.Lock()
				defer mu.Unlock()
				settled = append(settled, call)
			}
			return err
		})
	}
	err := g.Wait()
	for _, call := range settled {
		delete(r.pending, call)
		r.full = false
	}
	return err
}

func (f *Finder) note(r *region, call ownership.CallID) {
	switch {
	case r.pending[call]:
	case len(r.pending) < mostPending:
		r.pending[call] = true
		f.log.Warn("another region claimed a call of this one, too", "call", call, "region", r.name)
	case !r.full:
		r.full = true
		f.log.Error("so many calls are claimed by two regions that no more are compared until some are settled", "region", r.name, "calls", mostPending)
	}
}

// settle reports whether only one region has the call now.
func (f *Finder) settle(ctx context.Context, region ownership.Region, call ownership.CallID) (done bool, err error) {
	own, ours := f.own.Find(call)
	other, theirs := Claim{}, false
	if ours {
		if other, theirs, err = f.others.Claim(ctx, region, call); err != nil {
			return false, fmt.Errorf("asking region %s about call %s: %w", region, call, err)
		}
	}
	if !ours || !theirs || other.State == ownership.CallEnded {
		return true, nil
	}
	if !yields(own, other) {
		return false, nil // until the other gives it up: it may yet turn out to be the other's
	}
	why := fmt.Sprintf("region %s claimed it, too, and the cloud took the answer of that one", region)
	if err := f.own.Yield(ctx, call, why); err != nil {
		return false, fmt.Errorf("giving call %s up to region %s: %w", call, region, err)
	}
	f.log.Warn("a call was given up to another region", "call", call, "region", region)
	return true, nil
}
