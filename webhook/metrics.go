package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are the door's metrics. Their label values are fixed sets, so no
// request can make a new series.
type counters struct {
	requests map[outcome]prometheus.Counter
	decision prometheus.Histogram
	whole    prometheus.Histogram
	hops     map[string]prometheus.Counter
	handed   map[string]prometheus.Counter
	asGet    prometheus.Counter
	future   prometheus.Counter
	partly   prometheus.Counter
	unknown  prometheus.Counter
	crowded  prometheus.Counter
	inFlight prometheus.Gauge
}

// The kinds of hops.
const (
	hopRegion      = "region"
	hopNode        = "node"
	hopRelay       = "relay"
	hopRegionRelay = "region_relay"
)

// The ways in which a relayed notification can end at its owner.
const (
	handedOver    = "handed_over"
	handedRefused = "refused"
	handedFailed  = "bot_failed"
)

func newCounters(to prometheus.Registerer) (*counters, error) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tandem_webhook_requests_total",
		Help: "Requests at the public door by what became of them; outcome handshake counts legacy notifications (set incomingCallRoute to graphPma to save that round trip).",
	}, []string{"outcome"})
	hops := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tandem_webhook_hops_total",
		Help: "Notifications sent on: redirected to another region (region) or node (node), or relayed to another node (relay) or region (region_relay).",
	}, []string{"kind"})
	handed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tandem_webhook_relayed_in_total",
		Help: "Notifications that other nodes relayed to this one, by what became of them.",
	}, []string{"outcome"})
	c := &counters{
		requests: map[outcome]prometheus.Counter{}, hops: map[string]prometheus.Counter{}, handed: map[string]prometheus.Counter{},
		decision: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tandem_webhook_decision_seconds",
			Help:    "Time from the verified token to the decision where a notification goes, claims included, bots not.",
			Buckets: []float64{5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 100e-3, 500e-3, 1},
		}),
		whole: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tandem_webhook_request_seconds",
			Help:    "Time from the headers of a request to its answer.",
			Buckets: []float64{250e-6, 1e-3, 5e-3, 25e-3, 100e-3, 500e-3, 1, 2.5, 5, 10},
		}),
		asGet: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tandem_webhook_get_after_redirect_total",
			Help: "GET requests on the webhook: a client followed a 302 as GET and lost the body.",
		}),
		future: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tandem_webhook_future_epochs_total",
			Help: "Signed callback URIs with an epoch that this node's table has not reached: alarm, the table may have been rolled back.",
		}),
		partly: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tandem_webhook_partly_handled_total",
			Help: "Bodies with notifications of several calls of which some could not be handled.",
		}),
		unknown: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tandem_webhook_unknown_notifications_total",
			Help: "Notifications of something that is no call: on a callback URI they go to its call's owner, elsewhere nobody is told.",
		}),
		crowded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tandem_webhook_crowded_connections_total",
			Help: "Connections closed because all places, or all of their address, were taken: strangers that were idle, or newcomers where nobody was.",
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tandem_webhook_requests_in_flight",
			Help: "Requests in progress at the public door.",
		}),
	}
	for _, o := range outcomes {
		c.requests[o] = requests.WithLabelValues(string(o))
	}
	for _, r := range refusals {
		c.requests[outcome(r.code)] = requests.WithLabelValues(r.code)
	}
	for _, k := range []string{hopRegion, hopNode, hopRelay, hopRegionRelay} {
		c.hops[k] = hops.WithLabelValues(k)
	}
	for _, k := range []string{handedOver, handedRefused, handedFailed} {
		c.handed[k] = handed.WithLabelValues(k)
	}
	if to == nil {
		return c, nil
	}
	for _, m := range []prometheus.Collector{requests, hops, handed, c.decision, c.whole, c.asGet, c.future, c.partly, c.unknown, c.crowded, c.inFlight} {
		if err := to.Register(m); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// observe records how long something took since a time of the door's clock.
func observe(to prometheus.Histogram, d time.Duration) { to.Observe(d.Seconds()) }
