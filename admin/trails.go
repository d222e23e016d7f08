package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// Trails reaches what the region's nodes remember of calls, and what they write to their
// logs.
type Trails interface {
	// Of returns what all nodes remember of the calls that the ids name.
	Of(ctx context.Context, ids ...string) (t api.Trail, calls []ownership.CallID)
	// Follow has all nodes write steps to their logs until a time; one that has passed ends
	// it. The error says what is wrong with what was asked.
	Follow(context.Context, api.LogFollow) (api.LogFollows, error)
	// Following returns what they follow.
	Following(context.Context) api.LogFollows
}

// noTrails stands where nobody remembers.
type noTrails struct{}

func (noTrails) Of(context.Context, ...string) (api.Trail, []ownership.CallID) {
	return api.Trail{}, nil
}
func (noTrails) Follow(context.Context, api.LogFollow) (api.LogFollows, error) {
	return api.LogFollows{}, absent("Following steps")
}
func (noTrails) Following(context.Context) api.LogFollows { return api.LogFollows{} }

// trails is the part of the door that follows notifications.
type trails struct{ *Door }

// trailTime bounds the question to the region's nodes: one that is silent does not keep
// the others' word back.
const trailTime = 2 * time.Second

// followed is what is known of the call that an id names.
type followed struct {
	call  ownership.Call // only its id where the table does not know it
	known bool
	trail api.Trail
}

func (d trails) routes() {
	following(d, "explain-call", "/v1/calls/{id}/explain", "Why a call is where it is, and what was done with its notifications", d.explain)
	following(d, "get-timeline", "/v1/calls/{id}/timeline", "What happened to a call, and to each of its notifications", d.timeline)

	huma.Register(d.api, far(d.operation("get-log", http.MethodGet, "/v1/log", api.RoleRead, "Whose steps the region's nodes write to their logs"), toOne),
		func(ctx context.Context, _ *empty) (*reply[api.LogFollows], error) {
			return within(ctx, d.Door, func(ctx context.Context) (api.LogFollows, error) {
				ctx, cancel := context.WithTimeout(ctx, trailTime)
				defer cancel()
				out := d.deps.Trails.Following(ctx)
				out.Items = orEmpty(out.Items)
				return out, nil
			})
		})
	set := d.change("set-log", http.MethodPut, "/v1/log", api.RoleOperate, "Write each step of a call, of a tenant's calls, or of a node to the nodes' logs, for a while")
	set.Description += " The lines are written whatever log.level says, 200 a second at most. The answer is all that the nodes follow then."
	set.Errors = append(set.Errors, http.StatusUnprocessableEntity, http.StatusNotImplemented)
	set.DefaultStatus = http.StatusOK
	huma.Register(d.api, set, func(ctx context.Context, in *struct{ Body api.LogAsk }) (*reply[api.LogFollows], error) {
		f, err := d.follow(ctx, in.Body)
		if err != nil {
			return nil, huma.Error422UnprocessableEntity(err.Error())
		}
		return within(ctx, d.Door, func(ctx context.Context) (api.LogFollows, error) {
			ctx, cancel := context.WithTimeout(ctx, trailTime)
			defer cancel()
			out, err := d.deps.Trails.Follow(ctx, f)
			if known := huma.StatusError(nil); err != nil && !errors.As(err, &known) {
				err = huma.Error422UnprocessableEntity(err.Error())
			}
			out.Items = orEmpty(out.Items)
			return out, err
		})
	})
}

