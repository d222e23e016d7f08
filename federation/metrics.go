package federation

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/ownership"
)

// counters is what operators see of the looks at other regions.
type counters struct {
	up    *prometheus.GaugeVec
	looks *prometheus.CounterVec
	rtt   *prometheus.GaugeVec
}

// newCounters registers the metrics, with every region at "down".
func newCounters(to prometheus.Registerer, regions []*follower) (*counters, error) {
	c := &counters{
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tandem_federation_region_up", Help: "1 while calls may be redirected to the region, else 0.",
		}, []string{"region"}),
		looks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tandem_federation_looks_total", Help: "Looks at another region, by result: ready or missed.",
		}, []string{"region", "result"}),
	}
	c.rtt = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tandem_federation_rtt_seconds", Help: "Of a request to the region's nearest admin door and back, smoothed.",
	}, []string{"region"})
	if to == nil {
		return c, nil
	}
	err := errors.Join(to.Register(c.up), to.Register(c.looks), to.Register(c.rtt))
	for _, f := range regions {
		c.up.WithLabelValues(string(f.region.Name)).Set(0)
		err = errors.Join(err, to.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tandem_federation_age_seconds", Help: "How old what is known of the region is; -1: nothing is.", ConstLabels: prometheus.Labels{"region": string(f.region.Name)},
		}, f.age)))
	}
	return c, err
}

func (c *counters) count(r ownership.Region, ready bool) {
	result := "missed"
	if ready {
		result = "ready"
	}
	c.looks.WithLabelValues(string(r), result).Inc()
}

// age is how many seconds ago the region was last heard.
func (f *follower) age() float64 {
	last := f.state.Load().AsOf
	if last.IsZero() {
		return -1
	}
	return f.now().Sub(last).Seconds()
}

func (c *counters) tell(r ownership.Region, up bool, rtt time.Duration) {
	c.rtt.WithLabelValues(string(r)).Set(rtt.Seconds())
	value := 0.0
	if up {
		value = 1
	}
	c.up.WithLabelValues(string(r)).Set(value)
}
