package pulse

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"tandem/admin/api"
)

const (
	// Step is the time between two readings.
	Step = 10 * time.Second
	// Kept is how many spans of a Step are remembered: an hour.
	Kept = 360
)

// Pulse is one node's memory of itself. It is safe for concurrent use.
type Pulse struct {
	from prometheus.Gatherer
	now  func() time.Time

	mu   sync.Mutex
	ring []reading // oldest first from next on, once it is full
	next int
}

// reading is what the metrics said at one moment.
type reading struct {
	at                        time.Time
	live, here                float64
	claims, redirects, relays float64
	answers                   []bucket
}

// bucket counts the answers that took no longer than le seconds.
type bucket struct {
	le    float64
	count uint64
}

// New makes a node's memory over its metrics.
func New(from prometheus.Gatherer, now func() time.Time) *Pulse {
	return &Pulse{from: from, now: now}
}

// Beat takes a reading. The caller does so every Step.
func (p *Pulse) Beat() error {
	families, err := p.from.Gather()
	if err != nil {
		return fmt.Errorf("reading this node's metrics: %w", err)
	}
	r := reading{at: p.now()}
	for _, f := range families {
		r.take(f)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ring) <= Kept { // spans lie between readings
		p.ring = append(p.ring, r)
		return nil
	}
	p.ring[p.next] = r
	p.next = (p.next + 1) % len(p.ring)
	return nil
}

// take reads one family of metrics, if it is one that is remembered.
func (r *reading) take(f *dto.MetricFamily) {
	sum := func(label string, of ...string) (all float64) {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == label && slices.Contains(of, l.GetValue()) {
					all += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
		return all
	}
	switch f.GetName() {
	case "tandem_region_live_calls":
		for _, m := range f.GetMetric() {
			r.live += m.GetGauge().GetValue()
		}
	case "tandem_calls":
		r.here = sum("state", "claimed", "answered")
	case "tandem_cluster_claims_total":
		r.claims = sum("result", "placed")
	case "tandem_webhook_hops_total":
		r.redirects, r.relays = sum("kind", "node", "region"), sum("kind", "relay", "region_relay")
	case "tandem_answer_seconds":
		for _, m := range f.GetMetric() {
			for _, b := range m.GetHistogram().GetBucket() {
				r.answers = append(r.answers, bucket{b.GetUpperBound(), b.GetCumulativeCount()})
			}
		}
	}
}

// Last returns what is remembered, oldest first, as points samples at most, each of a span
// that holds the same number of readings.
func (p *Pulse) Last(points int) []api.PulseSample {
	p.mu.Lock()
	all := slices.Concat(p.ring[p.next:], p.ring[:p.next])
	p.mu.Unlock()
	spans := len(all) - 1
	if spans < 1 || points < 1 {
		return []api.PulseSample{}
	}
	each := (spans + points - 1) / points
	out := []api.PulseSample{}
	// From the newest backwards, so that the newest span is whole.
	for end := spans; end > 0; end -= each {
		out = append(out, between(all[max(0, end-each)], all[end]))
	}
	slices.Reverse(out)
	return out
}

// between says what happened from one reading to a later one.
func between(a, b reading) api.PulseSample {
	s := api.PulseSample{At: b.at, Live: b.live, Here: b.here}
	seconds := b.at.Sub(a.at).Seconds()
	if seconds <= 0 { // the clock was set back
		return s
	}
	rate := func(from, to float64) float64 { return max(0, to-from) / seconds }
	s.Claims, s.Redirects, s.Relays = rate(a.claims, b.claims), rate(a.redirects, b.redirects), rate(a.relays, b.relays)
	s.P50, s.P99 = quantile(a.answers, b.answers, 0.5), quantile(a.answers, b.answers, 0.99)
	return s
}

// quantile estimates in milliseconds what a share of the answers between two readings took
// at most, as Prometheus does: evenly spread within a bucket. What is beyond the last bound
// is told as that bound.
func quantile(a, b []bucket, share float64) float64 {
	counts := make([]float64, len(b))
	for i := range b {
		counts[i] = float64(b[i].count)
		if i < len(a) {
			counts[i] -= float64(a[i].count)
		}
	}
	if len(b) == 0 || counts[len(b)-1] <= 0 {
		return 0
	}
	wanted := share * counts[len(b)-1]
	below, bound := 0.0, 0.0
	for i, n := range counts {
		if n >= wanted {
			return 1000 * (bound + (b[i].le-bound)*(wanted-below)/(n-below))
		}
		below, bound = n, b[i].le
	}
	return 1000 * bound
}
