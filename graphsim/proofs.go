package graphsim

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is SHA-1 by RFC 7515 4.1.7
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Proofs are the ways in which an app may show at the token endpoint who it is, beside
// its secret.
type Proofs struct {
	NoSecret     bool                // the secret is not taken
	Certificates []*x509.Certificate // the registration's: assertions signed by one of them are taken
	Federation   *Federation         // another provider's tokens are taken
}

// Federation is a federated credential of a registration: which tokens of which provider
// are taken for the app.
type Federation struct {
	Issuer, Subject string
	Audience        string // empty: api://AzureADTokenExchange
	Key             *rsa.PublicKey
}

// registrations are the apps as the token endpoint knows them now.
type registrations struct {
	mu   sync.Mutex
	apps map[string]App // by client id
	jtis map[string]bool
}

// Register changes how an app shows who it is, from now on: its secret and its proofs.
// Tokens that it has are withdrawn.
func (c *Cloud) Register(app App) {
	set(&app.ClientID, app.ID)
	c.registered.mu.Lock()
	defer c.registered.mu.Unlock()
	known := c.registered.apps[app.ClientID]
	known.ClientSecret, known.Proofs = app.ClientSecret, app.Proofs
	c.registered.apps[app.ClientID] = known
	c.bearers.withdraw(known.ID)
}

// IssueToken hands out a bearer for an app as a managed identity gets it: by its client
// id; empty: the first app's.
func (c *Cloud) IssueToken(clientID string) (string, bool) {
	set(&clientID, c.cfg.Apps[0].ClientID)
	c.registered.mu.Lock()
	app, known := c.registered.apps[clientID]
	c.registered.mu.Unlock()
	if !known {
		return "", false
	}
	token := "sim-" + c.dice.guid()
	c.bearers.issue(app, token, time.Hour)
	return token, true
}

// prove finds the app that a request for a token is from.
func (r *registrations) prove(form url.Values, id, secret, endpoint string) (App, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	app, known := r.apps[id]
	token := form.Get("client_assertion")
	switch {
	case !known:
		return App{}, errors.New("there is no such application")
	case token == "" && !app.Proofs.NoSecret && secret == app.ClientSecret:
		return app, nil
	case token == "":
		return App{}, errors.New("the secret is wrong, or there is none")
	case secret != "":
		return App{}, errors.New("a secret and an assertion at once")
	case form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
		return App{}, errors.New("the type of the assertion is another")
	}
	return app, r.assertion(app, token, endpoint)
}

// claims of an assertion, as they are written.
type claims struct {
	Iss, Sub, Jti string
	Aud           string
	Exp, Nbf      int64
}

// assertion checks what proves an app: the signature first.
func (r *registrations) assertion(app App, token, endpoint string) error {
	head, said, err := app.Proofs.verified(token)
	if err != nil {
		return err
	}
	now := time.Now().Unix()
	const skew, longest = 300, 600
	switch {
	case said.Exp == 0 || now >= said.Exp+skew || now < said.Nbf-skew:
		return errors.New("it is not within its time")
	case head.certified && (said.Iss != app.ClientID || said.Sub != app.ClientID):
		return errors.New("it is of another application")
	case head.certified && said.Aud != endpoint:
		return errors.New("its audience is not this token endpoint")
	case head.certified && said.Exp-said.Nbf > longest:
		return errors.New("it is valid for more than ten minutes")
	case head.certified && (said.Jti == "" || r.jtis[said.Jti]):
		return errors.New("its jti is missing, or was used before")
	}
	r.jtis[said.Jti] = true
	if f := app.Proofs.Federation; !head.certified {
		audience := f.Audience
		set(&audience, "api://AzureADTokenExchange")
		if said.Iss != f.Issuer || said.Sub != f.Subject || said.Aud != audience {
			return errors.New("no federated credential has its issuer, subject and audience")
		}
	}
	return nil
}

// header of an assertion. Names count letter by letter.
type header struct {
	Alg       string `json:"alg"`
	X5t       string `json:"x5t"`
	X5tS256   string `json:"x5t#S256"`
	certified bool   // signed with a certificate of the registration
}

// verified checks the signature over the very bytes that came.
func (p Proofs) verified(token string) (h header, c claims, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return h, c, errors.New("the assertion has not three parts")
	}
	var raw [3][]byte
	for i, part := range parts {
		if raw[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return h, c, fmt.Errorf("part %d of the assertion: %w", i+1, err)
		}
	}
	var aud struct {
		Aud any `json:"aud"`
	}
	if err := errors.Join(json.Unmarshal(raw[0], &h), json.Unmarshal(raw[1], &aud)); err != nil {
		return h, c, err
	}
	if list, ok := aud.Aud.([]any); ok && len(list) == 1 { // as Kubernetes writes it
		raw[1] = []byte(strings.Replace(string(raw[1]), fmt.Sprintf("[%q]", list[0]), fmt.Sprintf("%q", list[0]), 1))
	}
	if err := json.Unmarshal(raw[1], &c); err != nil {
		return h, c, err
	}
	key, err := p.key(&h)
	if err != nil {
		return h, c, err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	switch h.Alg {
	case "PS256":
		err = rsa.VerifyPSS(key, crypto.SHA256, sum[:], raw[2], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "RS256":
		err = rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw[2])
	default:
		err = errors.New("the algorithm is not taken")
	}
	return h, c, err
}

// key is what the assertion must have been signed with.
func (p Proofs) key(h *header) (*rsa.PublicKey, error) {
	for _, cert := range p.Certificates {
		long, short := sha256.Sum256(cert.Raw), sha1.Sum(cert.Raw) //nolint:gosec // see the import
		if h.X5tS256 == b64(long[:]) || h.X5t == b64(short[:]) {
			if time.Now().After(cert.NotAfter) {
				return nil, errors.New("the certificate is over")
			}
			h.certified = true
			return cert.PublicKey.(*rsa.PublicKey), nil
		}
	}
	if p.Federation != nil && h.X5t == "" && h.X5tS256 == "" {
		return p.Federation.Key, nil
	}
	return nil, errors.New("the registration has no such certificate")
}
