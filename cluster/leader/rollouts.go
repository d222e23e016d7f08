package leader

import (
	"context"
	"errors"
	"time"

	"tandem/ownership"
	"tandem/store"
)

// judgeEvery is how often versions of bots are judged by what renewals told.
const judgeEvery = 250 * time.Millisecond

// rollouts are the rules for versions of bots, none in a region that still has nodes of
// older software.
func rollouts(t *store.Table) []ownership.Rollout {
	if t.Format() < ownership.FormatRollouts {
		return nil
	}
	return t.Rollouts()
}

// Place gives a batch of claims their owners, by one entry of the log: each version of a bot
// gets of them what its rule and the judge allow.
func Place(ctx context.Context, l *Leadership, claims []ownership.Claim) (*ownership.Outcome, error) {
	turns := l.versions.Turns(rollouts(l.Table), time.Now())
	out, err := l.Propose(ctx, ownership.Claims{Claims: claims, Turns: turns})
	now, at := time.Now(), map[ownership.AppID][]ownership.NodeID{}
	for i := range claims {
		app := claims[i].App
		switch {
		case out == nil: // it may come true all the same
			at[app] = append(at[app], "")
		case i < len(out.Placements) && i < len(out.Errors) && out.Errors[i] == nil:
			p := &out.Placements[i]
			if p.Reason == ownership.ReasonKnown || p.Reason == ownership.ReasonEnded {
				continue
			}
			l.Leases.Placed(p.Owner, 1, now)
			at[app] = append(at[app], p.Owner)
		}
	}
	l.versions.Placed(turns, at, out == nil, now)
	return out, err
}

// judgeVersions halts versions that are worse than the others, takes those on that are
// proven, and has the history tell of what is alone.
func judgeVersions(l *Leadership) {
	for l.Settled(l.ctx) == nil && l.sleep(judgeEvery) {
		if l.Table.Format() < ownership.FormatRollouts {
			continue
		}
		decisions, tell := l.versions.Decide(l.Table.Rollouts(), time.Now())
		for _, d := range decisions {
			roll(l, ownership.SetRollout{Rollout: d.Rollout, Auto: true, Expect: d.Expect})
			if d.Rollout.Halted {
				l.Log.Warn("a version of a bot is halted: new calls go to the others", "app", d.Rollout.App, "version", d.Rollout.Version, "reason", d.Rollout.Reason)
			}
		}
		for _, t := range tell {
			roll(l, t)
		}
	}
}

// roll carries an act about a version. One that the table refuses is decided anew.
func roll(l *Leadership, act ownership.Act) {
	if _, err := l.own(act); err != nil && l.ctx.Err() == nil && !errors.Is(err, ownership.ErrConflict) {
		l.Log.Warn(ownership.Doing(act), "err", err)
	}
}