// following registers a read of one call, whatever names it, told by all regions that
// remember it.
func following[T any](d trails, id, path, summary string, show func(followed) (T, error)) {
	op := far(d.operation(id, http.MethodGet, path, api.RoleRead, summary), toldByAll)
	op.Description += " The id is a call's, a call chain's, a notification's (X-Microsoft-Skype-Message-ID), or what Scenario-Id or Client-Request-Id said; " +
		"where it names several calls, they are listed. The steps are those that nodes of all regions remember, unless a region is named."
	huma.Register(d.api, op, func(ctx context.Context, in *callAsked) (*answer[T], error) {
		fresh, err := d.freshen(ctx, in.Asking)
		if err != nil {
			return nil, err
		}
		f, err := d.find(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		body, err := show(f)
		if err != nil {
			return nil, problem(err)
		}
		return &answer[T]{fresh, body}, nil
	})
}

// find looks for the call that an id names, in the table and in the nodes' memory.
func (d trails) find(ctx context.Context, raw string) (f followed, err error) {
	id, wrong := ownership.ParseCallID(raw)
	names := []string{raw}
	if wrong == nil {
		f.call, f.known = d.deps.Table.Call(id)
		names = append(names, string(id))
	}
	ctx, cancel := context.WithTimeout(ctx, trailTime)
	defer cancel()
	trail, calls := d.deps.Trails.Of(ctx, names...)
	trail.Steps, trail.Nodes = orEmpty(trail.Steps), orEmpty(trail.Nodes)
	f.trail = trail
	switch {
	case f.known:
		// An id can be that of a call and of something else: then the call is meant.
		f.trail.Steps = slices.DeleteFunc(f.trail.Steps, func(s history.Step) bool { return s.Call != f.call.ID && s.Call != "" })
		return f, nil
	case len(trail.Steps) == 0 && wrong != nil:
		return f, huma.Error400BadRequest(wrong.Error() + ", and no node of the region remembers a notification of that name.")
	case len(trail.Steps) == 0:
		return f, huma.Error404NotFound(fmt.Sprintf("The region %s knows no call %s.", d.cfg.Region, id))
	case len(calls) > 1:
		f.trail.Calls = calls
	case len(calls) == 1:
		if f.call, f.known = d.deps.Table.Call(calls[0]); !f.known {
			f.call.ID = calls[0]
		}
	}
	return f, nil
}

func (d trails) explain(f followed) (out api.CallExplanation, err error) {
	out = api.CallExplanation{Call: f.call.ID, Why: []string{d.unknown(f)}, Timeline: []history.Event{}}
	if f.known {
		out, err = d.explainCall(f.call)
	}
	out.Known, out.Trail = f.known, f.trail
	return out, err
}

func (d trails) unknown(f followed) string {
	switch {
	case len(f.trail.Calls) > 1:
		return fmt.Sprintf("It names %d calls: ask for one of them to be told why it is where it is.", len(f.trail.Calls))
	case f.call.ID == "":
		return fmt.Sprintf("The region %s gave it to no call: the steps say why.", d.cfg.Region)
	}
	return fmt.Sprintf("The table of region %s has no call %s, or no longer; its nodes remember steps of it.", d.cfg.Region, f.call.ID)
}

func (d trails) timeline(f followed) (api.Timeline, error) {
	out := api.Timeline{Call: f.call.ID, Known: f.known, Trail: f.trail, Items: []history.Event{}}
	if !f.known {
		return out, nil
	}
	events, err := d.deps.Journal.Timeline(f.call.ID)
	out.Items = orEmpty(events)
	return out, err
}

// shortFollow is how long is meant where nothing is said.
const shortFollow = 10 * time.Minute

// follow reads what is asked for.
func (d trails) follow(ctx context.Context, ask api.LogAsk) (f api.LogFollow, err error) {
	f = api.LogFollow{Tenant: ownership.TenantID(strings.ToLower(ask.Tenant)), Node: ownership.NodeID(ask.Node), Level: ask.Level, By: cut(caller(ctx).Name, 250)}
	length := shortFollow
	if ask.For != "" {
		if length, err = time.ParseDuration(ask.For); err != nil || length <= 0 {
			return f, fmt.Errorf("for is %q: write a time such as 10m or 2h", ask.For)
		}
	}
	if ask.Call != "" {
		if f.Call, err = ownership.ParseCallID(ask.Call); err != nil {
			return f, err
		}
	}
	if _, ok := d.deps.Table.Node(f.Node); f.Node != "" && !ok {
		return f, fmt.Errorf("the region has no node %q", f.Node)
	}
	f.Until = d.now().UTC().Add(length)
	switch ask.Level {
	case "off":
		f.Level, f.Until = "debug", d.now().UTC()
	case "":
		f.Level = "debug"
	}
	note(ctx, fmt.Sprintf("call %q tenant %q node %q at level %s for %s", f.Call, f.Tenant, f.Node, ask.Level, length))
	return f, nil
}

// witnessIn is the time that other regions have to tell what they remember.
const witnessIn = gatherIn

// testimony is one region's answer about what an id names.
type testimony struct {
	answerOf
	known bool
	api.Trail
}

// read takes the parts of an answer that are joined with those of other regions.
func (a answerOf) read() testimony {
	t := testimony{answerOf: a}
	var part struct {
		Known *bool `json:"known"`
		api.Trail
	}
	if t.err == nil {
		if t.err = json.Unmarshal(a.body, &part); t.err == nil {
			t.known = part.Known == nil || *part.Known // older software answers for calls of its table only
			t.Trail = part.Trail
		}
	}
	return t
}

// witness answers with what the region says that knows a call, and with the steps that all
// regions remember: a redirect leads from one to another. Regions that are down are not
// waited for.
func (x *abroad) witness(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	paths, missing := map[ownership.Region]string{}, []api.TrailNode{}
	for _, there := range x.regions() {
		switch {
		case there.Here:
		case there.Healthy:
			paths[there.Name] = hence(r, "region")
		default:
			missing = append(missing, api.TrailNode{Region: there.Name, Error: "none of its doors answers"})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, witnessIn)
	defer cancel()
	coming := x.askAll(ctx, paths)
	own := x.askSelf(ctx, r, hence(r, "region")).read()
	all := []testimony{own}
	unsure := len(missing) > 0
	for range paths {
		t := (<-coming).read()
		if t.err == nil {
			all = append(all, t)
			continue
		}
		if t.status == http.StatusNotFound || t.status == http.StatusBadRequest {
			continue // it knows nothing of it
		}
		unsure = true
		missing = append(missing, api.TrailNode{Region: t.region, Error: t.err.Error()})
	}
	best := slices.IndexFunc(all, func(t testimony) bool { return t.err == nil && t.known })
	if best < 0 {
		best = slices.IndexFunc(all, func(t testimony) bool { return t.err == nil })
	}
	switch {
	case best >= 0:
		x.join(w, all, best, missing)
	case unsure && (own.status == http.StatusNotFound || own.status == http.StatusBadRequest):
		refuseWith(w, unavailable(fmt.Sprintf("%s, and not all others can be asked: %s.", own.err, missing[0].Error)))
	default:
		passOn(w, &http.Response{StatusCode: own.status, Header: own.header, Body: own.reader()}, x.self)
	}
}

// join writes the best answer with the steps of all.
func (x *abroad) join(w http.ResponseWriter, all []testimony, best int, missing []api.TrailNode) {
	whole := api.Trail{Steps: all[best].Steps, Nodes: all[best].Nodes, Calls: all[best].Calls, More: all[best].More}
	for i, t := range all {
		if i != best && t.err == nil {
			whole.Steps, whole.Nodes = append(whole.Steps, t.Steps...), append(whole.Nodes, t.Nodes...)
			whole.More = whole.More || t.More
			for _, c := range t.Calls {
				if !slices.Contains(whole.Calls, c) {
					whole.Calls = append(whole.Calls, c)
				}
			}
		}
	}
	whole.Nodes = append(whole.Nodes, missing...)
	whole.Sort()
	body := map[string]json.RawMessage{}
	text, err := json.Marshal(whole)
	for _, part := range [][]byte{all[best].body, text} {
		if err == nil {
			err = json.Unmarshal(part, &body)
		}
	}
	if err != nil {
		writeProblem(w, http.StatusBadGateway, fmt.Sprintf("joining what the regions remember: %v", err))
		return
	}
	for name, values := range all[best].header {
		if len(name) > 7 && name[:7] == "Tandem-" {
			w.Header()[name] = values
		}
	}
	if region := all[best].region; region != x.self {
		w.Header().Set("Tandem-Region", string(region))
	}
	writeJSON(w, http.StatusOK, body)
}
