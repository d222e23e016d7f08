package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"tandem/admin/api"
)

// gauges show in numbers what the door says of its region.
type gauges struct{ *Door }

var (
	regionNodes    = prometheus.NewDesc("tandem_region_nodes", "Nodes of the region by how they are now, as this node knows it (active, draining, silent, unknown).", []string{"standing"}, nil)
	regionLive     = prometheus.NewDesc("tandem_region_live_calls", "Live calls in the region.", nil, nil)
	regionCapacity = prometheus.NewDesc("tandem_region_capacity", "Live calls that the region's nodes may hold, silent ones not counted.", nil, nil)
	regionRoom     = prometheus.NewDesc("tandem_region_room", "New calls of an app that the region can take, as the leader said last. Absent: it is not known.", []string{"app"}, nil)
	promiseHolds   = prometheus.NewDesc("tandem_promise_holds", "1 while a promise of /v1/guarantees holds, 0 while it does not. Absent: this node cannot tell.", []string{"promise"}, nil)
)

// Gauges returns a collector of the region's figures and promises, as this node sees them.
func (d *Door) Gauges() prometheus.Collector { return gauges{d} }

// Describe implements prometheus.Collector.
func (g gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{regionNodes, regionLive, regionCapacity, regionRoom, promiseHolds} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(to chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	standing := map[string]int{"active": 0, "draining": 0, api.NodeSilent: 0, api.NodeUnknown: 0}
	for _, n := range g.nodes() {
		standing[n.Standing]++
	}
	delete(standing, "gone")
	for word, n := range standing {
		tell(regionNodes, float64(n), word)
	}
	sum := g.figures()
	tell(regionLive, float64(sum.Live))
	tell(regionCapacity, float64(sum.Capacity))
	for _, a := range sum.Apps {
		tell(regionRoom, float64(a.Room), string(a.App))
	}
	for _, p := range g.promises() {
		switch {
		case p.Holds:
			tell(promiseHolds, 1, p.Name)
		case !p.Unknown:
			tell(promiseHolds, 0, p.Name)
		}
	}
}
