package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-metrics"
	sink "github.com/hashicorp/go-metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/pulse"
	"tandem/store/record"
)

// gauges are what the whole node knows of itself at the moment of a scrape. The other rooms
// count what they do themselves.
type gauges struct{ *Node }

var (
	buildInfo     = prometheus.NewDesc("tandem_build_info", "1, with what runs here: software version, Go version, and the newest command format that it reads.", []string{"node", "region", "version", "go", "format"}, nil)
	liveCalls     = prometheus.NewDesc("tandem_calls", "Calls of this node that have not ended, by app and state: those it acts for (claimed, answered) and those its bot is to rejoin (orphaned).", []string{"app", "state"}, nil)
	nodeCapacity  = prometheus.NewDesc("tandem_node_capacity", "Live calls that this node may hold, by its configuration.", nil, nil)
	draining      = prometheus.NewDesc("tandem_node_draining", "1 while this node takes no new calls because it drains.", nil, nil)
	leaseValid    = prometheus.NewDesc("tandem_lease_valid", "1 while this node may act as owner.", nil, nil)
	leaseLeft     = prometheus.NewDesc("tandem_lease_left_seconds", "How long this node may act without another renewal; 0: it may not.", nil, nil)
	leaderKnown   = prometheus.NewDesc("tandem_region_leader", "1 while this node knows of a leader of its region.", nil, nil)
	votersCount   = prometheus.NewDesc("tandem_region_voters", "Nodes of the region that vote.", nil, nil)
	raftLag       = prometheus.NewDesc("tandem_raft_lag_entries", "Entries of the raft log that are committed here and not yet in the table.", nil, nil)
	raftContact   = prometheus.NewDesc("tandem_raft_last_contact_seconds", "How long ago the leader was last heard; 0 on the leader.", nil, nil)
	tableLag      = prometheus.NewDesc("tandem_table_lag_entries", "Entries that are in the table and not yet in its file.", nil, nil)
	diskSync      = prometheus.NewDesc("tandem_disk_sync_seconds", "How long the last write of a few bytes took to reach the disk of the raft log.", nil, nil)
	diskAge       = prometheus.NewDesc("tandem_disk_sync_age_seconds", "How long ago a write last reached the disk of the raft log.", nil, nil)
	diskTrouble   = prometheus.NewDesc("tandem_disk_trouble", "1 while the data directory takes no writes, or has not for a second.", nil, nil)
	diskFree      = prometheus.NewDesc("tandem_disk_free_bytes", "What the disk of the data directory still takes. Absent: it cannot be told.", nil, nil)
	snapshotAt    = prometheus.NewDesc("tandem_snapshot_timestamp_seconds", "When the newest snapshot of the table on this node was made, as Unix time; 0: there is none.", nil, nil)
	versionHalted = prometheus.NewDesc("tandem_bot_version_halted", "1 for each version of an app's bot that is halted.", []string{"app", "version"}, nil)
	differing     = prometheus.NewDesc("tandem_settings_differing", "Settings of nodes of the region that are not the leader's and must be.", nil, nil)
)

// open registers them, with those of the admin door and of raft.
func (n gauges) open(context.Context) error {
	all := []prometheus.Collector{n, n.private.Gauges()}
	if n.ownRegistry {
		all = append(all, raftMetrics())
	}
	for _, c := range all {
		if err := n.cfg.Registry.Register(c); err != nil {
			return fmt.Errorf("registering the node's gauges: %w", err)
		}
		n.stops.add("gauges", func() { n.cfg.Registry.Unregister(c) })
	}
	return nil
}

// raftForgets is when a number of raft's that nothing brings up to date any more goes: what a
// former leader said of its voters is an alarm that nobody could end.
const raftForgets = 5 * time.Minute

// raftMetrics are raft's own, of the whole process: raft knows one sink.
var raftMetrics = sync.OnceValue(func() prometheus.Collector {
	s, err := sink.NewPrometheusSinkFrom(sink.PrometheusOpts{Registerer: prometheus.NewRegistry(), Expiration: raftForgets})
	if err != nil {
		panic(err) // the registry is new
	}
	cfg := metrics.DefaultConfig("")
	cfg.EnableHostname, cfg.EnableRuntimeMetrics = false, false
	if _, err := metrics.NewGlobal(cfg, s); err != nil {
		panic(err) // it cannot fail
	}
	return s
})

