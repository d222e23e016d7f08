package node

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"tandem/admin"
	"tandem/graph/credential"
	"tandem/webhook"
)

// CheckFiles reads what the configuration names, and says everything for which a node
// would not start with it, or which would make it useless: certificates that are over,
// that their authority did not sign, or that are for another host. Notices are what an
// operator should know beside that.
func (c Config) CheckFiles(now time.Time) (notices []string, err error) {
	c = c.Filled()
	if err := c.readFiles(); err != nil {
		return nil, err
	}
	var p problems
	for _, e := range c.fileEndings() {
		text := e.text(now)
		p.when(e.stage(now) == 3, "%s", text)
		if text != "" {
			notices = append(notices, text)
		}
	}
	c.checkProofs(&p, func(proof credential.Config) error { return proof.Overdue(now) })
	if t := c.Cluster.TLS; t != (PeerTLS{}) {
		err := signed(t, now)
		p.when(err != nil, "cluster.tls.cert_file does not hold with cluster.tls.ca_file: %w", err)
	}
	if t := c.Public.TLS.ServerTLS; t.CertFile != "" {
		err := covers(t, c.Public.URL)
		p.when(err != nil, "public.tls is not for the host of public.url, where callers are sent: %w", err)
		if err := covers(t, c.Public.RegionURL); err != nil {
			notices = append(notices, fmt.Sprintf("public.tls is not for the host of public.region_url; something in front of this node must end TLS: %v", err))
		}
	}
	return append(notices, c.looseSecrets()...), errors.Join(p...)
}

// readFiles reads what the rooms will read, before any of them has left a trace.
func (c Config) readFiles() error {
	var p problems
	say := func(key string, err error) { p.when(err != nil, "%s: %w", key, err) }
	_, err := webhook.LoadHandles(c.HandleKeysFile)
	say("handle_keys_file", err)
	for i, t := range []ServerTLS{c.Public.TLS.ServerTLS, c.Admin.TLS} {
		if t.CertFile != "" {
			_, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			say([]string{"public.tls", "admin.tls"}[i], err)
		}
	}
	say("public.tls.acme", c.acme().CheckFiles())
	say("cluster.tls", c.clusterConfig().CheckFiles())
	if c.Admin.TokensFile != "" {
		say("admin.tokens_file", admin.CheckTokensFile(c.Admin.TokensFile))
	}
	for i, a := range c.Apps {
		at := fmt.Sprintf("apps[%d]", i)
		if c.Bot == nil {
			_, err := a.Bot.secret()
			say(at+".bot.secret_file", err)
		}
	}
	c.checkProofs(&p, (credential.Config).CheckFiles)
	say("regions", c.federationConfig().CheckFiles())
	return errors.Join(p...)
}

// checkProofs reads what apps prove by who they are.
func (c Config) checkProofs(p *problems, check func(credential.Config) error) {
	for i, a := range c.Apps {
		if !a.Graph.acts() {
			continue
		}
		proof := c.graphConfig(a).Credential()
		kind, _ := proof.Kind() // Check has told what is wrong with it
		err := check(proof)
		p.when(err != nil, "apps[%d].graph.%s: %w", i, kind, err)
	}
}

// fileEndings says when the certificates in the files end.
func (c Config) fileEndings() []ending {
	var all []ending
	for _, f := range [][2]string{
		{"public.tls", c.Public.TLS.CertFile}, {"admin.tls", c.Admin.TLS.CertFile},
		{"cluster.tls.cert_file", c.Cluster.TLS.CertFile}, {"cluster.tls.ca_file", c.Cluster.TLS.CAFile},
	} {
		if cert, err := firstOf(f[1]); err == nil {
			all = append(all, ending{key: f[0], at: cert.NotAfter})
		}
	}
	return append(all, c.proofEndings()...)
}

// covers reports why a door's certificate is not good for callers of a base URL.
func covers(t ServerTLS, base string) error {
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	cert, err := firstOf(t.CertFile)
	if err != nil || u.Scheme != "https" {
		return err
	}
	return cert.VerifyHostname(u.Hostname())
}

// signed reports why the other nodes would not take this one's certificate.
func signed(t PeerTLS, now time.Time) error {
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(t.CAFile)
	if err != nil {
		return err
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err
}

// firstOf returns the first certificate in a PEM file.
func firstOf(file string) (*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, fmt.Errorf("%s holds no certificate", file)
		}
		if block.Type == "CERTIFICATE" {
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("reading %s: %w", file, err)
			}
			return c, nil
		}
	}
}
