package graphsim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is SHA-1 by RFC 7515 4.1.7
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// signingKey is one RSA key with its certificate. Its kid is the certificate's
// x5t, as in the service's own key set.
type signingKey struct {
	kid  string
	key  *rsa.PrivateKey
	cert []byte
}

func newSigningKey() (*signingKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "graphsim"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of a signing key: %w", err)
	}
	return &signingKey{kid: kidOf(cert), key: key, cert: cert}, nil
}

func kidOf(cert []byte) string {
	sum := sha1.Sum(cert) //nolint:gosec // see the import
	return b64(sum[:])
}

// keyRing holds the published keys; the last one signs, unless a token asks for
// another.
type keyRing struct {
	mu        sync.RWMutex
	published []*signingKey
	withdrawn []*signingKey
	stranger  *signingKey // never published
	taken     int         // keys taken from the stock, under its lock
}

// newKeyRing publishes the keys of a file, or without one two new keys.
func newKeyRing(file string) (r *keyRing, err error) {
	r = &keyRing{}
	if file != "" {
		r.published, err = fileKeys(file, r.pair)
	} else {
		r.published, err = r.pair()
	}
	if err != nil {
		return nil, err
	}
	r.stranger, err = r.fresh()
	return r, err
}

func (r *keyRing) pair() ([]*signingKey, error) {
	first, err := r.fresh()
	if err != nil {
		return nil, err
	}
	second, err := r.fresh()
	return []*signingKey{first, second}, err
}

// stock keeps the keys that were made in this process: one takes a tenth of a
// second, and tests start many clouds. A cloud never gets one key twice.
var stock struct {
	mu   sync.Mutex
	keys []*signingKey
}

// fresh returns a key that this ring has not had.
func (r *keyRing) fresh() (*signingKey, error) {
	stock.mu.Lock()
	defer stock.mu.Unlock()
	if r.taken == len(stock.keys) {
		k, err := newSigningKey()
		if err != nil {
			return nil, err
		}
		stock.keys = append(stock.keys, k)
	}
	k := *stock.keys[r.taken]
	r.taken++
	return &k, nil
}

func (r *keyRing) signer() *signingKey {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.published[len(r.published)-1]
}

func (r *keyRing) lastWithdrawn() *signingKey {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.withdrawn) == 0 {
		return r.stranger
	}
	return r.withdrawn[len(r.withdrawn)-1]
}

// Rotation is a way to change the signing keys (faults.md F39).
type Rotation int

// The rotations.
const (
	// RotateOverlap publishes a new key, which signs from now on; the old ones stay.
	RotateOverlap Rotation = iota
	// RotateWithdraw publishes a new key and withdraws all old ones.
	RotateWithdraw
	// RotateReuseKid puts a new key under the kid of the present signer.
	RotateReuseKid
)

// RotateKeys changes the signing keys now.
func (c *Cloud) RotateKeys(how Rotation) error {
	k, err := c.keys.fresh()
	if err != nil {
		return fmt.Errorf("rotating the keys: %w", err)
	}
	r := c.keys
	r.mu.Lock()
	defer r.mu.Unlock()
	switch how {
	case RotateWithdraw:
		r.withdrawn = append(r.withdrawn, r.published...)
		r.published = nil
	case RotateReuseKid:
		last := len(r.published) - 1
		k.kid = r.published[last].kid
		r.withdrawn = append(r.withdrawn, r.published[last])
		r.published = r.published[:last]
	}
	r.published = append(r.published, k)
	c.watchers.tell("", "cloud", "", "new signing key "+k.kid)
	return nil
}

// jwks writes the key set with the oddities of the real one: every kid twice
// (botframework-sdk#4265), endorsements, and keys that a reader must skip.
func (r *keyRing) jwks() []byte {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var keys []map[string]any
	for range 2 {
		for _, k := range r.published {
			keys = append(keys, map[string]any{
				"kty": "RSA", "use": "sig", "kid": k.kid, "x5t": k.kid,
				"n": b64(k.key.N.Bytes()), "e": b64(big.NewInt(int64(k.key.E)).Bytes()),
				"x5c":          []string{base64.StdEncoding.EncodeToString(k.cert)},
				"endorsements": []string{"skypeteams"},
			})
		}
	}
	keys = append(
		keys,
		map[string]any{"kty": "PQ-NEW", "use": "sig", "kid": "of-an-unknown-kind"},
		map[string]any{
			"kty": "RSA", "use": "sig", "kid": "certificate-only",
			"x5c": []string{base64.StdEncoding.EncodeToString(r.stranger.cert)},
		},
	)
	out, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err) // strings and maps of strings only
	}
	return out
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