// Describe implements prometheus.Collector.
func (n gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{buildInfo, liveCalls, nodeCapacity, draining, leaseValid, leaseLeft, leaderKnown, votersCount, raftLag, raftContact, tableLag,
		diskSync, diskAge, diskTrouble, diskFree, snapshotAt, differing, versionHalted} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (n gauges) Collect(to chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := n.region.Status()
	tell(buildInfo, 1, n.cfg.Node.ID, n.cfg.Node.Region, n.cfg.Version, runtime.Version(), strconv.Itoa(int(record.CommandFormat)))
	census := n.table.Census(n.ID())
	for _, a := range n.cfg.Apps { // also those without a call, so that a series never ends
		app := ownership.AppID(a.ID)
		if census[app] == nil {
			census[app] = nil
		}
	}
	for app, states := range census {
		for _, state := range []ownership.CallState{ownership.CallClaimed, ownership.CallAnswered, ownership.CallOrphaned} {
			tell(liveCalls, float64(states[state]), string(app), state.String())
		}
	}
	tell(nodeCapacity, float64(n.cfg.Node.Capacity))
	me, _ := n.table.Node(n.ID())
	tell(draining, one(me.State == ownership.NodeDraining))
	tell(leaseValid, one(s.Leased))
	tell(leaseLeft, max(s.LeaseLeft, 0).Seconds())
	tell(leaderKnown, one(s.Leader != ""))
	tell(votersCount, float64(voters(s)))
	tell(raftLag, float64(s.Commit-min(s.Applied, s.Commit)))
	tell(raftContact, s.LastContact.Seconds())
	tell(tableLag, float64(s.Applied-min(n.table.Durable(), s.Applied)))
	tell(diskSync, s.DiskSync.Seconds())
	tell(diskAge, s.DiskAge.Seconds())
	tell(diskTrouble, one(diskTroubleOf(s) != ""))
	if free, err := n.store.Free(); err == nil {
		tell(diskFree, float64(free))
	}
	tell(snapshotAt, unix(n.store.SnapshotAt()))
	tell(differing, float64(len(s.Differs)))
	for _, r := range n.table.Rollouts() {
		if r.Halted {
			tell(versionHalted, 1, string(r.App), r.Version)
		}
	}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// unix writes a time as a metric does; 0: there is none.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// topicPulse asks nodes how they were in the last hour. api.PulseAsk: api.PulseNode
const topicPulse = "pulse"

// pulses is the part of a node that remembers how it was.
type pulses struct{ *Node }

// open begins to take readings.
func (n pulses) open(ctx context.Context) error {
	n.stops.addRunning(ctx, "pulse", func(ctx context.Context) {
		each := time.NewTicker(pulse.Step)
		defer each.Stop()
		for {
			if err := n.pulse.Beat(); err != nil {
				n.log.Debug("taking the pulse; the next one comes", "err", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-each.C:
			}
		}
	})
	return nil
}

// consulted answers another node of the region, see cluster.Deps.
func (n pulses) consulted(ctx context.Context, topic string, body []byte) ([]byte, error) {
	if topic != topicPulse {
		return ruling(n).consulted(ctx, topic, body)
	}
	var ask api.PulseAsk
	if err := json.Unmarshal(body, &ask); err != nil {
		return nil, fmt.Errorf("reading what of the last hour is asked for: %w", err)
	}
	if ask.Node != "" && ask.Node != n.ID() {
		return json.Marshal(api.PulseNode{Node: n.ID()})
	}
	return json.Marshal(n.own(min(ask.Points, pulse.Kept)))
}

// own is what this node says of itself.
func (n pulses) own(points int) api.PulseNode {
	out := api.PulseNode{Node: n.ID()}
	out.Samples = n.pulse.Last(points)
	select {
	case <-n.opened:
	default: // it is about to start
		return out
	}
	for app, fit := range n.dispatcher.Health() {
		out.Bots = append(out.Bots, api.PulseBot{App: app, Healthy: fit.Bot})
	}
	slices.SortFunc(out.Bots, func(a, b api.PulseBot) int { return cmp.Compare(a.App, b.App) })
	for _, e := range ends(n).endings() {
		out.Ends = append(out.Ends, api.End{What: e.key, At: e.at})
	}
	slices.SortFunc(out.Ends, func(a, b api.End) int { return a.At.Compare(b.At) })
	return out
}

// of asks the region's nodes, or one of them.
func (n pulses) of(ctx context.Context, ask api.PulseAsk) (all []api.PulseNode) {
	question, err := json.Marshal(ask)
	if err != nil {
		return nil // of a name and a number: it cannot fail
	}
	for c, one := range consult[api.PulseNode](ctx, n.Node, topicPulse, question) {
		if ask.Node != "" && c.Node != ask.Node {
			continue
		}
		if c.Err != nil {
			one = api.PulseNode{Node: c.Node, Error: c.Err.Error()}
		}
		one.Node = c.Node
		all = append(all, one)
	}
	return all
}
