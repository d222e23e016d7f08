package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"tandem/admin/api"
	"tandem/forecast"
	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/policy"
)

// pastEvents is how far back the lengths of calls are learnt.
const pastEvents = 50_000

// evacuations shows the admin door what it means to evacuate a region.
type evacuations struct{ *Node }

// Plan implements admin.Evacuations.
func (n evacuations) Plan(ctx context.Context, to []ownership.Region) (api.Evacuation, error) {
	here := n.Region()
	e := api.Evacuation{Region: here, To: to, AsOf: n.now().UTC()}
	now, evacuated := n.rules.InForce().Evacuated[here]
	if evacuated && (len(to) == 0 || slices.Equal(to, now.To)) {
		e.Evacuated, e.To = true, now.To
		e.Since, e.By, e.Note = n.since(here)
	} else if len(to) == 0 {
		e.To = n.StandIns(here)
	}
	q := forecast.Question{Room: n.rooms()}
	for c, err := range n.table.Each(ownership.CallFilter{}) {
		if err != nil {
			return e, fmt.Errorf("counting the live calls: %w", err)
		}
		if c.State != ownership.CallEnded {
			q.Live = append(q.Live, forecast.Live{Tenant: string(c.Tenant), Age: e.AsOf.Sub(c.ClaimedAt)})
		}
	}
	var err error
	if q.Ended, err = n.lengths(); err != nil {
		return e, err
	}
	if len(e.To) == 0 {
		e.Missing = append(e.Missing, "no other region is well that could take its calls")
	} else {
		text, _, err := n.Text(here, e.To)
		if err != nil {
			return e, err
		}
		n.traffic(ctx, topicRulesDiff, text, &e, &q)
	}
	e.Plan = forecast.Evacuate(q)
	return e, nil
}

// Lose implements admin.Evacuations. Of the region's calls it knows what that told last.
func (n evacuations) Lose(ctx context.Context, region ownership.Region) (api.Evacuation, error) {
	e := api.Evacuation{Region: region, Lost: true, AsOf: n.now().UTC()}
	q := forecast.Question{Room: n.rooms()}
	delete(q.Room, string(region))
	var err error
	if q.Ended, err = n.lengths(); err != nil {
		return e, err
	}
	n.traffic(ctx, topicLost, string(region), &e, &q)
	e.Plan = forecast.Evacuate(q)
	for _, r := range n.regions.Regions() {
		if r.Name == region {
			e.Live = r.Live
		}
	}
	return e, nil
}

// Forecast implements admin.Evacuations.
func (n evacuations) Forecast(ctx context.Context, id ownership.NodeID) (api.NodeForecast, error) {
	rec, ok := n.table.Node(id)
	if !ok {
		return api.NodeForecast{}, fmt.Errorf("node %s: %w", id, ownership.ErrUnknown)
	}
	f := api.NodeForecast{Node: id, State: rec.State, AsOf: n.now().UTC()}
	var q forecast.Question
	for c, err := range n.table.Each(ownership.CallFilter{Node: id}) {
		if err != nil {
			return f, fmt.Errorf("counting the live calls: %w", err)
		}
		switch {
		case c.State == ownership.CallEnded:
			continue
		case c.State == ownership.CallClaimed:
			f.Ringing++
		case c.Pinned:
			f.Bound++
		default:
			f.Movable++
		}
		q.Live = append(q.Live, forecast.Live{Tenant: string(c.Tenant), Age: f.AsOf.Sub(c.ClaimedAt)})
	}
	var err error
	if q.Ended, err = n.lengths(); err != nil {
		return f, err
	}
	p := forecast.Evacuate(q)
	f.Live, f.Tenants, f.Ages, f.Ends = p.Live, p.Tenants, p.Ages, p.Ends
	f.Room, f.Needs = n.room(id), f.Movable+f.Ringing
	f.Enough = f.Room >= f.Needs
	return f, nil
}

