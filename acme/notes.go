package acme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"github.com/prometheus/client_golang/prometheus"

	"tandem/ownership"
)

// mostPause bounds the pause between failing orders.
const mostPause = time.Hour

// note is what the region knows of failed orders of a host since the last one that came.
type note struct {
	At       time.Time `json:"at"`
	Node     string    `json:"node"`
	Failures int       `json:"failures"`
	Error    string    `json:"error"`
}

// notes stand beside what certmagic keeps. They pace the orders of the whole region: each
// node tries by itself, and an authority counts failures by host.
type notes struct{ *storage }

func noteOf(host string) string { return "failed/" + host }

func (n notes) of(host string) (out note, failed bool) {
	text, err := n.Load(context.Background(), noteOf(host))
	return out, err == nil && json.Unmarshal(text, &out) == nil
}

// early reports why no node of the region should order now.
func (n notes) early(host string, now time.Time) error {
	have, failed := n.of(host)
	if !failed {
		return nil
	}
	pause := mostPause
	if doubled := n.cfg.Pace.Pause << min(have.Failures-1, 20); doubled < mostPause {
		pause = doubled
	}
	if left := pause - now.Sub(have.At); left > 0 {
		return fmt.Errorf("the order before failed at node %s; the next one is in %s", have.Node, left.Round(time.Second))
	}
	return nil
}

// fail notes one more failure.
func (n notes) fail(ctx context.Context, host string, why error) error {
	have, _ := n.of(host)
	have = note{time.Now(), n.cfg.Node, have.Failures + 1, said(why)}
	text, err := json.Marshal(have)
	if err != nil {
		return err
	}
	return n.write(ctx, noteOf(host), text, told(fmt.Sprintf("ordering a certificate of %s failed at node %s: %s", host, have.Node, have.Error)))
}

// came forgets the failures, and tells the history of the certificate.
func (n notes) came(ctx context.Context, host string) error {
	if _, failed := n.of(host); !failed { // something has to be there to be taken out
		if err := n.write(ctx, noteOf(host), []byte("{}"), ""); err != nil {
			return err
		}
	}
	return n.remove(ctx, noteOf(host), told(fmt.Sprintf("a certificate of %s came; node %s ordered it", host, n.cfg.Node)))
}

// said is an error as an operator needs it: what the authority said, if it said anything.
func said(err error) string {
	if problem, ok := errors.AsType[acme.Problem](err); ok {
		text := strings.TrimPrefix(problem.Type, acme.ProblemTypeNamespace) + ": " + problem.Detail
		for _, sub := range problem.Subproblems {
			text += "; " + sub.Detail
		}
		return told(text)
	}
	return told(err.Error())
}

// told cuts a text to what the history takes, in one line.
func told(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	if len(text) > ownership.MaxDepositText {
		text = strings.ToValidUTF8(text[:ownership.MaxDepositText], "")
	}
	return text
}

// noteWithin bounds how long a note waits for the region.
const noteWithin = 10 * time.Second

// told hears from certmagic what happens. An error ends an order before it begins.
func (o *Orders) told(ctx context.Context, event string, data map[string]any) error {
	host, _ := data["identifier"].(string)
	ctx, cancel := context.WithTimeout(ctx, noteWithin)
	defer cancel()
	var err error
	switch event {
	case "cert_obtaining":
		return o.notes.early(host, time.Now())
	case "cert_failed":
		why, _ := data["error"].(error)
		if why == nil || errors.Is(why, context.Canceled) {
			return nil // this node stops
		}
		o.orders.WithLabelValues("failed").Inc()
		o.cfg.Logger.Warn("ordering a certificate failed; the one before stays in force", "host", host, "err", said(why))
		err = o.notes.fail(ctx, host, why)
	case "cert_obtained":
		o.orders.WithLabelValues("obtained").Inc()
		o.cfg.Logger.Info("a certificate came", "host", host)
		err = o.notes.came(ctx, host)
	}
	if err != nil {
		o.cfg.Logger.Warn("the region could not be told of an order", "host", host, "err", err)
	}
	return nil
}

// failing shows for which hosts the last order failed, whichever node made it.
type failing struct{ o *Orders }

var failingNow = prometheus.NewDesc("tandem_acme_failing", "1 while the last order of a public certificate of the host failed, by whichever node of the region.", []string{"host"}, nil)

// Describe implements prometheus.Collector.
func (f failing) Describe(to chan<- *prometheus.Desc) { to <- failingNow }

// Collect implements prometheus.Collector.
func (f failing) Collect(to chan<- prometheus.Metric) {
	all := map[string]float64{}
	for _, host := range f.o.cfg.Hosts {
		all[host] = 0
		if _, failed := f.o.notes.of(host); failed {
			all[host] = 1
		}
	}
	for _, host := range slices.Sorted(maps.Keys(all)) {
		to <- prometheus.MustNewConstMetric(failingNow, prometheus.GaugeValue, all[host], host)
	}
}
