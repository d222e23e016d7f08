package console

import (
	"errors"
	"net/http"
	"slices"

	"tandem/admin/api"
	"tandem/ownership"
)

// Nodes is the list of nodes.
type Nodes struct {
	Items    []api.Node
	Versions []BotVersion
	Asked    *BotVersion // whose rule is to change; nil: none's
	Others   []BotVersion
}

// NodePage is the page of one node.
type NodePage struct {
	api.Node
	Versions []BotVersion // of the bots beside it
	Owned    []api.PartitionIn
	Room     []ownership.AppRoom // of the region, app by app
	Pulse    *api.PulseNode      // what it says of itself; nil: it was not asked
	Forecast *api.NodeForecast   // what its drain or its loss would bring, where somebody thinks of it
	Calls    []CallRow
	More     bool // calls
}

// nodes is the list of nodes, or the page of one.
func nodes(a *asking) (string, any, error) {
	if a.id == "" {
		var all api.List[api.Node]
		_, err := a.get(&all, "/v1/nodes")
		slices.SortStableFunc(all.Items, func(a, b api.Node) int { return trouble(a) - trouble(b) })
		if err != nil {
			return "", nil, err
		}
		out := Nodes{Items: all.Items}
		if out.Versions, err = botVersions(a); err == nil {
			out.ask(a.q)
		}
		return "nodes", out, err
	}
	out := NodePage{}
	if _, err := a.get(&out.Node, v1("nodes", a.id)); err != nil {
		return "", nil, err
	}
	var all api.List[api.PartitionIn]
	if _, err := a.get(&all, "/v1/partitions"); err != nil {
		return "", nil, err
	}
	owners := map[ownership.PartitionID]ownership.NodeID{}
	for _, p := range all.Items {
		if owners[p.ID] = p.Owner; p.Owner == out.ID && !p.Retired {
			out.Owned = append(out.Owned, p)
		}
	}
	if act := a.q.Get("act"); act == "drain" || act == "remove" {
		out.Forecast = &api.NodeForecast{}
		switch _, err := a.get(out.Forecast, v1("nodes", a.id, "forecast")); {
		case act == "remove" && missing(err): // of a node that is gone for long nobody can tell more
			out.Forecast = &api.NodeForecast{Node: out.ID, Live: out.Live, Bound: out.Live, Enough: true}
		case err != nil:
			return "", nil, err
		}
	}
	page, err := a.liveFirst(Query{Node: a.id})
	if err != nil {
		return "", nil, err
	}
	for _, c := range page.Items[:min(10, len(page.Items))] {
		out.Calls = append(out.Calls, rowOf(c, owners))
	}
	out.More = len(page.Items) > 10
	versions, err := botVersions(a)
	if err != nil {
		return "", nil, err
	}
	out.Versions = slices.DeleteFunc(versions, func(v BotVersion) bool { return !slices.Contains(v.Nodes, out.ID) })
	var pulses api.Pulse
	switch _, err := a.get(&pulses, "/v1/pulse", "node", a.id, "points", "1"); {
	case err != nil && !missing(err):
		return "", nil, err
	case len(pulses.Nodes) == 1:
		out.Pulse = &pulses.Nodes[0]
	}
	var regions api.List[api.Region]
	if _, err := a.get(&regions, "/v1/regions"); err != nil {
		return "", nil, err
	}
	if i := slices.IndexFunc(regions.Items, func(r api.Region) bool { return r.Here }); i >= 0 {
		out.Room = regions.Items[i].Apps
	}
	return "node", out, nil
}

// trouble is the order of the list: who needs somebody comes first, who is gone last.
func trouble(n api.Node) int {
	return slices.Index([]string{api.NodeSilent, api.NodeUnknown, "draining", "active", "gone"}, n.Standing)
}

