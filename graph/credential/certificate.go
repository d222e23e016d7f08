package credential

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is SHA-1 by RFC 7515 4.1.7; it names the certificate and proves nothing
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Certificate is what an app signs assertions with. Its public part is known to the app's
// registration.
type Certificate struct {
	CertFile string
	KeyFile  string
	// Algorithm: empty or PS256, with the SHA-256 thumbprint (x5t#S256), as Microsoft's page
	// has it; RS256 with the SHA-1 thumbprint (x5t), as it had it until 2024, for clouds and
	// AD FS that are older.
	Algorithm string
}

// assertionLife is how long one assertion holds: "5-10 minutes after nbf at most".
const assertionLife = 5 * time.Minute

const minKeyBits = 2048

func (c Certificate) check() error {
	if c.CertFile == "" || c.KeyFile == "" {
		return fmt.Errorf("reading Graph's %s: it needs cert_file and key_file together", ByCertificate)
	}
	if c.Algorithm != "" && c.Algorithm != "PS256" && c.Algorithm != "RS256" {
		return fmt.Errorf("reading Graph's %s: algorithm is %.40q, none of PS256, RS256", ByCertificate, c.Algorithm)
	}
	return nil
}

// pair is a certificate with its key, read and found fit.
type pair struct {
	der []byte
	key *rsa.PrivateKey
	end time.Time
}

func (c Certificate) read() (*pair, error) {
	both, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading Graph's %s: %w", ByCertificate, err)
	}
	key, ok := both.PrivateKey.(*rsa.PrivateKey)
	if !ok || key.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("reading Graph's %s %s: its key is not RSA of %d bits or more, which assertions are signed with", ByCertificate, c.CertFile, minKeyBits)
	}
	return &pair{der: both.Certificate[0], key: key, end: both.Leaf.NotAfter}, nil
}

// signed makes an assertion. Files that cannot be read, such as a certificate whose key is
// not there yet, leave the pair of before in force as long as it holds.
func (p *Prover) signed(now time.Time) (Proof, error) {
	fresh, err := p.conf.Certificate.read()
	p.mu.Lock()
	if err == nil {
		p.last = fresh
	}
	use := p.last
	p.mu.Unlock()
	switch {
	case use == nil:
		return Proof{}, err
	case !now.Before(use.end):
		return Proof{}, fmt.Errorf("reading Graph's %s %s: it ended at %s; make another, and add it to the app's registration", ByCertificate, p.conf.Certificate.CertFile, use.end.UTC().Format(time.RFC3339))
	case err != nil:
		p.conf.Logger.Warn("the certificate of before proves who an app is until the files can be read again", "err", err)
	}
	token, err := p.conf.assert(use, now)
	return assertion(token), err
}

// assert writes and signs one assertion.
func (c Config) assert(with *pair, now time.Time) (string, error) {
	claims := jwt.MapClaims{
		"aud": c.TokenURL, "iss": c.ClientID, "sub": c.ClientID, "jti": guid(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	}
	var t *jwt.Token
	if c.Certificate.Algorithm == "RS256" {
		t = jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
		sum := sha1.Sum(with.der) //nolint:gosec // see the import
		t.Header["x5t"] = base64.RawURLEncoding.EncodeToString(sum[:])
	} else {
		t = jwt.NewWithClaims(jwt.SigningMethodPS256, claims)
		sum := sha256.Sum256(with.der)
		t.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	text, err := t.SignedString(with.key)
	if err != nil {
		return "", fmt.Errorf("signing an assertion of who an app is: %w", err)
	}
	return text, nil
}

// guid is random (RFC 9562, version 4), for jti: used once.
func guid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// endOfCertificate reads when the first certificate in a file ends; zero: it cannot be
// read.
func endOfCertificate(file string) time.Time {
	text, err := os.ReadFile(file)
	for err == nil {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			return cert.NotAfter
		}
		break
	}
	return time.Time{}
}
