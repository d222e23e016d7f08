package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/ownership"
)

// Evacuations says what it means to evacuate a region. Rules are how it is done: so it
// travels, and is undone, as they do.
type Evacuations interface {
	// Plan tells of this region, as it is and as it would be with these regions as its
	// stand-ins; none named: those of the rules in force, else the best ones.
	Plan(ctx context.Context, to []ownership.Region) (api.Evacuation, error)
	// Lose tells what the sudden loss of another region would bring, as this one sees it.
	Lose(ctx context.Context, region ownership.Region) (api.Evacuation, error)
	// StandIns are the regions other than one that are well, those with the most room
	// first.
	StandIns(but ownership.Region) []ownership.Region
	// Forecast tells what the drain or the loss of one of the region's nodes would bring.
	Forecast(ctx context.Context, id ownership.NodeID) (api.NodeForecast, error)
	// Text writes the evacuation of a region into the rules in force, and returns the
	// document and the number that it was made from. To nobody: the region's evacuation
	// ends. Errors are problems of the door, or wrap ownership.ErrConflict.
	Text(region ownership.Region, to []ownership.Region) (text string, number uint64, err error)
}

// evacuation puts forecasts and the evacuation of regions on the door.
type evacuation struct{ *Door }

func (d evacuation) routes() {
	plan := d.operation("get-evacuation", http.MethodGet, "/v1/regions/{name}/evacuation", api.RoleRead, "How far a region's evacuation is, or what it would bring; nothing is changed")
	plan.Description += " The answer is that region's own. new_calls holds the rules against the calls that it remembers, as the regions are now."
	plan.Errors = append(plan.Errors, http.StatusNotFound, http.StatusConflict, http.StatusNotImplemented, http.StatusBadGateway)
	plan.Metadata[metaReach] = inPath
	huma.Register(d.api, plan, func(ctx context.Context, in *struct {
		Name ownership.Region   `path:"name" maxLength:"63"`
		To   []ownership.Region `query:"to" maxItems:"64" doc:"Who would take its new calls, in this order."`
		Lost bool               `query:"lost" doc:"What if it were lost, all of a sudden? Another region answers, from the calls that it remembers."`
	}) (*reply[api.Evacuation], error) {
		if d.deps.Evacuations == nil {
			return nil, huma.Error501NotImplemented("This node forecasts nothing.")
		}
		return within(ctx, d.Door, func(ctx context.Context) (api.Evacuation, error) {
			e, err := d.plan(ctx, in.Name, in.To, in.Lost)
			e.To, e.Missing, e.Tenants, e.NewCalls = orEmpty(e.To), orEmpty(e.Missing), orEmpty(e.Tenants), orEmpty(e.NewCalls)
			return e, err
		})
	})
	node := far(d.operation("forecast-node", http.MethodGet, "/v1/nodes/{id}/forecast", api.RoleRead, "What the drain of a node would bring, or its loss; nothing is changed"), toOne)
	node.Errors = append(node.Errors, http.StatusNotImplemented)
	huma.Register(d.api, node, func(ctx context.Context, in *struct {
		ID ownership.NodeID `path:"id" maxLength:"64"`
	}) (*reply[api.NodeForecast], error) {
		if d.deps.Evacuations == nil {
			return nil, huma.Error501NotImplemented("This node forecasts nothing.")
		}
		return within(ctx, d.Door, func(ctx context.Context) (api.NodeForecast, error) {
			f, err := d.deps.Evacuations.Forecast(ctx, in.ID)
			f.Tenants, f.Ages = orEmpty(f.Tenants), orEmpty(f.Ages)
			return f, err
		})
	})
	put := d.change("evacuate-region", http.MethodPut, "/v1/regions/{name}/evacuation", api.RoleOperate, "Send a region's new calls elsewhere; live ones stay until they end")
	put.Errors = append(put.Errors, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusNotImplemented)
	put.Description += " It is a change of the rules, and travels with them: any region can be told. What a hard rule, or here: force, binds to the region stays there."
	huma.Register(d.api, put, func(ctx context.Context, in *struct {
		Name ownership.Region `path:"name" maxLength:"63"`
		Body api.EvacuationAsk
	}) (*reply[api.RulesVersion], error) {
		to := in.Body.To
		if len(to) == 0 && d.deps.Evacuations != nil {
			to = d.deps.Evacuations.StandIns(in.Name)
		}
		if len(to) == 0 {
			return nil, huma.Error409Conflict("No other region is well that could take its calls: name one.")
		}
		return d.rewrite(ctx, in.Name, to, in.Body.Note)
	})
	end := d.change("restore-region", http.MethodDelete, "/v1/regions/{name}/evacuation", api.RoleOperate, "End a region's evacuation: it takes its new calls again")
	end.Errors = append(end.Errors, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusNotImplemented)
	end.DefaultStatus = http.StatusOK
	huma.Register(d.api, end, func(ctx context.Context, in *struct {
		Name ownership.Region `path:"name" maxLength:"63"`
	}) (*reply[api.RulesVersion], error) {
		return d.rewrite(ctx, in.Name, nil, "")
	})
}

func (d evacuation) plan(ctx context.Context, name ownership.Region, to []ownership.Region, lost bool) (api.Evacuation, error) {
	for _, r := range to {
		if !d.abroad.knows(r) {
			return api.Evacuation{}, huma.Error404NotFound(fmt.Sprintf("There is no region %q.", r))
		}
	}
	switch {
	case !lost:
		return d.deps.Evacuations.Plan(ctx, to)
	case name == d.cfg.Region:
		return api.Evacuation{}, fmt.Errorf("forecasting the loss of region %s: ask a node of another region, this one would be gone: %w", name, ownership.ErrConflict)
	case !d.abroad.knows(name):
		return api.Evacuation{}, fmt.Errorf("region %s: %w", name, ownership.ErrUnknown)
	default:
		return d.deps.Evacuations.Lose(ctx, name)
	}
}

// rewrite changes the rules in force.
func (d evacuation) rewrite(ctx context.Context, name ownership.Region, to []ownership.Region, why string) (*reply[api.RulesVersion], error) {
	if d.deps.Evacuations == nil {
		return nil, huma.Error501NotImplemented("This node forecasts nothing.")
	}
	if !d.abroad.knows(name) {
		return nil, huma.Error404NotFound("There is no region \"" + string(name) + "\".")
	}
	text, number, err := d.deps.Evacuations.Text(name, to)
	if err != nil {
		if known := huma.StatusError(nil); errors.As(err, &known) {
			return nil, known
		}
		return nil, problem(err)
	}
	did := "evacuation of " + string(name)
	if len(to) == 0 {
		did = "end of the " + did
	}
	if why != "" {
		did += ": " + why
	}
	return ruleDoor(d).setRules(ctx, api.RulesAsk{Text: text, Expect: number, Note: cut(did, 300)})
}
