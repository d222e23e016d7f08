package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"tandem/acme"
	"tandem/ownership"
)

// certificates are the pairs of the public and the admin listener; a reload
// puts new ones under traffic.
type certificates struct {
	pairs  []*pair
	orders *acme.Orders // of the public door; nil: its certificate is in files, or somewhere else
}

// pair is one certificate with its key.
type pair struct {
	key   string // of the configuration
	files ServerTLS
	now   atomic.Pointer[tls.Certificate]
}

// server returns the TLS settings of a listener, or nil where TLS is off.
func (c *certificates) server(key string, files ServerTLS) (*tls.Config, error) {
	if key == "public.tls" && c.orders != nil {
		return c.orders.TLS(), nil
	}
	if files.Off || files == (ServerTLS{}) {
		return nil, nil
	}
	p := &pair{key: key, files: files}
	fresh, err := p.read()
	if err != nil {
		return nil, err
	}
	p.now.Store(fresh)
	c.pairs = append(c.pairs, p)
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.now.Load(), nil },
	}, nil
}

func (p *pair) read() (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(p.files.CertFile, p.files.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", p.key, err)
	}
	return &c, nil
}

// read reads all pairs anew, and puts none of them in force.
func (c *certificates) read() ([]*tls.Certificate, error) {
	fresh := make([]*tls.Certificate, len(c.pairs))
	var all []error
	for i, p := range c.pairs {
		var err error
		if fresh[i], err = p.read(); err != nil {
			all = append(all, err)
		}
	}
	return fresh, errors.Join(all...)
}

// use puts what read gave in force.
func (c *certificates) use(fresh []*tls.Certificate) {
	for i, p := range c.pairs {
		p.now.Store(fresh[i])
	}
}

// reload reads one pair anew and puts it in force.
func (p *pair) reload() error {
	fresh, err := p.read()
	if err == nil {
		p.now.Store(fresh)
	}
	return err
}

// endings says when the pairs in force end.
func (c *certificates) endings() []ending {
	var all []ending
	for _, p := range c.pairs {
		if leaf := p.now.Load().Leaf; leaf != nil {
			all = append(all, ending{key: p.key, at: leaf.NotAfter})
		}
	}
	if c.orders != nil {
		for host, at := range c.orders.Ends() {
			all = append(all, ending{key: "public.tls", host: host, at: at})
		}
	}
	return all
}

// trouble says what is wrong with the certificates that are ordered; empty: nothing is.
func (c *certificates) trouble() string {
	if c.orders == nil {
		return ""
	}
	if text := c.orders.Trouble(); text != "" {
		return "public.tls.acme: " + text
	}
	return ""
}

// acme is what the configuration tells of the certificates that are ordered.
func (c Config) acme() acme.Config {
	a := c.Public.TLS.ACME
	return acme.Config{
		Directory: a.Directory, CAFile: a.CAFile, Email: a.Email, Hosts: a.Hosts, Challenge: a.Challenge, Command: a.DNSCommand,
		Node: c.Node.ID, Logger: c.Logger, Metrics: c.Registry, Pace: a.Pace,
	}
}

// order begins to order the public certificates, where the configuration wants it.
func (n *Node) order(ctx context.Context, door net.Addr) error {
	cfg := n.cfg.acme()
	if len(cfg.Hosts) == 0 {
		return nil
	}
	cfg.Door, cfg.Table = door, n.table
	cfg.Keys = func() [][]byte { return n.handles.Derived("deposits of region " + n.cfg.Node.Region) }
	cfg.Do = func(ctx context.Context, act ownership.Act) error {
		_, err := n.region.Do(ctx, act)
		return err
	}
	if cfg.Challenge == acme.HTTP01 {
		var err error
		if cfg.Listener, err = open(ctx, "public.tls.acme.listen", nil, n.cfg.Public.TLS.ACME.Listen); err != nil {
			return err
		}
	}
	orders, err := acme.Open(cfg)
	if err != nil {
		if cfg.Listener != nil {
			_ = cfg.Listener.Close()
		}
		return fmt.Errorf("public.tls.acme: %w", err)
	}
	n.certs.orders = orders
	n.stops.add("orders of certificates", orders.Close)
	return nil
}
