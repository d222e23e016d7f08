package token

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"

	"filippo.io/bigmod"
)

// checker checks RS256 signatures of one key. crypto/rsa makes the constants of the key's
// modulus anew for each signature, which is a third of the work: here they are made once.
type checker struct {
	modulus *bigmod.Modulus
	e       uint
}

// newChecker takes a key that readKey has passed.
func newChecker(k *rsa.PublicKey) *checker {
	m, err := bigmod.NewModulus(k.N.Bytes())
	if err != nil {
		panic(err) // the modulus is above one
	}
	return &checker{modulus: m, e: uint(k.E)}
}

// sha256Info stands before a SHA-256 in a signature: RFC 8017, 9.2, note 1.
var sha256Info = []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}

// good reports whether sig signs text: RSASSA-PKCS1-v1_5 with SHA-256, RFC 8017, 8.2.2. What
// was signed is not taken apart: it is compared with the one encoding that there is, so
// nothing can hide in its padding.
func (c *checker) good(text string, sig []byte) bool {
	if len(sig) != c.modulus.Size() {
		return false
	}
	s, err := bigmod.NewNat().SetBytes(sig, c.modulus)
	if err != nil { // not below the modulus
		return false
	}
	sum := sha256.Sum256([]byte(text))
	want := bytes.Repeat([]byte{0xff}, c.modulus.Size()-len(sum))
	want[0], want[1] = 0, 1
	want[len(want)-len(sha256Info)-1] = 0
	copy(want[len(want)-len(sha256Info):], sha256Info)
	want = append(want, sum[:]...)
	return bytes.Equal(bigmod.NewNat().ExpShortVarTime(s, c.e, c.modulus).Bytes(c.modulus), want)
}
