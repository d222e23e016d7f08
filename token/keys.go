package token

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a key set.
const (
	minKeyBits  = 2048 // RFC 7518 3.3
	maxKeyBits  = 8192 // beyond, one verification costs milliseconds
	maxKeys     = 256  // kept or ignored; the largest set seen in the wild listed 24
	maxKeyIDLen = 256
)

// key is one RSA key that may verify tokens. Across refreshes the same key
// keeps its address, so a cached verdict can ask whether its key is still there.
type key struct {
	id     string
	public *rsa.PublicKey
	print  [sha256.Size]byte // of id, exponent and modulus
	source *source
}

// keySet is what one metadata URL offered at one time. It is never changed.
type keySet struct {
	at      time.Time
	keys    map[string][]*key // several of one id: a set that reuses an id
	ignored map[string]string // key id -> why it may not verify tokens
	count   int               // of keys
	why     map[string]int    // reason -> number of ignored keys
}

func (s *keySet) has(k *key) bool { return slices.Contains(s.keys[k.id], k) }

func (s *keySet) fresh(now time.Time) bool { return now.Sub(s.at) <= MaxKeyAge }

// Reasons for ignoring a key: labels of a metric, notes of Explain.
const (
	ignoredUnreadable = "unreadable"
	ignoredNotRSA     = "not_rsa"
	ignoredUse        = "not_for_signatures"
	ignoredAlgorithm  = "other_algorithm"
	ignoredNoID       = "no_key_id"
	ignoredWeak       = "weak"
	ignoredTooLarge   = "too_large"
	ignoredExponent   = "bad_exponent"
	ignoredTooMany    = "too_many"
)

// readKeySet reads a JWK set (RFC 7517 5). A key that cannot be used is
// counted and left out, it never voids the others; a set without any usable
// key is an error, so that an empty answer cannot replace a good set. Keys
// known from before keep their address.
func readKeySet(body []byte, from *source, before *keySet, at time.Time) (*keySet, error) {
	var doc struct {
		Keys []jsontext.Value `json:"keys"`
	}
	// Repeated names inside one key must spoil that key alone.
	if err := json.Unmarshal(body, &doc, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		return nil, fmt.Errorf("reading a key set: %w", describe(err))
	}
	set := &keySet{at: at, keys: map[string][]*key{}, ignored: map[string]string{}, why: map[string]int{}}
	for i, raw := range doc.Keys {
		if i >= maxKeys {
			set.why[ignoredTooMany] += len(doc.Keys) - i
			break
		}
		set.add(raw, from, before)
	}
	if set.count == 0 {
		return nil, fmt.Errorf("reading a key set: none of its %d keys can verify RS256 tokens", len(doc.Keys))
	}
	return set, nil
}

// add reads one key into the set, or counts it as ignored.
func (s *keySet) add(raw jsontext.Value, from *source, before *keySet) {
	id, public, why := readKey(raw)
	if why != "" {
		s.why[why]++
		if id != "" {
			s.ignored[id] = why
		}
		return
	}
	k := &key{id: id, public: public, print: fingerprint(id, public), source: from}
	same := func(o *key) bool { return o.print == k.print }
	if slices.ContainsFunc(s.keys[id], same) {
		return // a published set listed each key twice: botframework-sdk issue 4265
	}
	if before != nil {
		if i := slices.IndexFunc(before.keys[id], same); i >= 0 {
			k = before.keys[id][i]
		}
	}
	s.keys[id] = append(s.keys[id], k)
	s.count++
}

// readKey reads one JWK. The reason is empty when the key may verify RS256
// signatures; the id is given whenever it could be read.
func readKey(raw jsontext.Value) (id string, public *rsa.PublicKey, why string) {
	var m jwkset.JWKMarshal
	if json.Unmarshal(raw, &m) != nil {
		return "", nil, ignoredUnreadable
	}
	if !usableKeyID(m.KID) {
		return "", nil, ignoredNoID
	}
	switch {
	case m.KTY != jwkset.KtyRSA:
		return m.KID, nil, ignoredNotRSA
	case m.USE != "" && m.USE != jwkset.UseSig,
		len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify):
		return m.KID, nil, ignoredUse
	case m.ALG != "" && m.ALG != jwkset.AlgRS256:
		return m.KID, nil, ignoredAlgorithm
	case m.E != "" && !usableExponent(m.E):
		return m.KID, nil, ignoredExponent
	}
	public, err := publicKey(m)
	switch {
	case err != nil:
		return m.KID, nil, ignoredUnreadable
	case public.N.BitLen() < minKeyBits:
		return m.KID, nil, ignoredWeak
	case public.N.BitLen() > maxKeyBits:
		return m.KID, nil, ignoredTooLarge
	case public.N.Bit(0) == 0:
		return m.KID, nil, ignoredUnreadable
	case public.E < 3 || public.E%2 == 0: // from a certificate
		return m.KID, nil, ignoredExponent
	}
	return m.KID, public, ""
}

// usableExponent tells whether e is an odd number from 3 to 2³¹-1, which is
// what crypto/rsa takes. With e = 1 a signature is the message itself.
func usableExponent(e string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(e, "="))
	if err != nil {
		return false
	}
	n := new(big.Int).SetBytes(raw)
	return n.BitLen() >= 2 && n.BitLen() <= 31 && n.Bit(0) == 1
}

// publicKey takes the key from n and e, or from the first certificate where
// only that is given. Certificates beside n and e are not read: trust comes
// from the endpoint, and a certificate that Go cannot parse must not take a
// good key away. Nothing is ever fetched from x5u.
func publicKey(m jwkset.JWKMarshal) (*rsa.PublicKey, error) {
	var j jwkset.JWK
	var err error
	if m.N == "" && m.E == "" && len(m.X5C) > 0 {
		j, err = certificateKey(m)
	} else {
		j, err = jwkset.NewJWKFromMarshal(jwkset.JWKMarshal{KTY: m.KTY, KID: m.KID, N: m.N, E: m.E},
			jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	}
	if err != nil {
		return nil, err
	}
	public, ok := j.Key().(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("the key is not an RSA public key")
	}
	return public, nil
}

// certificateKey takes the key out of the first certificate of x5c.
func certificateKey(m jwkset.JWKMarshal) (jwkset.JWK, error) {
	der, err := base64.StdEncoding.DecodeString(m.X5C[0])
	if err != nil {
		return jwkset.JWK{}, fmt.Errorf("reading the certificate of a key: %w", err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return jwkset.JWK{}, fmt.Errorf("reading the certificate of a key: %w", err)
	}
	return jwkset.NewJWKFromX5C(jwkset.JWKOptions{X509: jwkset.JWKX509Options{X5C: []*x509.Certificate{c}}})
}

// usableKeyID tells whether a key id is short printable ASCII. Others are
// refused on both sides: a token with such an id cannot cause a fetch.
func usableKeyID(id string) bool {
	odd := func(c rune) bool { return c <= ' ' || c > '~' }
	return id != "" && len(id) <= maxKeyIDLen && !strings.ContainsFunc(id, odd)
}

func fingerprint(id string, k *rsa.PublicKey) [sha256.Size]byte {
	return sha256.Sum256(bytes.Join([][]byte{[]byte(id), []byte(strconv.Itoa(k.E)), k.N.Bytes()}, []byte{0}))
}
