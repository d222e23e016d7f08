package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tandem/ownership"
)

// uriScheme starts the URI that names a node in its certificate.
const uriScheme = "tandem"

// ALPN names (RFC 7301) of the two protocols on the cluster port. The peer link
// is Connect over HTTP/2, so it takes HTTP/2's own name. Raft's first version
// names no process; it is spoken with nodes of older software, which have none.
const (
	alpnRaft  = "tandem-raft/2"
	alpnRaft1 = "tandem-raft/1"
	alpnPeer  = "h2"
)

// identity is who a certificate says its bearer is.
type identity struct {
	deployment string
	region     ownership.Region
	node       ownership.NodeID
}

// URI gives the identity as it stands in a certificate's subject alternative
// names.
func (i identity) URI() *url.URL {
	return &url.URL{Scheme: uriScheme, Host: i.deployment, Path: "/" + string(i.region) + "/" + string(i.node)}
}

// identityOf reads the one tandem URI of a certificate. None, two, or one with
// anything beside deployment, region and node is an error.
func identityOf(cert *x509.Certificate) (identity, error) {
	var found []identity
	for _, u := range cert.URIs {
		if u.Scheme != uriScheme {
			continue
		}
		parts := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
		if len(parts) != 2 || parts[0] == "" || parts[1] == "" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return identity{}, fmt.Errorf("reading a node's certificate: its name %q is not tandem://deployment/region/node", u)
		}
		found = append(found, identity{u.Host, ownership.Region(parts[0]), ownership.NodeID(parts[1])})
	}
	switch len(found) {
	case 0:
		return identity{}, errors.New("reading a node's certificate: it carries no tandem://deployment/region/node name")
	case 1:
		return found[0], nil
	}
	return identity{}, fmt.Errorf("reading a node's certificate: it carries %d tandem:// names, one is allowed", len(found))
}

// credentials are the node's certificate and the CA it trusts, as last read
// from their files.
type credentials struct {
	files TLS
	self  identity
	now   atomic.Pointer[material]
}

type material struct {
	cert      tls.Certificate
	roots     *x509.CertPool
	authority time.Time // when the one that has signed cert ends
}

// loadCredentials reads the files and checks that they name this node.
func loadCredentials(files TLS, self identity) (*credentials, error) {
	c := &credentials{files: files, self: self}
	return c, c.reload()
}

// CheckFiles reads the certificates, and says if they are no pair, or name another node.
func (c Config) CheckFiles() error {
	if c.TLS == nil {
		return nil
	}
	_, err := loadCredentials(*c.TLS, identity{c.Deployment, c.Region, c.Node.ID})
	return err
}

// reload reads the files again; on an error the old ones stay in force.
func (c *credentials) reload() error {
	cert, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	if err != nil {
		return fmt.Errorf("reading the node's certificate: %w", err)
	}
	authorities, err := os.ReadFile(c.files.CAFile)
	if err != nil {
		return fmt.Errorf("reading the cluster's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		return fmt.Errorf("reading the cluster's CA: %s holds no certificate", c.files.CAFile)
	}
	id, err := identityOf(cert.Leaf)
	if err != nil {
		return fmt.Errorf("checking the node's own certificate %s: %w", c.files.CertFile, err)
	}
	if id != c.self {
		return fmt.Errorf("checking the node's own certificate %s: it names %s, this node is %s", c.files.CertFile, id.URI(), c.self.URI())
	}
	c.now.Store(&material{cert: cert, roots: roots, authority: authorityOf(cert.Leaf, authorities)})
	return nil
}

// ends says when the certificate ends, and the authority that has signed it. Another
// one beside it, as while it is changed, may end.
func (c *credentials) ends() (cert, authority time.Time) {
	m := c.now.Load()
	return m.cert.Leaf.NotAfter, m.authority
}

// authorityOf gives the end of the certificate in a PEM text that has signed another.
func authorityOf(leaf *x509.Certificate, text []byte) time.Time {
	var end time.Time
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return end
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err == nil && ca.NotAfter.After(end) && leaf.CheckSignatureFrom(ca) == nil {
			end = ca.NotAfter
		}
	}
}

// reloadTLS puts the files in force, for the open connections too: a peer that
// the new authority does not vouch for is cut off. That is how a stolen key is
// taken out of use.
func (c *Cluster) reloadTLS() error {
	if err := c.creds.reload(); err != nil {
		return err
	}
	for _, err := range append(c.port.open.vet(), c.dial.open.vet()...) {
		c.log.Warn("a peer's certificate does not hold any more", "err", err)
	}
	return nil
}

// server gives the TLS configuration of the listener.
func (c *credentials) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			m := c.now.Load()
			return &tls.Config{
				MinVersion:             tls.VersionTLS13,
				Certificates:           []tls.Certificate{m.cert},
				ClientAuth:             tls.RequireAndVerifyClientCert,
				ClientCAs:              m.roots,
				NextProtos:             []string{alpnPeer, alpnRaft, alpnRaft1},
				SessionTicketsDisabled: true, // every connection shows its certificate
				VerifyConnection: func(s tls.ConnectionState) error {
					if s.NegotiatedProtocol == "" {
						return errors.New("checking a peer: it names neither of the protocols spoken here")
					}
					_, err := c.check(s, "")
					return err
				},
			}, nil
		},
	}
}

// client gives the TLS configuration of one outgoing connection that speaks
// proto to the node want; an empty want takes any node of the region.
func (c *credentials) client(proto string, want ownership.NodeID) *tls.Config {
	m := c.now.Load()
	protos := []string{proto}
	if proto == alpnRaft {
		protos = append(protos, alpnRaft1)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{m.cert},
		NextProtos:   protos,
		// Nodes are known by the name in their certificate, not by the address
		// they are dialled at: VerifyConnection checks chain and name instead.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if !slices.Contains(protos, s.NegotiatedProtocol) {
				return fmt.Errorf("checking a peer: it does not speak %s", proto)
			}
			if err := c.vouch(s.PeerCertificates, x509.ExtKeyUsageServerAuth); err != nil {
				return err
			}
			_, err := c.check(s, want)
			return err
		},
	}
}

// vouch holds the certificates that a peer shows, its own first, against the
// authority in force, at this time.
func (c *credentials) vouch(shown []*x509.Certificate, use x509.ExtKeyUsage) error {
	if len(shown) == 0 {
		return errors.New("checking a peer: it shows no certificate")
	}
	rest := x509.NewCertPool()
	for _, cert := range shown[1:] {
		rest.AddCert(cert)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{Roots: c.now.Load().roots, Intermediates: rest, KeyUsages: []x509.ExtKeyUsage{use}})
	if err != nil {
		return fmt.Errorf("checking a peer's certificate: %w", err)
	}
	return nil
}

// check gives the identity of a verified connection, refusing other
// deployments, other regions, and other nodes than want unless that is empty.
func (c *credentials) check(s tls.ConnectionState, want ownership.NodeID) (identity, error) {
	if len(s.PeerCertificates) == 0 {
		return identity{}, errors.New("checking a peer: it shows no certificate")
	}
	id, err := identityOf(s.PeerCertificates[0])
	if err != nil {
		return identity{}, err
	}
	if id.deployment != c.self.deployment || id.region != c.self.region {
		return identity{}, fmt.Errorf("checking a peer: its certificate names %s: %w", id.URI(), ownership.ErrForeign)
	}
	if want != "" && id.node != want {
		return identity{}, fmt.Errorf("checking a peer: its certificate names node %s, not %s", id.node, want)
	}
	return id, nil
}
