package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
)

// certificates are the pairs of the public and the admin listener; a reload
// puts new ones under traffic.
type certificates struct {
	pairs []*pair
}

// pair is one certificate with its key.
type pair struct {
	key   string // of the configuration
	files ServerTLS
	now   atomic.Pointer[tls.Certificate]
}

// server returns the TLS settings of a listener, or nil where TLS is off.
func (c *certificates) server(key string, files ServerTLS) (*tls.Config, error) {
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
			all = append(all, ending{p.key, leaf.NotAfter})
		}
	}
	return all
}
