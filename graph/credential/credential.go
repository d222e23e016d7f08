// Package credential says how an app proves at its tenant's token endpoint who it is: by a
// client secret, by a certificate, by the token of another identity provider (workload
// identity federation), or not at all, where the machine has a managed identity.
//
// Files are read at each request for a token, so that what is replaced on disk counts
// from the next token on, without a restart.
//
// Sources, as of 2026:
//
//   - secret: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
//   - certificate: https://learn.microsoft.com/entra/identity-platform/certificate-credentials
//   - federation: the "federated credential" case of the first page, and
//     https://azure.github.io/azure-workload-identity/docs/quick-start.html for what AKS sets
//   - managed identity: see package azure
package credential

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"tandem/spelling"
)

// Kind is a way to prove who an app is.
type Kind string

// The kinds, by the key of the configuration that asks for them.
const (
	BySecret          Kind = "client_secret_file"
	ByCertificate     Kind = "client_certificate"
	ByFederation      Kind = "workload_identity"
	ByManagedIdentity Kind = "managed_identity"
)

// Kinds lists them, as users read of them.
const Kinds = "client_secret_file, client_certificate, workload_identity and managed_identity"

// Which managed identity of the machine is meant.
const (
	SystemAssigned = "system"
	UserAssigned   = "user" // by the app's client id
)

// Config says how one app proves who it is. One of the four ways is filled in.
type Config struct {
	TokenURL string // OAuth 2.0 token endpoint of the app's tenant: the audience of assertions
	ClientID string // the app's id there

	Secret     string // of the environment; it goes before the file
	SecretFile string

	Certificate Certificate

	TokenFile string // the other provider's token, for workload identity federation

	ManagedIdentity string // SystemAssigned or UserAssigned
	MetadataURL     string // of the machine; empty: Azure's

	Logger *slog.Logger // nil: discard
}

// Ways are the kinds that are filled in.
func (c Config) Ways() (all []Kind) {
	for _, w := range []struct {
		kind Kind
		set  bool
	}{
		{BySecret, c.Secret != "" || c.SecretFile != ""},
		{ByCertificate, c.Certificate != (Certificate{})},
		{ByFederation, c.TokenFile != ""},
		{ByManagedIdentity, c.ManagedIdentity != ""},
	} {
		if w.set {
			all = append(all, w.kind)
		}
	}
	return all
}

// Kind is the one way that is filled in; the error says which ones are, and is the rest
// of a sentence that begins with what they are for.
func (c Config) Kind() (Kind, error) {
	switch ways := c.Ways(); len(ways) {
	case 1:
		return ways[0], nil
	case 0:
		return "", errors.New("proves by nothing who it is: give one of " + Kinds)
	default:
		var names []string
		for _, w := range ways {
			names = append(names, string(w))
		}
		return "", fmt.Errorf("proves in %d ways who it is (%s): leave one of them", len(ways), strings.Join(names, ", "))
	}
}

// Check says what is wrong with the settings; no file is read.
func (c Config) Check() error {
	kind, err := c.Kind()
	if err != nil {
		return fmt.Errorf("reading Graph's credentials: the app %w", err)
	}
	if kind == ByManagedIdentity {
		return c.checkManaged()
	}
	if _, err := spelling.BaseURL(c.TokenURL); err != nil {
		return fmt.Errorf("reading Graph's addresses: token_url %w", err)
	}
	if c.ClientID == "" {
		return errors.New("reading Graph's client_id: it is empty")
	}
	if kind == ByCertificate {
		return c.Certificate.check()
	}
	return nil
}

func (c Config) checkManaged() error {
	if c.ManagedIdentity != SystemAssigned && c.ManagedIdentity != UserAssigned {
		return fmt.Errorf("reading Graph's managed_identity: it is %.40q, none of system, user", c.ManagedIdentity)
	}
	if c.ManagedIdentity == UserAssigned && c.ClientID == "" {
		return errors.New("reading Graph's client_id: it is empty")
	}
	if c.MetadataURL == "" {
		return nil
	}
	if _, err := spelling.MetadataURL(c.MetadataURL); err != nil {
		return fmt.Errorf("reading the metadata service's address: it %w", err)
	}
	return nil
}