// room is what the region's active nodes can take, but for one.
func (n evacuations) room(but ownership.NodeID) (room int) {
	for _, node := range n.table.Nodes() {
		if node.State == ownership.NodeActive && node.ID != but {
			room += max(0, node.Capacity-n.table.Live(node.ID))
		}
	}
	return room
}

// traffic has the nodes hold a change against the calls that they remember.
func (n evacuations) traffic(ctx context.Context, topic, change string, e *api.Evacuation, q *forecast.Question) {
	d, routes := adminRules(n).routes(ctx, topic, change)
	e.Recorded, e.From = d.Recorded, d.Since
	e.Missing = append(e.Missing, d.Missing...)
	for _, r := range routes {
		q.Traffic = append(q.Traffic, forecast.Routed{Before: string(r.From), After: string(r.To), Why: r.Why, Calls: r.Calls})
	}
	if !d.Since.IsZero() {
		q.Over = e.AsOf.Sub(d.Since)
	}
}

// Text implements admin.Evacuations.
func (n evacuations) Text(region ownership.Region, to []ownership.Region) (string, uint64, error) {
	mark, text := n.rules.Newest(), ""
	found := mark.Number == 0
	if found {
		out, err := yaml.Marshal(n.rules.InForce().Document)
		if err != nil {
			return "", 0, fmt.Errorf("writing the rules of the configuration: %w", err)
		}
		text = string(out)
	}
	for _, v := range n.table.Rules() {
		if v.Number == mark.Number && v.Digest == mark.Digest {
			text, found = v.Text, true
		}
	}
	if !found { // never write an evacuation into nothing: it would take all rules away
		return "", 0, fmt.Errorf("changing rules %d: they are being replaced: %w", mark.Number, ownership.ErrConflict)
	}
	text, err := policy.Evacuate(text, region, to)
	if err != nil {
		return "", 0, fmt.Errorf("changing rules %d: %w: %w", mark.Number, err, ownership.ErrConflict)
	}
	return text, mark.Number, nil
}

// since says who evacuated a region that is evacuated now, and when: the oldest version
// of the rules from which on all say so.
func (n evacuations) since(region ownership.Region) (at time.Time, by, note string) {
	for _, v := range slices.Backward(n.table.Rules()) {
		c, err := policy.ReadDocument([]byte(v.Text))
		if err != nil {
			continue // of newer software
		}
		if _, evacuated := c.Evacuated[region]; !evacuated {
			break
		}
		at, by, note = v.At, v.By, v.Note
	}
	return at, by, note
}

// StandIns implements admin.Evacuations.
func (n evacuations) StandIns(but ownership.Region) (names []ownership.Region) {
	rooms := n.rooms()
	for r := range rooms {
		if r != string(but) {
			names = append(names, ownership.Region(r))
		}
	}
	slices.Sort(names)
	slices.SortStableFunc(names, func(a, b ownership.Region) int { return rooms[string(b)] - rooms[string(a)] })
	return names
}

// rooms is what each region that answers can take.
func (n evacuations) rooms() map[string]int {
	rooms := map[string]int{}
	for _, r := range n.regions.Regions() {
		if r.Healthy && !r.Partial {
			rooms[string(r.Name)] = max(0, r.Capacity-r.Live)
		}
	}
	rooms[string(n.Region())] = n.room("")
	return rooms
}

// lengths are how long the calls lasted that ended within the last events of the history.
func (n evacuations) lengths() ([]time.Duration, error) {
	latest, err := n.table.Latest(pastEvents)
	if err != nil {
		return nil, fmt.Errorf("reading how long calls lasted: %w", err)
	}
	claimed := map[ownership.CallID]time.Time{}
	var all []time.Duration
	for _, e := range latest {
		switch e.Kind {
		case history.Claimed:
			claimed[e.Call] = e.At
		case history.Ended:
			if at, ok := claimed[e.Call]; ok {
				all = append(all, e.At.Sub(at))
				delete(claimed, e.Call)
			}
		}
	}
	return all, nil
}
