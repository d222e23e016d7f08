package bot

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/ownership"
)

type metrics struct {
	handOvers     *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
	repeats       *prometheus.CounterVec
	late          prometheus.Counter
	untold        *prometheus.CounterVec
	answerTime    prometheus.Histogram
	lost          prometheus.Counter
	beats         *prometheus.CounterVec
	recordRetries *prometheus.CounterVec
	healthy       *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer, d *Dispatcher) (*metrics, error) {
	m := &metrics{
		handOvers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_bot_hand_overs_total",
			Help: "Hand-overs to the bot by event and result (ok, refused, failed, unreachable, timeout, reply)."}, []string{"event", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "tandem_bot_hand_over_seconds",
			Help: "Time the bot took.", Buckets: prometheus.ExponentialBuckets(.001, 2.5, 10)}, []string{"event"}),
		repeats: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_bot_repeats_total",
			Help: "Notifications that had been taken before and got the first reply."}, []string{"event"}),
		late: prometheus.NewCounter(prometheus.CounterOpts{Name: "tandem_bot_late_total",
			Help: "Notifications after the end of their call, taken and dropped."}),
		untold: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_bot_untold_total",
			Help: "Tandem's own events that the bot never took."}, []string{"event"}),
		answerTime: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "tandem_answer_seconds",
			Help:    "Time from the first notification of a call to its accepted answer.",
			Buckets: []float64{.025, .05, .1, .25, .5, 1, 2, 3, 4, 5, 7.5, 10, 15}}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{Name: "tandem_answer_lost_total",
			Help: "Answers refused because another region or instance had answered first."}),
		beats: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_keepalives_total",
			Help: "KeepAlives by result (ok, gone, fenced, failed)."}, []string{"result"}),
		recordRetries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_bot_record_retries_total",
			Help: "Acts that the table did not take at once."}, []string{"act"}),
		healthy: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tandem_bot_healthy",
			Help: "1 while the app's bot may get new calls."}, []string{"app"}),
	}
	if r == nil {
		return m, nil
	}
	size := func(name, help string, n func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			d.mu.Lock()
			defer d.mu.Unlock()
			return float64(n())
		})
	}
	waiting := size("tandem_bot_waiting", "Hand-overs waiting or under way.", func() int { return d.waiting })
	queues := size("tandem_bot_lines", "Calls the dispatcher remembers, ended ones too.", func() int { return d.calls })
	records := size("tandem_bot_records", "Calls whose end or answer the table has yet to hear.", func() int { return len(d.register.calls) })
	for _, c := range []prometheus.Collector{m.handOvers, m.seconds, m.repeats, m.late, m.untold, m.answerTime,
		m.lost, m.beats, m.recordRetries, m.healthy, waiting, queues, records, versionMetrics{d}} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) handOver(event ownership.Event, reply ownership.Reply, err error, took time.Duration) {
	result := "ok"
	switch {
	case err != nil && errors.Is(kindOf(err), ErrTimeout):
		result = "timeout"
	case err != nil && errors.Is(kindOf(err), ErrReply):
		result = "reply"
	case err != nil:
		result = "unreachable"
	case reply.Status >= 500:
		result = "failed"
	case reply.Status >= 400:
		result = "refused"
	}
	m.handOvers.WithLabelValues(string(event), result).Inc()
	m.seconds.WithLabelValues(string(event)).Observe(took.Seconds())
}
