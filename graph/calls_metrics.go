package graph

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// actionMetrics counts Graph actions, retries folded into one.
type actionMetrics struct {
	actions *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// newActionMetrics registers them, or takes those that another app's client
// has registered.
func newActionMetrics(r prometheus.Registerer) (*actionMetrics, error) {
	m := &actionMetrics{
		actions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tandem_graph_actions_total",
			Help: "Actions on calls at Graph by op and result (ok, gone, refused, unavailable, not_permitted).",
		}, []string{"op", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tandem_graph_action_seconds",
			Help:    "Time of an action on a call at Graph, retries included.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30},
		}, []string{"op"}),
	}
	if r == nil {
		return m, nil
	}
	return m, errors.Join(register(r, &m.actions), register(r, &m.seconds))
}

// register registers a collector, or takes over the one already there.
func register[C prometheus.Collector](r prometheus.Registerer, c *C) error {
	err := r.Register(*c)
	if known, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if there, same := known.ExistingCollector.(C); same {
			*c, err = there, nil
		}
	}
	return err
}

func (m *actionMetrics) done(op, result string, took time.Duration) {
	m.actions.WithLabelValues(op, result).Inc()
	m.seconds.WithLabelValues(op).Observe(took.Seconds())
}