// Proof is what one request to the token endpoint shows.
type Proof struct {
	Secret string     // client_secret; empty: Form has something better
	Form   url.Values // client_assertion and its type
}

// Shows reports whether a text is part of what is proved by: it must not be repeated.
func (p Proof) Shows(text string) bool {
	shown := p.Secret
	if a := p.Form.Get("client_assertion"); a != "" {
		shown = a
	}
	return text != "" && strings.Contains(shown, text) && len(text) >= 8 || text != "" && text == shown
}

// assertion is what stands in the form in place of a secret (RFC 7523 2.2).
func assertion(token string) Proof {
	return Proof{Form: url.Values{
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {token},
	}}
}

// Prover makes proofs. It may be used by many goroutines.
type Prover struct {
	conf Config
	kind Kind

	mu   sync.Mutex
	last *pair // the certificate that was in force last
}

// NewProver reads the files once, so that what is missing is known at the start, and
// warns of secrets that everybody on the machine may read.
func NewProver(c Config) (*Prover, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	kind, _ := c.Kind() // Check has asked
	p := &Prover{conf: c, kind: kind}
	if file := map[Kind]string{BySecret: c.SecretFile, ByCertificate: c.Certificate.KeyFile}[kind]; file != "" && c.Secret == "" {
		if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o004 != 0 {
			c.Logger.Warn("every user of this machine may read what an app proves at Graph who it is by; chmod 600 it", "key", string(kind), "file", file)
		}
	}
	return p, p.read()
}

// read reads the files, whatever their end: what is over does not keep a node from
// starting, which has other things to do than to act at Graph.
func (p *Prover) read() (err error) {
	switch p.kind {
	case BySecret:
		_, err = p.conf.secret()
	case ByCertificate:
		p.last, err = p.conf.Certificate.read()
	case ByFederation:
		_, err = readToken(p.conf.TokenFile)
	}
	return err
}

// Kind is how the app proves who it is.
func (p *Prover) Kind() Kind { return p.kind }

// Proof reads what holds now. Of a managed identity there is none: the zero Proof.
func (p *Prover) Proof(now time.Time) (Proof, error) {
	switch p.kind {
	case BySecret:
		secret, err := p.conf.secret()
		return Proof{Secret: secret}, err
	case ByCertificate:
		return p.signed(now)
	case ByFederation:
		token, err := readToken(p.conf.TokenFile)
		if err == nil {
			err = overdue(p.conf.TokenFile, token, now)
		}
		return assertion(token), err
	default:
		return Proof{}, nil
	}
}

// CheckFiles says why NewProver would refuse the files.
func (c Config) CheckFiles() error {
	_, err := NewProver(c)
	return err
}

// Overdue says that the token of another provider is over, and nobody has renewed it.
func (c Config) Overdue(now time.Time) error {
	if kind, err := c.Kind(); kind != ByFederation {
		return err
	}
	token, err := readToken(c.TokenFile)
	if err != nil {
		return err
	}
	return overdue(c.TokenFile, token, now)
}

const maxSecret = 4 << 10 // bytes of a secret file

// secret reads the client secret.
func (c Config) secret() (string, error) {
	if c.Secret != "" {
		return c.Secret, nil
	}
	return readText(string(BySecret), c.SecretFile, maxSecret)
}

// readText reads a small file that must hold something.
func readText(what, file string, most int64) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("reading Graph's %s: %w", what, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return "", fmt.Errorf("reading Graph's %s: %w", what, err)
	}
	text := strings.TrimSpace(string(b))
	if text == "" || int64(len(b)) > most {
		return "", fmt.Errorf("reading Graph's %s %s: it is empty or larger than %d bytes", what, file, most)
	}
	return text, nil
}
