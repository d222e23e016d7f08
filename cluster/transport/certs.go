package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"tandem/ownership"
	"tandem/spelling"
)

// File names that MakeCA and MakeCert write.
const (
	CACertFile = "ca.pem"
	CAKeyFile  = "ca-key.pem"
)

// clockSlack backdates a certificate, so that a node whose clock is behind
// takes it at once.
const clockSlack = 5 * time.Minute

// MakeCA makes a certificate authority for the nodes of a deployment: ca.pem
// and ca-key.pem (mode 0600) in dir, which is made when missing. It never
// overwrites: an existing file is an error.
func MakeCA(dir, name string, lifetime time.Duration) (certFile, keyFile string, err error) {
	if name == "" || lifetime <= 0 {
		return "", "", errors.New("making a CA: it needs a name and a lifetime above zero")
	}
	certFile, keyFile = filepath.Join(dir, CACertFile), filepath.Join(dir, CAKeyFile)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("making a CA: %w", err)
	}
	tmpl, err := template(name, lifetime)
	if err != nil {
		return "", "", fmt.Errorf("making a CA: %w", err)
	}
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.MaxPathLenZero = true // it signs nodes, no further authorities
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return "", "", fmt.Errorf("making a CA: %w", err)
	}
	if err := writePair(certFile, keyFile, der, key); err != nil {
		return "", "", fmt.Errorf("making a CA: %w", err)
	}
	return certFile, keyFile, nil
}

// MakeCert makes the certificate of one node, signed by the CA whose files
// stand in caDir: {node}.pem and {node}-key.pem (mode 0600) in dir. The node is
// named by the URI tandem://{deployment}/{region}/{node}; hosts (names or IP
// addresses) are put in beside it for tools that check the address. It never
// overwrites: an existing file is an error.
func MakeCert(dir, caDir, deployment string, region ownership.Region, node ownership.NodeID, hosts []string, lifetime time.Duration) (certFile, keyFile string, err error) {
	for _, name := range [][2]string{{"deployment", deployment}, {"region", string(region)}, {"node", string(node)}} {
		if err := spelling.Name(name[1]); err != nil {
			return "", "", fmt.Errorf("making a node's certificate: the %s %w", name[0], err)
		}
	}
	if lifetime <= 0 {
		return "", "", errors.New("making a node's certificate: the lifetime must be above zero")
	}
	certFile, keyFile, err = signPair(dir, caDir, string(node), hosts, lifetime, func(tmpl *x509.Certificate) {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
		tmpl.URIs = []*url.URL{Identity{deployment, region, node}.URI()}
	})
	if err != nil {
		return "", "", fmt.Errorf("making a node's certificate: %w", err)
	}
	return certFile, keyFile, nil
}

// MakePublicCert makes a certificate for a public or an admin door, signed by the CA
// in caDir: {name}.pem and {name}-key.pem. It names hosts and no node, so it is
// nobody on the cluster port. No cloud trusts such an authority: it is for trials.
func MakePublicCert(dir, caDir, name string, hosts []string, lifetime time.Duration) (certFile, keyFile string, err error) {
	if !plainName(name) || len(hosts) == 0 || lifetime <= 0 {
		return "", "", errors.New("making a door's certificate: it needs a plain name, hosts, and a lifetime above zero")
	}
	certFile, keyFile, err = signPair(dir, caDir, name, hosts, lifetime, func(*x509.Certificate) {})
	if err != nil {
		return "", "", fmt.Errorf("making a door's certificate: %w", err)
	}
	return certFile, keyFile, nil
}

// signPair makes a key and a server's certificate for it; more says what else it
// is good for.
func signPair(dir, caDir, name string, hosts []string, lifetime time.Duration, more func(*x509.Certificate)) (certFile, keyFile string, err error) {
	ca, err := tls.LoadX509KeyPair(filepath.Join(caDir, CACertFile), filepath.Join(caDir, CAKeyFile))
	if err != nil {
		return "", "", fmt.Errorf("reading the CA: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	tmpl, err := template(name, lifetime)
	if err != nil {
		return "", "", err
	}
	if tmpl.NotAfter.After(ca.Leaf.NotAfter) {
		return "", "", fmt.Errorf("it would outlive its CA, which ends %s", ca.Leaf.NotAfter.Format(time.RFC3339))
	}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	more(tmpl)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.Leaf, &key.PublicKey, ca.PrivateKey)
	if err != nil {
		return "", "", err
	}
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
	return certFile, keyFile, writePair(certFile, keyFile, der, key)
}

func template(name string, lifetime time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-clockSlack),
		NotAfter:     now.Add(lifetime),
	}, nil
}

// writePair writes the key first: a certificate without its key would look
// finished.
func writePair(certFile, keyFile string, der []byte, key *ecdsa.PrivateKey) error {
	if err := os.MkdirAll(filepath.Dir(certFile), 0o700); err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeNew(keyFile, "PRIVATE KEY", pkcs8, 0o600); err != nil {
		return err
	}
	return writeNew(certFile, "CERTIFICATE", der, 0o644)
}

func writeNew(name, kind string, der []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	return errors.Join(err, f.Sync(), f.Close())
}

// plainName keeps the name of a door's files out of trouble: often it is a host's.
func plainName(s string) bool {
	if s == "" || len(s) > 128 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
