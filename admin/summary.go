package admin

import (
	"fmt"
	"slices"

	"tandem/admin/api"
	"tandem/ownership"
)

// summary is what this region tells the others, as this node knows it.
func (d *Door) summary() api.Summary {
	s := d.figures()
	s.NodesList, s.Doors = d.summaryNodes()
	if n := len(s.NodesList); n > api.SummaryNodes {
		s.NodesList, s.LeftOut = s.NodesList[:api.SummaryNodes], fmt.Sprintf("%d of %d nodes. ", n-api.SummaryNodes, n)
	}
	owners, n := map[ownership.NodeID][][2]uint64{}, 0
	for _, p := range d.deps.Table.Partitions() {
		if !p.Retired {
			owners[p.Owner] = append(owners[p.Owner], [2]uint64{uint64(p.ID), uint64(p.Epoch)})
			n++
		}
	}
	if n <= api.SummaryPartitions {
		s.Partitions = owners
	} else {
		s.LeftOut += fmt.Sprintf("All %d partitions.", n)
	}
	return s
}

// figures are the part of a summary that changes with each call.
func (d *Door) figures() api.Summary {
	leader := d.deps.Cluster.Status().Leader
	s := api.Summary{
		Deployment: d.cfg.Deployment, Region: d.cfg.Region, AsOf: d.now().UTC(), TableVersion: d.deps.Table.Applied(),
		Node: d.cfg.Node, Leader: leader, Format: d.deps.Table.Format(), Apps: d.deps.Cluster.Fitness().Rooms,
	}
	if d.deps.Rules != nil {
		s.Rules = d.deps.Rules()
	}
	regard := d.regard()
	for _, n := range d.deps.Table.Nodes() {
		if n.State == ownership.NodeGone {
			continue
		}
		live := d.deps.Table.Live(n.ID)
		s.Nodes++
		s.Live += live
		if standing, _ := regard.standing(n, 0); standing == api.NodeSilent {
			continue // it takes nothing, and holds nothing that can be counted on
		}
		s.Capacity += n.Capacity
		if n.State == ownership.NodeActive {
			s.Active++
			for _, overdue := range d.deps.Table.Overdue(n.ID, d.now()) {
				live -= overdue // they take no place, see ownership.Place
			}
			s.Room += max(0, n.Capacity-live)
		}
	}
	s.Healthy = leader != "" && s.Room > 0
	if len(s.Apps) > 0 { // sick or full bots are no place for a call, whatever the nodes could hold
		s.Healthy = s.Healthy && slices.ContainsFunc(s.Apps, func(a ownership.AppRoom) bool { return a.Room > 0 })
	}
	return s
}

// summaryNodes returns the nodes, and the admin URLs of those that are not gone.
func (d *Door) summaryNodes() (all []api.SummaryNode, doors []string) {
	regard := d.regard()
	for _, n := range d.deps.Table.Nodes() {
		one := api.SummaryNode{
			ID: n.ID, State: n.State.String(), Zone: n.Zone, PublicURL: n.PublicURL, AdminURL: n.AdminURL, Cluster: n.ClusterAddr, Version: n.Version,
		}
		if n.State != ownership.NodeGone {
			if standing, _ := regard.standing(n, 0); standing == api.NodeSilent {
				one.State = standing
			}
			if n.AdminURL != "" {
				doors = append(doors, n.AdminURL)
			}
		}
		all = append(all, one)
	}
	return all, doors
}
