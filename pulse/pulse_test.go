package pulse

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/admin/api"
)

// metrics are the ones of a node that a pulse is taken from.
type metrics struct {
	live, calls  prometheus.Gauge
	claims, hops *prometheus.CounterVec
	answers      prometheus.Histogram
	registry     *prometheus.Registry
}

func newMetrics() *metrics {
	calls := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tandem_calls"}, []string{"app", "state"})
	calls.WithLabelValues("a", "orphaned").Set(7) // not live
	m := &metrics{
		live: prometheus.NewGauge(prometheus.GaugeOpts{Name: "tandem_region_live_calls"}), calls: calls.WithLabelValues("a", "answered"),
		claims:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_cluster_claims_total"}, []string{"result"}),
		hops:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_webhook_hops_total"}, []string{"kind"}),
		answers: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "tandem_answer_seconds", Buckets: []float64{.1, .2, 1}}),
	}
	m.registry = prometheus.NewRegistry()
	m.registry.MustRegister(m.live, calls, m.claims, m.hops, m.answers)
	return m
}

// beats takes n readings, each a Step after the one before and after what happens.
func beats(t *testing.T, p *Pulse, now *time.Time, n int, happens func(i int)) {
	t.Helper()
	for i := range n {
		happens(i)
		*now = now.Add(Step)
		if err := p.Beat(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASampleIsWhatHappenedInItsSpan(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	m := newMetrics()
	p := New(m.registry, func() time.Time { return now })
	m.claims.WithLabelValues("placed").Add(1000) // before the first reading: of no span
	m.answers.Observe(0.05)
	beats(t, p, &now, 1, func(int) {})
	if got := p.Last(60); len(got) != 0 {
		t.Fatalf("one reading spans no time, and is told as %+v", got)
	}
	beats(t, p, &now, 1, func(int) {
		m.live.Set(12)
		m.calls.Set(5)
		m.claims.WithLabelValues("placed").Add(20)
		m.claims.WithLabelValues("full").Add(50)
		m.hops.WithLabelValues("node").Add(10)
		m.hops.WithLabelValues("region").Add(20)
		m.hops.WithLabelValues("relay").Add(5)
		for range 98 {
			m.answers.Observe(0.15)
		}
		m.answers.Observe(0.9)
		m.answers.Observe(30)
	})
	got := p.Last(60)
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	want := api.PulseSample{At: now, Live: 12, Here: 5, Claims: 2, Redirects: 3, Relays: 0.5}
	s := got[0]
	p50, p99 := s.P50, s.P99
	if s.P50, s.P99 = 0, 0; s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
	// 99 of the 100 answers are in the buckets up to 1 s; the histogram's end tells no more.
	if math.Abs(p50-150) > 3 || p99 < 200 || p99 > 1000 {
		t.Errorf("p50 %v ms, p99 %v ms", p50, p99)
	}
}

// TestItForgetsAfterAnHour, and gives as few points as are asked for, the newest ones whole.
func TestItForgetsAfterAnHour(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	m := newMetrics()
	p := New(m.registry, func() time.Time { return now })
	beats(t, p, &now, 3*Kept, func(i int) { m.claims.WithLabelValues("placed").Add(float64(i)) })
	all := p.Last(Kept)
	if len(all) != Kept || len(p.ring) != Kept+1 || !all[Kept-1].At.Equal(now) || !all[0].At.Equal(now.Add(-(Kept-1)*Step)) {
		t.Fatalf("%d samples of %d readings, from %s to %s", len(all), len(p.ring), all[0].At, all[len(all)-1].At)
	}
	for i := 1; i < len(all); i++ {
		if math.Abs(all[i].Claims-all[i-1].Claims-0.1) > 1e-9 {
			t.Fatalf("sample %d has %v claims a second after %v", i, all[i].Claims, all[i-1].Claims)
		}
	}
	few := p.Last(7)
	if len(few) != 7 || !few[6].At.Equal(now) || few[6].Claims < few[5].Claims {
		t.Errorf("%+v", few)
	}
	if one := p.Last(1); len(one) != 1 || !one[0].At.Equal(now) {
		t.Errorf("%+v", one)
	}
	if none := p.Last(0); len(none) != 0 {
		t.Errorf("%+v", none)
	}
}

// TestAClockThatIsSetBack makes no rate of it.
func TestAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	m := newMetrics()
	p := New(m.registry, func() time.Time { return now })
	beats(t, p, &now, 1, func(int) {})
	now = now.Add(-time.Hour)
	beats(t, p, &now, 1, func(int) { m.claims.WithLabelValues("placed").Add(5) })
	if got := p.Last(1); len(got) != 1 || got[0].Claims != 0 {
		t.Errorf("%+v", got)
	}
}
