package transport

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

// ALPN names (RFC 7301) of the protocols on the cluster port. The peer link
// is Connect over HTTP/2, so it takes HTTP/2's own name. Raft's first version
// names no process; it is spoken with nodes of older software, which have none.
// The regions' link is for nodes of the deployment's other regions, and all that they
// may speak here.
const (
	ALPNRaft   = "tandem-raft/2"
	ALPNRaft1  = "tandem-raft/1"
	ALPNPeer   = "h2"
	ALPNRegion = "tandem-region/1"
)

// Identity is who a certificate says its bearer is.
type Identity struct {
	Deployment string
	Region     ownership.Region
	Node       ownership.NodeID
}

// URI returns the identity as it stands in a certificate's subject alternative
// names.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: uriScheme, Host: i.Deployment, Path: "/" + string(i.Region) + "/" + string(i.Node)}
}

// identityOf reads the one tandem URI of a certificate. None, two, or one with
// anything beside deployment, region and node is an error.
func identityOf(cert *x509.Certificate) (Identity, error) {
	var found []Identity
	for _, u := range cert.URIs {
		if u.Scheme != uriScheme {
			continue
		}
		parts := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
		if len(parts) != 2 || parts[0] == "" || parts[1] == "" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return Identity{}, fmt.Errorf("reading a node's certificate: its name %q is not tandem://deployment/region/node", u)
		}
		found = append(found, Identity{u.Host, ownership.Region(parts[0]), ownership.NodeID(parts[1])})
	}
	switch len(found) {
	case 0:
		return Identity{}, errors.New("reading a node's certificate: it carries no tandem://deployment/region/node name")
	case 1:
		return found[0], nil
	}
	return Identity{}, fmt.Errorf("reading a node's certificate: it carries %d tandem:// names, one is allowed", len(found))
}

// Files names the PEM files of the mutual TLS between nodes.
type Files struct {
	CertFile string
	KeyFile  string
	CAFile   string
}

// Credentials are the node's certificate and the CA it trusts, as last read
// from their files.
type Credentials struct {
	files Files
	self  Identity
	now   atomic.Pointer[material]
}

type material struct {
	cert      tls.Certificate
	roots     *x509.CertPool
	authority time.Time // when the one that has signed cert ends
}

// Load reads the files and checks that they name this node.
func Load(files Files, self Identity) (*Credentials, error) {
	c := &Credentials{files: files, self: self}
	return c, c.Reload()
}

// Reload reads the files again; on an error the old ones stay in force.
func (c *Credentials) Reload() error {
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

// Ends says when the certificate ends, and the authority that has signed it. Another
// one beside it, as while it is changed, may end.
func (c *Credentials) Ends() (cert, authority time.Time) {
	m := c.now.Load()
	return m.cert.Leaf.NotAfter, m.authority
}

// authorityOf returns the end of the certificate in a PEM text that has signed another.
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

// server returns the TLS configuration of the listener.
func (c *Credentials) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			m := c.now.Load()
			return &tls.Config{
				MinVersion:             tls.VersionTLS13,
				Certificates:           []tls.Certificate{m.cert},
				ClientAuth:             tls.RequireAndVerifyClientCert,
				ClientCAs:              m.roots,
				NextProtos:             []string{ALPNPeer, ALPNRaft, ALPNRaft1, ALPNRegion},
				SessionTicketsDisabled: true, // every connection shows its certificate
				VerifyConnection: func(s tls.ConnectionState) error {
					if s.NegotiatedProtocol == "" {
						return errors.New("checking a peer: it names none of the protocols spoken here")
					}
					_, err := c.admit(s)
					return err
				},
			}, nil
		},
	}
}

// Client returns the TLS configuration of one outgoing connection that speaks
// proto to the node want; an empty want takes any node of the region.
func (c *Credentials) Client(proto string, want ownership.NodeID) *tls.Config {
	protos := []string{proto}
	if proto == ALPNRaft {
		protos = append(protos, ALPNRaft1)
	}
	return c.client(protos, func(s tls.ConnectionState) error {
		_, err := c.check(s, want)
		return err
	})
}

// client returns the TLS configuration of an outgoing connection that speaks one of
// protos to somebody who passes the check.
func (c *Credentials) client(protos []string, check func(tls.ConnectionState) error) *tls.Config {
	m := c.now.Load()
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{m.cert},
		NextProtos:   protos,
		// Nodes are known by the name in their certificate, not by the address
		// they are dialled at: VerifyConnection checks chain and name instead.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if !slices.Contains(protos, s.NegotiatedProtocol) {
				return fmt.Errorf("checking a peer: it does not speak %s", protos[0])
			}
			if err := c.vouch(s.PeerCertificates, x509.ExtKeyUsageServerAuth); err != nil {
				return err
			}
			return check(s)
		},
	}
}

// vouch holds the certificates that a peer shows, its own first, against the
// authority in force, at this time.
func (c *Credentials) vouch(shown []*x509.Certificate, use x509.ExtKeyUsage) error {
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

// check returns the identity of a verified connection, refusing other
// deployments, other regions, and other nodes than want unless that is empty.
func (c *Credentials) check(s tls.ConnectionState, want ownership.NodeID) (Identity, error) {
	if len(s.PeerCertificates) == 0 {
		return Identity{}, errors.New("checking a peer: it shows no certificate")
	}
	id, err := identityOf(s.PeerCertificates[0])
	if err != nil {
		return Identity{}, err
	}
	if id.Deployment != c.self.Deployment || id.Region != c.self.Region {
		return Identity{}, fmt.Errorf("checking a peer: its certificate names %s: %w", id.URI(), ownership.ErrForeign)
	}
	if want != "" && id.Node != want {
		return Identity{}, fmt.Errorf("checking a peer: its certificate names node %s, not %s", id.Node, want)
	}
	return id, nil
}
