package cluster

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/ownership"
)

// metrics are the counters of this room. They count whether or not somebody
// registered them.
type metrics struct {
	leader    prometheus.Gauge
	claims    *prometheus.CounterVec
	batches   prometheus.Histogram
	renewals  *prometheus.CounterVec
	failovers prometheus.Counter
	relays    *prometheus.CounterVec
	refused   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		leader: prometheus.NewGauge(prometheus.GaugeOpts{Name: "tandem_cluster_leader", Help: "1 while this node leads its region."}),
		claims: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tandem_cluster_claims_total", Help: "Claims of new calls asked for on this node, by result."}, []string{"result"}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tandem_cluster_claims_per_entry", Help: "Claims combined in one raft entry.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tandem_cluster_renewals_total", Help: "Lease renewals of this node, by result."}, []string{"result"}),
		failovers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tandem_cluster_failovers_total", Help: "Silent nodes whose partitions this leader gave to others."}),
		relays: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tandem_cluster_relays_total", Help: "Notifications relayed to another node, by result."}, []string{"result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tandem_cluster_refused_total", Help: "Connections and messages refused on the cluster port, by reason."}, []string{"reason"}),
	}
	if reg == nil {
		return m, nil
	}
	for i, c := range m.all() {
		if err := reg.Register(c); err != nil {
			for _, done := range m.all()[:i] {
				reg.Unregister(done)
			}
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.leader, m.claims, m.batches, m.renewals, m.failovers, m.relays, m.refused}
}

func (m *metrics) unregister(reg prometheus.Registerer) {
	if reg == nil {
		return
	}
	for _, c := range m.all() {
		reg.Unregister(c)
	}
}

func (m *metrics) refuse(why string) { m.refused.WithLabelValues(why).Inc() }

func (m *metrics) claim(err error) {
	switch {
	case err == nil:
		m.claims.WithLabelValues("placed").Inc()
	case errors.Is(err, ownership.ErrFull):
		m.claims.WithLabelValues("full").Inc()
	case errors.Is(err, ownership.ErrNoBot):
		m.claims.WithLabelValues("no_bot").Inc()
	case errors.Is(err, ownership.ErrNoLeader):
		m.claims.WithLabelValues("no_leader").Inc()
	default:
		m.claims.WithLabelValues("failed").Inc()
	}
}
