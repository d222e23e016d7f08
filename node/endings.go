package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/graph"
	"tandem/graph/credential"
)

// What has an end: certificates and authorities, and the tokens that apps act with.
const (
	watchEvery = time.Second         // files are looked at
	endsSoon   = 30 * 24 * time.Hour // an operator is told from then on
	endsNow    = 7 * 24 * time.Hour  // and once more
)

// ending is one thing that ends, by the key of the configuration that it is from.
type ending struct {
	key  string
	host string // of a certificate that is ordered anew by itself; empty: of files
	at   time.Time
}

// stage says how near the end is: 0 far, 1 within 30 days, 2 within 7, 3 over.
func (e ending) stage(now time.Time) int {
	left := e.at.Sub(now)
	switch {
	case e.at.IsZero() || left > endsSoon || e.host != "" && left > 0:
		return 0
	case left > endsNow:
		return 1
	case left > 0:
		return 2
	}
	return 3
}

// text says it to an operator; empty: the end is far.
func (e ending) text(now time.Time) string {
	switch at := e.at.UTC().Format(time.RFC3339); e.stage(now) {
	case 0:
		return ""
	case 3:
		if e.host != "" {
			return fmt.Sprintf("%s: the certificate of %s ended at %s, and no new one has come", e.key, e.host, at)
		}
		return fmt.Sprintf("%s: its certificate ended at %s; replace the files, the node takes them by itself", e.key, at)
	default:
		return fmt.Sprintf("%s: its certificate ends at %s, in %d days; replace the files, the node takes them by itself", e.key, at, int(e.at.Sub(now).Hours()/24))
	}
}

// ends is what of a node has an end.
type ends struct{ *Node }

// endings are the certificates in force at this node.
func (n ends) endings() []ending {
	all := n.certs.endings()
	cert, authority := n.region.TLSEnds()
	for key, at := range map[string]time.Time{"cluster.tls.cert_file": cert, "cluster.tls.ca_file": authority} {
		if !at.IsZero() {
			all = append(all, ending{key: key, at: at})
		}
	}
	return append(all, n.cfg.proofEndings()...)
}

// ended names the first certificate that is over, of one key or of any.
func (n ends) ended(key string) error {
	for _, e := range n.endings() {
		if e.stage(n.now()) == 3 && (key == "" || e.key == key) {
			return errors.New(e.text(n.now()))
		}
	}
	if o := n.certs.orders; key == "" && o != nil { // a door must be open to get its first one
		return o.Missing()
	}
	return nil
}

// outbound is an app's client at Graph, and what it says of its token.
type outbound struct {
	app   string
	calls *graph.Calls
}

// outboundTrouble names the first app that cannot act at Graph, or soon cannot.
func (n ends) outboundTrouble() error {
	for _, o := range n.outbound {
		if err := o.calls.Token().Err; err != nil {
			return fmt.Errorf("app %s cannot act on its calls: %w", o.app, err)
		}
	}
	return nil
}

