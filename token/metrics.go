package token

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are this package's numbers. Label values come from the configuration
// and from the fixed codes, never from a token.
type metrics struct {
	verdicts *prometheus.CounterVec
	cache    *prometheus.CounterVec
	fetches  *prometheus.CounterVec
	keys     *prometheus.GaugeVec
	ignored  *prometheus.GaugeVec
	loadedAt *prometheus.GaugeVec

	hits, misses prometheus.Counter
}

// expect shows a key set that is yet to come as empty: what is not there alarms nobody.
func (m *metrics) expect(url string) {
	m.keys.WithLabelValues(url)
	m.loadedAt.WithLabelValues(url)
}

// accepted is the verdict label of tokens that passed.
const accepted = "accepted"

// newMetrics makes the metrics and registers them; reg may be nil. A second
// Verifier on the same registry goes on counting where the first one counts.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tandem_token_verdicts_total", Help: "Bearer tokens judged, by profile and verdict (accepted or the code of the refusal).",
		}, []string{"profile", "verdict"}),
		cache: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tandem_token_cache_lookups_total", Help: "Look-ups of tokens verified before, by result (hit or miss).",
		}, []string{"result"}),
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tandem_token_jwks_fetches_total", Help: "Fetches of key sets, by metadata URL and result (ok or failed).",
		}, []string{"url", "result"}),
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tandem_token_keys", Help: "Usable keys in the key set of a metadata URL; 0: it has never been fetched, or has none.",
		}, []string{"url"}),
		ignored: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tandem_token_keys_ignored", Help: "Keys in the key set of a metadata URL that are not used, by reason.",
		}, []string{"url", "reason"}),
		loadedAt: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tandem_token_keys_loaded_timestamp_seconds", Help: "When the key set of a metadata URL was last fetched, as Unix time; 0: never.",
		}, []string{"url"}),
	}
	if reg != nil {
		err := errors.Join(
			register(reg, &m.verdicts), register(reg, &m.cache), register(reg, &m.fetches),
			register(reg, &m.keys), register(reg, &m.ignored), register(reg, &m.loadedAt))
		if err != nil {
			return nil, fmt.Errorf("registering the token metrics: %w", err)
		}
	}
	m.hits, m.misses = m.cache.WithLabelValues("hit"), m.cache.WithLabelValues("miss")
	return m, nil
}

// register registers a collector, or takes over the one already there.
func register[C prometheus.Collector](reg prometheus.Registerer, c *C) error {
	err := reg.Register(*c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		existing, ok := already.ExistingCollector.(C)
		if !ok {
			return err
		}
		*c, err = existing, nil
	}
	return err
}

func (m *metrics) fetched(url string, err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.fetches.WithLabelValues(url, result).Inc()
}

func (m *metrics) keySet(url string, s *keySet) {
	m.keys.WithLabelValues(url).Set(float64(s.count))
	m.loadedAt.WithLabelValues(url).Set(float64(s.at.Unix()))
	m.ignored.DeletePartialMatch(prometheus.Labels{"url": url})
	for why, n := range s.why {
		m.ignored.WithLabelValues(url, why).Set(float64(n))
	}
}
