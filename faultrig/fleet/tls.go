package fleet

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tandem/ownership"
)

// authority is the certificate authority of one fleet, made with the product's
// own commands as an operator would.
type authority struct {
	fleet      *Fleet
	dir        string
	caFile     string
	tokensFile string
	tokenFile  string
	token      string
	client     *tls.Config // trusts the authority
	server     *tls.Config // of the cloud's and the desk's doors
}

func newAuthority(f *Fleet, here string) (*authority, error) {
	a := &authority{fleet: f, dir: f.File("tls"), token: "rig-" + filepath.Base(f.Dir)}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := Program(f.ctx, f.Binary, "tls", "ca", "--dir", a.dir); err != nil {
		return nil, err
	}
	a.caFile = filepath.Join(a.dir, "ca.pem")
	if err := a.certify(Region, "cloud", here); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(a.dir, "cloud.pem"), filepath.Join(a.dir, "cloud-key.pem"))
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(a.caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading %s: it holds no certificate", a.caFile)
	}
	a.server = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	a.client = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	a.tokensFile, a.tokenFile = f.File("tokens.yaml"), f.File("token")
	hash := sha256.Sum256([]byte(a.token))
	text := fmt.Sprintf("tokens:\n  - {name: rig, roles: [read, operate, join], sha256: %s}\n", hex.EncodeToString(hash[:]))
	return a, errors.Join(os.WriteFile(a.tokensFile, []byte(text), 0o600), os.WriteFile(a.tokenFile, []byte(a.token), 0o600))
}

func (a *authority) certify(in ownership.Region, node, address string) error {
	_, err := Program(a.fleet.ctx, a.fleet.Binary, "tls", "cert", "--dir", a.dir, "--deployment", deployment,
		"--region", string(in), "--node", node, "--host", address, "--host", string(in)+".localhost")
	return err
}

// files makes a node's certificate, if it has none, and names its files.
func (a *authority) files(n *Node) map[string]any {
	cert, key := filepath.Join(a.dir, string(n.ID)+".pem"), filepath.Join(a.dir, string(n.ID)+"-key.pem")
	if _, err := os.Stat(cert); err != nil {
		if err := a.certify(n.Region, string(n.ID), n.IP); err != nil {
			_ = os.WriteFile(n.LogFile, []byte(err.Error()), 0o600) // the node will not start, and its log says why
		}
	}
	return map[string]any{"cert_file": cert, "key_file": key}
}