// watchEndings takes changed certificates without a signal, and tells of ends.
func (n ends) watchEndings(ctx context.Context) error {
	proofs := proofMetrics{n.cfg}
	if err := n.cfg.Registry.Register(endingMetrics{n}); err != nil {
		return fmt.Errorf("registering the metrics of what ends: %w", err)
	}
	n.stops.add("metrics of what ends", func() { n.cfg.Registry.Unregister(endingMetrics{n}) })
	if err := n.cfg.Registry.Register(&proofs); err != nil {
		return fmt.Errorf("registering the metrics of what apps prove by who they are: %w", err)
	}
	n.stops.add("metrics of proofs", func() { n.cfg.Registry.Unregister(&proofs) })
	w := n.newWatch()
	n.stops.addRunning(ctx, "watch of certificates", func(ctx context.Context) {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			w.look()
			w.tell()
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return nil
}

// watch looks at files and ends.
type watch struct {
	n        *Node
	files    []*watched
	notified map[string]int // the stage of each key that the log knows
}

// watched are files that are put in force together.
type watched struct {
	key    string
	names  []string
	seen   []os.FileInfo // in force
	failed []os.FileInfo // could not be read
	take   func() error
}

func (n ends) newWatch() *watch {
	w := &watch{n: n.Node, notified: map[string]int{}}
	for _, p := range n.certs.pairs {
		w.files = append(w.files, &watched{key: p.key, names: []string{p.files.CertFile, p.files.KeyFile}, take: p.reload})
	}
	if t := n.cfg.Cluster.TLS; t != (PeerTLS{}) {
		w.files = append(w.files, &watched{key: "cluster.tls", names: []string{t.CertFile, t.KeyFile, t.CAFile}, take: n.region.ReloadTLS})
	}
	for _, f := range w.files {
		f.seen = stamps(f.names)
	}
	return w
}

// stamps says what stands behind file names now, links followed.
func stamps(names []string) []os.FileInfo {
	all := make([]os.FileInfo, len(names))
	for i, name := range names {
		all[i], _ = os.Stat(name) // nil: nothing does
	}
	return all
}

func sameStamps(a, b []os.FileInfo) bool {
	return slices.EqualFunc(a, b, func(x, y os.FileInfo) bool {
		if x == nil || y == nil {
			return x == y
		}
		return os.SameFile(x, y) && x.ModTime().Equal(y.ModTime()) && x.Size() == y.Size()
	})
}

// look puts files in force that have changed. What cannot be read leaves the old in
// force, and is tried again: one of a pair may be written before the other.
func (w *watch) look() {
	for _, f := range w.files {
		now := stamps(f.names)
		if sameStamps(now, f.seen) {
			f.failed = nil
			continue
		}
		if err := f.take(); err != nil {
			if !sameStamps(now, f.failed) {
				w.n.log.Warn("changed certificates are not taken yet; the old ones stay in force", "key", f.key, "err", err)
			}
			f.failed = now
			continue
		}
		f.seen, f.failed = now, nil
		w.n.log.Info("took changed certificates", "key", f.key)
	}
}

// tell writes each stage of an end to the log once.
func (w *watch) tell() {
	now := w.n.now()
	for _, e := range (ends{w.n}).endings() {
		stage, of := e.stage(now), e.key+" "+e.host
		if stage > w.notified[of] {
			w.n.log.Warn(e.text(now))
		}
		w.notified[of] = stage
	}
}

// endingMetrics shows when each thing ends, as Unix time.
type endingMetrics struct{ n ends }

var (
	certificateEnds = prometheus.NewDesc("tandem_certificate_not_after", "When a certificate in force ends, as Unix time, by the key of the configuration.", []string{"key"}, nil)
	tokenEnds       = prometheus.NewDesc("tandem_outbound_token_not_after", "When the access token of an app at Graph ends, as Unix time; 0: there is none.", []string{"app"}, nil)
	tokenFails      = prometheus.NewDesc("tandem_outbound_token_failing", "1 while an app cannot get an access token for Graph.", []string{"app"}, nil)
)

// Describe implements prometheus.Collector.
func (m endingMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- certificateEnds
	to <- tokenEnds
	to <- tokenFails
}

// Collect implements prometheus.Collector.
func (m endingMetrics) Collect(to chan<- prometheus.Metric) {
	for _, e := range m.n.endings() {
		key := e.key
		if e.host != "" {
			key += ".acme " + e.host
		}
		to <- prometheus.MustNewConstMetric(certificateEnds, prometheus.GaugeValue, float64(e.at.Unix()), key)
	}
	for _, o := range m.n.outbound {
		s, fails, at := o.calls.Token(), 0.0, 0.0
		if s.Err != nil {
			fails = 1
		}
		if !s.Expires.IsZero() {
			at = float64(s.Expires.Unix())
		}
		to <- prometheus.MustNewConstMetric(tokenEnds, prometheus.GaugeValue, at, o.app)
		to <- prometheus.MustNewConstMetric(tokenFails, prometheus.GaugeValue, fails, o.app)
	}
}

// proofEndings says when the certificates end by which apps prove who they are.
func (c Config) proofEndings() (all []ending) {
	for i, a := range c.Apps {
		if s := c.graphConfig(a).Credential().Look(); s.Kind == credential.ByCertificate && !s.Ends.IsZero() {
			all = append(all, ending{key: fmt.Sprintf("apps[%d].graph.client_certificate", i), at: s.Ends})
		}
	}
	return all
}

var (
	federatedEnds    = prometheus.NewDesc("tandem_federated_token_not_after", "When the token ends in the file of an app's workload identity, as Unix time; 0: it cannot be read.", []string{"app"}, nil)
	federatedWritten = prometheus.NewDesc("tandem_federated_token_written_timestamp_seconds", "When the file of an app's workload identity was written last, as Unix time; 0: there is none.", []string{"app"}, nil)
)

// proofMetrics shows how the tokens of other providers stand, by which apps prove who
// they are.
type proofMetrics struct{ cfg Config }

// Describe implements prometheus.Collector.
func (m proofMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- federatedEnds
	to <- federatedWritten
}

// Collect implements prometheus.Collector.
func (m proofMetrics) Collect(to chan<- prometheus.Metric) {
	for _, a := range m.cfg.Apps {
		s := m.cfg.graphConfig(a).Credential().Look()
		if s.Kind == credential.ByFederation {
			to <- prometheus.MustNewConstMetric(federatedEnds, prometheus.GaugeValue, unix(s.Ends), a.ID)
			to <- prometheus.MustNewConstMetric(federatedWritten, prometheus.GaugeValue, unix(s.Written), a.ID)
		}
	}
}
