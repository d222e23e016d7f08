package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/spelling"
)

// rolloutDoor is the part of the door that is about versions of bots.
type rolloutDoor struct{ *Door }

// routes puts it on the door.
func (d rolloutDoor) routes() {
	read(d.Door, toOne, "list-rollouts", "/v1/rollouts", "The versions of the bots: nodes, rules, what became of their calls, and how they are judged",
		func(context.Context) (api.List[api.BotVersion], error) { return list(d.rollouts()), nil })
	d.changes("set-rollout", http.MethodPut, "/v1/rollouts", "Give a version of a bot a share of the new calls",
		"While the version is not proven, five calls of it or one in a hundred new ones may not have ended well, and it gets no more for the moment.")
	d.notes("halt-rollout", "/v1/rollouts/halt", "Give a version of a bot no new calls, as long as another one can take them", true,
		func(r *ownership.Rollout, _ ownership.VersionTally) error { r.Halted = true; return nil })
	d.notes("resume-rollout", "/v1/rollouts/resume", "Give a halted version of a bot calls again, of the share that it had; it is judged anew", false,
		func(r *ownership.Rollout, now ownership.VersionTally) error {
			if !r.Halted {
				return fmt.Errorf("version %s is not halted: %w", r.Version, ownership.ErrConflict)
			}
			r.Halted, r.Base, r.Ended = false, now, now.Ended()
			return nil
		})
	end := d.operationOf("end-rollout", http.MethodPost, "/v1/rollouts/end", "Take the rule for a version of a bot out: it is treated as any version")
	huma.Register(d.api, end, func(ctx context.Context, in *struct{ Body api.RolloutNote }) (*empty, error) {
		note(ctx, fmt.Sprintf("version %s of app %s %s", in.Body.Version, in.Body.App, in.Body.Note))
		if err := d.known(); err != nil {
			return nil, err
		}
		return d.act(ctx, func(ctx context.Context) error {
			return d.tokenAct(ctx, ownership.EndRollout{At: d.now(), App: in.Body.App, Version: in.Body.Version, By: cut(caller(ctx).Name, 250)})
		})
	})
}

func (d rolloutDoor) operationOf(id, method, path, summary string) huma.Operation {
	op := d.noContent(d.change(id, method, path, api.RoleOperate, summary))
	op.Errors = append(op.Errors, http.StatusUnprocessableEntity)
	if method == http.MethodPost {
		op.Errors = append(op.Errors, http.StatusNotFound)
	}
	return op
}

// changes registers the operation that makes a rule.
func (d rolloutDoor) changes(id, method, path, summary, more string) {
	op := d.operationOf(id, method, path, summary)
	op.Description += " " + more
	huma.Register(d.api, op, func(ctx context.Context, in *struct{ Body api.RolloutAsk }) (*empty, error) {
		ask := in.Body
		note(ctx, fmt.Sprintf("version %s of app %s gets %g %% %s", ask.Version, ask.App, ask.Percent, ask.Note))
		share, err := ownership.ParseShare(ask.Percent)
		if err == nil {
			if err = spelling.Version(ask.Version); err != nil {
				err = fmt.Errorf("version %w", err)
			}
		}
		if err != nil {
			return nil, huma.Error422UnprocessableEntity(err.Error())
		}
		r, found := d.rule(ask.RolloutOf)
		if found && r.Halted {
			return nil, huma.Error409Conflict("The version is halted (" + r.Reason + "): resume it, or end its rule, first.")
		}
		r.App, r.Version, r.Share, r.Steps, r.Reason = ask.App, ask.Version, share, ask.Steps, ask.Note
		now := d.tally(ask.RolloutOf)
		r.Ended = now.Ended()
		return d.set(ctx, r)
	})
}

// notes registers an operation that changes a rule in one respect.
func (d rolloutDoor) notes(id, path, summary string, anew bool, change func(*ownership.Rollout, ownership.VersionTally) error) {
	huma.Register(d.api, d.operationOf(id, http.MethodPost, path, summary), func(ctx context.Context, in *struct{ Body api.RolloutNote }) (*empty, error) {
		note(ctx, fmt.Sprintf("version %s of app %s %s", in.Body.Version, in.Body.App, in.Body.Note))
		r, found := d.rule(in.Body.RolloutOf)
		if !found && !anew {
			return nil, problem(fmt.Errorf("the rule for version %s of app %s: %w", in.Body.Version, in.Body.App, ownership.ErrUnknown))
		}
		r.App, r.Version, r.Share = in.Body.App, in.Body.Version, cmp.Or(r.Share, ownership.WholeShare)
		if err := change(&r, d.tally(in.Body.RolloutOf)); err != nil {
			return nil, problem(err)
		}
		r.Reason = cmp.Or(in.Body.Note, "an operator's word")
		return d.set(ctx, r)
	})
}

func (d rolloutDoor) set(ctx context.Context, r ownership.Rollout) (*empty, error) {
	if err := d.known(); err != nil {
		return nil, err
	}
	r.By = cut(caller(ctx).Name, 250)
	return d.act(ctx, func(ctx context.Context) error {
		return d.tokenAct(ctx, ownership.SetRollout{At: d.now(), Rollout: r})
	})
}

// known refuses what nodes of older software could not read.
func (d rolloutDoor) known() error {
	if d.deps.Table.Format() < ownership.FormatRollouts {
		return huma.Error409Conflict("Not every node of the region knows rules for versions of bots yet: upgrade all of them first.")
	}
	return nil
}

func (d rolloutDoor) rule(of api.RolloutOf) (ownership.Rollout, bool) {
	for _, r := range d.deps.Table.Rollouts() {
		if r.App == of.App && r.Version == of.Version {
			return r, true
		}
	}
	return ownership.Rollout{}, false
}

func (d rolloutDoor) tally(of api.RolloutOf) ownership.VersionTally {
	for _, s := range d.deps.Cluster.Fitness().Versions {
		if s.App == of.App && s.Version == of.Version {
			return s.VersionTally
		}
	}
	return ownership.VersionTally{}
}

// rollouts puts what the leader tells of versions beside the rules of the table.
func (d rolloutDoor) rollouts() []api.BotVersion {
	all := []api.BotVersion{}
	for _, s := range d.deps.Cluster.Fitness().Versions {
		all = append(all, api.BotVersion{VersionState: s})
	}
	for _, r := range d.deps.Table.Rollouts() {
		i := slices.IndexFunc(all, func(o api.BotVersion) bool { return o.App == r.App && o.Version == r.Version })
		if i < 0 {
			i = len(all)
			all = append(all, api.BotVersion{VersionState: ownership.VersionState{VersionTally: ownership.VersionTally{App: r.App, Version: r.Version}}})
		}
		all[i].Rule = &r
	}
	for i := range all {
		all[i].Stands, all[i].Nodes = stands(&all[i]), orEmpty(all[i].Nodes)
	}
	slices.SortFunc(all, func(a, b api.BotVersion) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Version, b.Version))
	})
	return all
}

func stands(r *api.BotVersion) string {
	switch {
	case r.Rule != nil && r.Rule.Halted:
		return api.StandsHalted
	case r.Alone:
		return api.StandsAlone
	case r.Rule != nil && r.Proven:
		return api.StandsProven
	case r.Rule != nil:
		return api.StandsUnproven
	case r.Fresh:
		return api.StandsWatched
	}
	return api.StandsUsual
}
