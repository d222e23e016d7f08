package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// witnessIn is the time that other regions have to tell what they remember.
const witnessIn = 2 * time.Second

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
