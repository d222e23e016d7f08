package federation

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/ownership"
)

// counters is what operators see of the looks at other regions.
type counters struct {
	up    *prometheus.GaugeVec
	looks *prometheus.CounterVec
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
	for _, f := range regions {
		c.up.WithLabelValues(string(f.region.Name)).Set(0)
	}
	if to == nil {
		return c, nil
	}
	return c, errors.Join(to.Register(c.up), to.Register(c.looks))
}

func (c *counters) count(r ownership.Region, ready, up bool) {
	result := "missed"
	if ready {
		result = "ready"
	}
	c.looks.WithLabelValues(string(r), result).Inc()
	c.tell(r, up)
}

func (c *counters) tell(r ownership.Region, up bool) {
	value := 0.0
	if up {
		value = 1
	}
	c.up.WithLabelValues(string(r)).Set(value)
}
