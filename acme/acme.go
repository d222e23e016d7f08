// Package acme orders the certificate of the public door, and keeps it good. Account,
// certificates, keys and the tokens of challenges stand in the region's table, sealed, so
// any node can answer a challenge, one node orders at a time, and a node that starts
// has what the others ordered. The protocol and the renewals are certmagic's.
package acme

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/prometheus/client_golang/prometheus"

	"tandem/ownership"
)

// The challenges by which an authority finds out who has a name.
const (
	HTTP01 = "http-01"     // it asks at port 80 of the host
	ALPN01 = "tls-alpn-01" // it asks at port 443 of the host
	DNS01  = "dns-01"      // it looks up a TXT record, which a command of the operator sets
)

// LetsEncrypt is the directory that is asked where none is named.
const LetsEncrypt = certmagic.LetsEncryptProductionCA

// Table is what is asked of the region's table.
type Table interface {
	Deposits() []ownership.Deposit
	Format() uint32
}

// Config says what is ordered, and where.
type Config struct {
	Directory string   // of the authority, https
	CAFile    string   // whom to trust there; empty: whom the machine trusts
	Email     string   // for the account; may be empty
	Hosts     []string // one certificate each; the first one's is shown to callers that name no host
	Challenge string
	Door      net.Addr     // of the public door
	Listener  net.Listener // for HTTP01; it is closed by Close
	Command   []string     // for DNS01: see hook

	Node   string
	Table  Table
	Do     func(context.Context, ownership.Act) error // changes the table; it returns once the leader has
	Keys   func() [][]byte                            // 32 bytes each: the first seals, all open
	Logger *slog.Logger
	// Metrics takes the metrics until Close.
	Metrics *prometheus.Registry
	Pace    Pace
}

// Pace says how often what happens. What is zero is as below.
type Pace struct {
	Check time.Duration // how often a certificate is looked at: 10 m
	Pause time.Duration // after a failed order, doubled with each further one up to an hour: 2 m
	Share float64       // of a certificate's time that is left when it is renewed: a third
	Stale time.Duration // a lock whose holder gave no sign for so long is free: 20 s
}

func (p Pace) filled() Pace {
	for at, d := range map[*time.Duration]time.Duration{&p.Check: 10 * time.Minute, &p.Pause: 2 * time.Minute, &p.Stale: 20 * time.Second} {
		if *at == 0 {
			*at = d
		}
	}
	return p
}

// Orders is the certificates of one door. Make it with Open.
type Orders struct {
	cfg     Config
	store   *storage
	notes   notes
	magic   *certmagic.Config
	issuer  *certmagic.ACMEIssuer
	cache   *certmagic.Cache
	web     *challenges // nil: no HTTP01
	orders  *prometheus.CounterVec
	end     context.CancelFunc
	running sync.WaitGroup
}

// CheckFiles reads what the configuration names. The error is what the start would say.
func (c Config) CheckFiles() error {
	_, err := c.roots()
	return err
}

func (c Config) roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("reading ca_file: %s holds no certificate", c.CAFile)
	}
	return pool, nil
}

// Open begins to order what is not there, and to renew what is. It waits for nothing: a
// first certificate comes once the region has a leader and the authority has answered.
func Open(c Config) (*Orders, error) {
	roots, err := c.roots()
	if err != nil {
		return nil, err
	}
	c.Pace = c.Pace.filled()
	ctx, end := context.WithCancel(context.Background())
	o := &Orders{cfg: c, end: end, store: newStorage(ctx, c)}
	o.notes = notes{o.store}
	o.orders = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tandem_acme_orders_total", Help: "Orders of public certificates that this node made, by what came of them.",
	}, []string{"outcome"})
	for _, outcome := range []string{"obtained", "failed"} {
		o.orders.WithLabelValues(outcome)
	}
	if err := errors.Join(c.Metrics.Register(o.orders), c.Metrics.Register(failing{o})); err != nil {
		end()
		return nil, fmt.Errorf("registering the metrics of orders: %w", err)
	}
	o.build(roots)
	if c.Challenge == HTTP01 {
		o.web = serveChallenges(c.Listener, o.issuer, c.Hosts, c.Logger)
	}
	o.running.Go(func() { o.begin(ctx) })
	return o, nil
}