// missing reports whether a part of a page is not there on this node, or not now.
func missing(err error) bool {
	var told *Refusal
	return errors.As(err, &told) && (told.Status == http.StatusNotImplemented || told.Status == http.StatusNotFound || told.Status/100 == 5)
}

// Partitions is the list of partitions.
type Partitions struct {
	Items   []api.PartitionIn
	Retired int
	Node    string // of this owner only
}

// PartitionPage is the page of one.
type PartitionPage struct {
	api.PartitionIn
	Calls []CallRow
	More  bool
	Nodes []api.Node // it can go to
}

func partitions(a *asking) (string, any, error) {
	var all api.List[api.PartitionIn]
	if a.id == "" {
		out := Partitions{Node: a.q.Get("node")}
		if _, err := a.get(&all, "/v1/partitions"); err != nil {
			return "", nil, err
		}
		for _, p := range all.Items {
			switch {
			case p.Retired:
				out.Retired++
			case out.Node == "" || out.Node == string(p.Owner):
				out.Items = append(out.Items, p)
			}
		}
		return "partitions", out, nil
	}
	out := PartitionPage{}
	if _, err := a.get(&out.Partition, v1("partitions", a.id)); err != nil {
		return "", nil, err
	}
	if _, err := a.get(&all, "/v1/partitions"); err != nil {
		return "", nil, err
	}
	owners := map[ownership.PartitionID]ownership.NodeID{out.ID: out.Owner}
	for _, p := range all.Items {
		if p.ID == out.ID {
			out.Moved = p.Moved
		}
	}
	page, err := a.liveFirst(Query{Partition: a.id})
	if err != nil {
		return "", nil, err
	}
	for _, c := range page.Items[:min(20, len(page.Items))] {
		out.Calls = append(out.Calls, rowOf(c, owners))
	}
	out.More = len(page.Items) > 20 || page.Next != ""
	var nodes api.List[api.Node]
	if _, err := a.get(&nodes, "/v1/nodes"); err != nil {
		return "", nil, err
	}
	out.Nodes = slices.DeleteFunc(nodes.Items, func(n api.Node) bool { return n.ID == out.Owner || n.Standing != "active" })
	return "partition", out, nil
}

// RegionPage is the page of one region.
type RegionPage struct {
	api.Region
	Plan   *api.Evacuation // how far its evacuation is, or what one would bring
	NoPlan string          // why it is not there
	Others []api.Region    // that could stand in
	To     []string        // chosen
	Lost   bool
}

func regions(a *asking) (string, any, error) {
	var all api.List[api.Region]
	if _, err := a.get(&all, "/v1/regions"); err != nil {
		return "", nil, err
	}
	if a.id == "" {
		return "regions", all.Items, nil
	}
	i := slices.IndexFunc(all.Items, func(r api.Region) bool { return string(r.Name) == a.id })
	if i < 0 {
		return "", nil, &Refusal{http.StatusNotFound, "There is no region “" + cut(a.id, 64) + "”."}
	}
	out := RegionPage{Region: all.Items[i], Others: slices.Delete(slices.Clone(all.Items), i, i+1), To: a.q["to"], Lost: a.q.Get("lost") != ""}
	query := []string{}
	for _, to := range out.To {
		query = append(query, "to", to)
	}
	if out.Lost {
		query = append(query, "lost", "true")
	}
	plan := &api.Evacuation{}
	switch _, err := a.get(plan, v1("regions", a.id, "evacuation"), query...); {
	case err == nil:
		out.Plan = plan
	case missing(err) || statusOf(err) == http.StatusConflict:
		out.NoPlan = err.Error()
	default:
		return "", nil, err
	}
	return "region", out, nil
}

// Chosen reports whether a region is among those that would stand in.
func (r RegionPage) Chosen(name ownership.Region) bool {
	if len(r.To) > 0 {
		return slices.Contains(r.To, string(name))
	}
	return r.Plan != nil && slices.Contains(r.Plan.To, name)
}
