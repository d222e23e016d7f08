package token

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
	"strconv"
	"testing"
)

// sealed signs any encoded message, whether or not it is one that a signer would make.
func sealed(k *rsa.PrivateKey, encoded []byte) []byte {
	return new(big.Int).Exp(new(big.Int).SetBytes(encoded), k.D, k.N).FillBytes(make([]byte, k.Size()))
}

// encodings are messages as a forger would have them who can choose what the key's owner
// signs, or whose key has a small exponent: only the first is right.
func encodings(k *rsa.PrivateKey, text string) [][]byte {
	sum := sha256.Sum256([]byte(text))
	tail := append(bytes.Clone(sha256Info), sum[:]...)
	pad := func(n int) []byte { return bytes.Repeat([]byte{0xff}, n) }
	free := k.Size() - 3 - len(tail)
	other := bytes.Clone(tail)
	other[14] = 3 // SHA-512's object
	noNull := append(append([]byte{0x30, 0x2f, 0x30, 0x0b}, sha256Info[4:15]...), append([]byte{0x04, 0x20}, sum[:]...)...)
	return [][]byte{
		bytes.Join([][]byte{{0, 1}, pad(free), {0}, tail}, nil),
		bytes.Join([][]byte{{0, 2}, pad(free), {0}, tail}, nil),
		bytes.Join([][]byte{{0, 1}, pad(free), {0}, other}, nil),
		bytes.Join([][]byte{{0, 1}, pad(free - 8), {0}, tail, make([]byte, 8)}, nil), // Bleichenbacher 2006: bytes behind the hash
		bytes.Join([][]byte{{0, 1}, pad(8), {0}, tail, make([]byte, free-8)}, nil),
		bytes.Join([][]byte{{0, 1}, pad(free - 1), {0xfe, 0}, tail}, nil),
		bytes.Join([][]byte{{0, 1}, pad(free + 2), {0}, noNull}, nil), // without the NULL of the parameters
		bytes.Join([][]byte{{0, 1}, pad(k.Size() - 3 - len(sum)), {0}, sum[:]}, nil),
	}
}

// TestSignaturesAsTheStandardLibrary holds the check against crypto/rsa's.
func TestSignaturesAsTheStandardLibrary(t *testing.T) {
	const text = "header.claims"
	for _, bits := range []int{2048, 3072, 4096} {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		c := newChecker(&k.PublicKey)
		all := [][]byte{nil, make([]byte, k.Size()), k.N.Bytes(), bytes.Repeat([]byte{0xff}, k.Size()), {1}}
		for _, e := range encodings(k, text) {
			s := sealed(k, e)
			flipped := bytes.Clone(s)
			flipped[7] ^= 4
			above := new(big.Int).Add(new(big.Int).SetBytes(s), k.N).Bytes() // the same number modulo the key
			all = append(all, s, flipped, above, s[1:], append([]byte{0}, s...))
		}
		good := 0
		for i, s := range all {
			sum := sha256.Sum256([]byte(text))
			want := rsa.VerifyPKCS1v15(&k.PublicKey, crypto.SHA256, sum[:], s) == nil
			if want {
				good++
			}
			if is := c.good(text, s); is != want {
				t.Errorf("%d bits: signature %d is %t, crypto/rsa says %t", bits, i, is, want)
			}
			if c.good(text+"x", s) {
				t.Errorf("%d bits: signature %d is good for another text", bits, i)
			}
		}
		if good != 1 {
			t.Errorf("%d bits: %d of the signatures are good, want the one", bits, good)
		}
	}
}

// TestSignatureHasTheKeysLength leaves out the first byte of a signature that begins with
// zero: the number is the same, and it has a second spelling that way.
func TestSignatureHasTheKeysLength(t *testing.T) {
	k := keyA()
	c := newChecker(&k.PublicKey)
	for i := range 20_000 {
		text := strconv.Itoa(i)
		sum := sha256.Sum256([]byte(text))
		s, err := rsa.SignPKCS1v15(nil, k, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		if s[0] != 0 {
			continue
		}
		if !c.good(text, s) || c.good(text, s[1:]) {
			t.Errorf("whole it is %t, without its zero %t", c.good(text, s), c.good(text, s[1:]))
		}
		return
	}
	t.Error("no signature begins with zero")
}

// FuzzSignature holds any bytes, raw and as an encoded message, against crypto/rsa.
func FuzzSignature(f *testing.F) {
	k := keyA()
	c := newChecker(&k.PublicKey)
	for _, e := range encodings(k, "text") {
		f.Add("text", e)
	}
	f.Fuzz(func(t *testing.T, text string, b []byte) {
		sum := sha256.Sum256([]byte(text))
		for _, s := range [][]byte{b, sealed(k, b)} {
			if is, want := c.good(text, s), rsa.VerifyPKCS1v15(&k.PublicKey, crypto.SHA256, sum[:], s) == nil; is != want {
				t.Errorf("the signature %x is %t, crypto/rsa says %t", s, is, want)
			}
		}
	})
}

// BenchmarkSignature is one check with the constants of the key made once, and as
// crypto/rsa has it.
func BenchmarkSignature(b *testing.B) {
	k := keyA()
	text := "header.claims"
	s := sealed(k, encodings(k, text)[0])
	b.Run("kept", func(b *testing.B) {
		c := newChecker(&k.PublicKey)
		b.ReportAllocs()
		for b.Loop() {
			if !c.good(text, s) {
				b.Fatal("refused")
			}
		}
	})
	b.Run("crypto/rsa", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			sum := sha256.Sum256([]byte(text))
			if rsa.VerifyPKCS1v15(&k.PublicKey, crypto.SHA256, sum[:], s) != nil {
				b.Fatal("refused")
			}
		}
	})
}