// build makes certmagic's parts.
func (o *Orders) build(roots *x509.CertPool) {
	c, log := o.cfg, zapOf(o.cfg.Logger)
	o.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return o.magic, nil },
		RenewCheckInterval: c.Pace.Check, Logger: log,
	})
	o.magic = certmagic.New(o.cache, certmagic.Config{
		Storage: o.store, Logger: log, OnEvent: o.told,
		ShouldEmitFunc:     func(event string) bool { return strings.HasPrefix(event, "cert_") },
		RenewalWindowRatio: cmp.Or(c.Pace.Share, certmagic.DefaultRenewalWindowRatio),
		DefaultServerName:  c.Hosts[0], FallbackServerName: c.Hosts[0],
		OCSP:                certmagic.OCSPConfig{DisableStapling: true}, // Let's Encrypt has none any more, and each response would be one more act
		DisableStorageCheck: true,
	})
	issuer := certmagic.ACMEIssuer{
		CA: c.Directory, Email: c.Email, Agreed: true, TrustedRoots: roots, Logger: log,
		DisableHTTPChallenge: c.Challenge != HTTP01, DisableTLSALPNChallenge: c.Challenge != ALPN01,
	}
	// Certmagic opens a port of its own for a challenge, unless it finds ours open there.
	switch c.Challenge {
	case HTTP01:
		issuer.ListenHost, issuer.AltHTTPPort = place(c.Listener.Addr())
	case ALPN01:
		issuer.ListenHost, issuer.AltTLSALPNPort = place(c.Door)
	case DNS01:
		issuer.DNS01Solver = hook{c.Command, c.Logger}
	}
	o.issuer = certmagic.NewACMEIssuer(o.magic, issuer)
	o.magic.Issuers = []certmagic.Issuer{o.issuer}
}

// place takes an address apart, as certmagic wants it.
func place(a net.Addr) (host string, port int) {
	host, text, _ := net.SplitHostPort(a.String())
	port, _ = strconv.Atoi(text)
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = ""
	}
	return host, port
}

// begin orders once every node of the region can read deposits.
func (o *Orders) begin(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for o.cfg.Table.Format() < ownership.FormatDeposits {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	if err := o.magic.ManageAsync(ctx, o.cfg.Hosts); err != nil {
		o.cfg.Logger.Warn("ordering certificates", "err", err)
	}
	tick.Reset(o.cfg.Pace.Check)
	for {
		o.store.reseal(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// TLS is the door's configuration.
func (o *Orders) TLS() *tls.Config {
	t := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: o.magic.GetCertificate}
	if o.cfg.Challenge == ALPN01 {
		t.NextProtos = append(t.NextProtos, "acme-tls/1")
	}
	return t
}

// Ends says until when the certificate of each host is good that this node shows; a host
// that has none is left out.
func (o *Orders) Ends() map[string]time.Time {
	all := map[string]time.Time{}
	for _, host := range o.cfg.Hosts {
		for _, c := range o.cache.AllMatchingCertificates(host) {
			if c.Leaf != nil && slices.Contains(c.Names, host) && c.Leaf.NotAfter.After(all[host]) {
				all[host] = c.Leaf.NotAfter
			}
		}
	}
	return all
}

// Missing names the first host that has no certificate yet.
func (o *Orders) Missing() error {
	ends := o.Ends()
	for _, host := range o.cfg.Hosts {
		if _, have := ends[host]; !have {
			return fmt.Errorf("there is no certificate of %s yet: it is being ordered", host)
		}
	}
	return nil
}

// Trouble says what an operator should know; empty: every host has its certificate, and
// the last orders came.
func (o *Orders) Trouble() string {
	var all []string
	if err := o.Missing(); err != nil {
		all = append(all, err.Error())
	}
	for _, host := range o.cfg.Hosts {
		if note, failed := o.notes.of(host); failed {
			all = append(all, fmt.Sprintf("%d orders of a certificate of %s failed, the last one at %s by node %s: %s", note.Failures, host, note.At.UTC().Format(time.RFC3339), note.Node, note.Error))
		}
	}
	return strings.Join(all, "; ")
}

// closeWithin bounds how long Close waits for an order under way.
const closeWithin = 3 * time.Second

// Close gives up what is under way, and the locks with it, so that another node can order.
// The certificates are shown until the door closes.
func (o *Orders) Close() {
	o.end()
	o.running.Wait()
	if o.web != nil {
		o.web.close()
	}
	stopped := make(chan struct{})
	go func() { // it waits for the authority's answer, however long that takes
		defer close(stopped)
		o.cache.Stop()
	}()
	select {
	case <-stopped:
	case <-time.After(closeWithin):
	}
	o.store.release()
	o.cfg.Metrics.Unregister(o.orders)
	o.cfg.Metrics.Unregister(failing{o})
}
