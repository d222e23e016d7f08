package token

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"
)

// certificate makes a self-signed certificate of key A in the form of x5c.
func certificate(t *testing.T) string {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "keys"}, NotAfter: time.Unix(1<<31, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &keyA().PublicKey, keyA())
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// TestF38_OneBadKeyDoesNotVoidTheSet puts every kind of bad key beside a good one.
func TestF38_OneBadKeyDoesNotVoidTheSet(t *testing.T) {
	many := func(n int) string { return strings.Repeat("A", n) }
	cases := []struct {
		name string
		key  any // obj or raw JSON
		why  string
	}{
		{"a number", "7", ignoredUnreadable},
		{"null", "null", ignoredNoID},
		{"kid a number", jwk("x", keyB(), obj{"kid": 5}), ignoredUnreadable},
		{"member twice", `{"kty":"RSA","kid":"x","kid":"x"}`, ignoredUnreadable},
		{"invalid UTF-8", "{\"kty\":\"RSA\",\"kid\":\"\xff\"}", ignoredUnreadable},
		{"no kid", jwk("", keyB()), ignoredNoID},
		{"kid with a line break", jwk("a\nb", keyB()), ignoredNoID},
		{"kid of 257 bytes", jwk(many(257), keyB()), ignoredNoID},
		{"EC", obj{"kty": "EC", "kid": "x", "crv": "P-256", "x": "AA", "y": "AA"}, ignoredNotRSA},
		{"oct", obj{"kty": "oct", "kid": "x", "k": "AAAA"}, ignoredNotRSA},
		{"kty missing", obj{"kid": "x"}, ignoredNotRSA},
		{"B19 alg RS384", jwk("x", keyB(), obj{"alg": "RS384"}), ignoredAlgorithm},
		{"B19 alg PS256", jwk("x", keyB(), obj{"alg": "PS256"}), ignoredAlgorithm},
		{"B20 use enc", jwk("x", keyB(), obj{"use": "enc"}), ignoredUse},
		{"B20 use unknown", jwk("x", keyB(), obj{"use": "tls"}), ignoredUse},
		{"B20 key_ops without verify", jwk("x", keyB(), obj{"key_ops": []string{"wrapKey"}}), ignoredUse},
		{"B21 1024 bits", jwk("x", weakKey()), ignoredWeak},
		{"B22 exponent 0", jwk("x", keyB(), obj{"e": "AA"}), ignoredExponent},
		{"B22 exponent 1", jwk("x", keyB(), obj{"e": "AQ"}), ignoredExponent},
		{"B22 exponent even", jwk("x", keyB(), obj{"e": "BA"}), ignoredExponent},
		{"B22 exponent of 64 bits and more", jwk("x", keyB(), obj{"e": "AQAAAAAAAQAB"}), ignoredExponent},
		{"B22 exponent not base64url", jwk("x", keyB(), obj{"e": "!"}), ignoredExponent},
		{"B22 modulus of 65536 bits", jwk("x", keyB(), obj{"n": b64(append([]byte{0xff}, make([]byte, 8191)...))}), ignoredTooLarge},
		{"B22 modulus just above the limit", jwk("x", keyB(), obj{"n": b64(append([]byte{1}, append(make([]byte, 1023), 1)...))}), ignoredTooLarge},
		{"modulus even", jwk("x", keyB(), obj{"n": b64(append([]byte{0xff}, make([]byte, 255)...))}), ignoredUnreadable},
		{"modulus missing", jwk("x", keyB(), obj{"n": drop{}}), ignoredUnreadable},
		{"neither modulus nor certificate", jwk("x", keyB(), obj{"n": drop{}, "e": drop{}}), ignoredUnreadable},
		{"certificate unreadable, no modulus", jwk("x", keyB(), obj{"n": drop{}, "e": drop{}, "x5c": []string{"AAAA"}}), ignoredUnreadable},
		{"certificate not base64, no modulus", jwk("x", keyB(), obj{"n": drop{}, "e": drop{}, "x5c": []string{"!"}}), ignoredUnreadable},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			doc := `{"keys":[` + jsonText(tc.key) + `,` + jsonText(jwk("a", keyA())) + `]}`
			set, err := readKeySet([]byte(doc), &source{}, nil, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if set.count != 1 || len(set.keys["a"]) != 1 || set.why[tc.why] != 1 || len(set.why) != 1 {
				t.Errorf("the set has %d keys and ignores %v, wanted key a alone and %s", set.count, set.why, tc.why)
			}
		})
	}
}

// TestKeySetTolerance takes keys that are odd but sound.
func TestKeySetTolerance(t *testing.T) {
	cases := []struct {
		name string
		keys []obj
		n    int
	}{
		{"each key twice, as botframework-sdk issue 4265 saw it", []obj{jwk("a", keyA()), jwk("b", keyB()), jwk("a", keyA()), jwk("b", keyB())}, 2},
		{"no use, no alg", []obj{jwk("a", keyA(), obj{"use": drop{}})}, 1},
		{"alg RS256, key_ops verify", []obj{jwk("a", keyA(), obj{"alg": "RS256", "key_ops": []string{"verify"}})}, 1},
		{"certificate beside the modulus", []obj{jwk("a", keyA(), obj{"x5c": []string{certificate(t)}})}, 1},
		{"certificate alone", []obj{jwk("a", keyA(), obj{"n": drop{}, "e": drop{}, "x5c": []string{certificate(t)}})}, 1},
		{"unreadable certificate beside the modulus", []obj{jwk("a", keyA(), obj{"x5c": []string{"AAAA"}, "x5u": "file:///x"})}, 1},
		{"padded modulus", []obj{jwk("a", keyA(), obj{"n": base64.URLEncoding.EncodeToString(keyA().N.Bytes())})}, 1},
		{"one id, one key good and one weak", []obj{jwk("a", keyA()), jwk("a", weakKey())}, 1},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			data, err := json.Marshal(obj{"keys": tc.keys})
			if err != nil {
				t.Fatal(err)
			}
			set, err := readKeySet(data, &source{}, nil, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if set.count != tc.n || !set.keys["a"][0].public.Equal(&keyA().PublicKey) {
				t.Errorf("the set has %d keys, wanted %d with key a", set.count, tc.n)
			}
		})
	}
}

// TestKeySetBound keeps at most maxKeys of a large set.
func TestKeySetBound(t *testing.T) {
	keys := []obj{jwk("a", keyA())}
	for range maxKeys + 10 {
		keys = append(keys, obj{"kty": "EC", "kid": "x"})
	}
	data, err := json.Marshal(obj{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	set, err := readKeySet(data, &source{}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if set.count != 1 || set.why[ignoredTooMany] != 11 {
		t.Errorf("the set has %d keys and ignores %v, wanted 11 beyond the limit", set.count, set.why)
	}
}

// TestKeysKeepTheirAddress lets cached verdicts survive a refresh.
func TestKeysKeepTheirAddress(t *testing.T) {
	read := func(before *keySet, keys ...obj) *keySet {
		set, err := readKeySet([]byte(jsonText(obj{"keys": keys})), &source{}, before, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	first := read(nil, jwk("a", keyA()))
	second := read(first, jwk("a", keyA()), jwk("b", keyB()))
	if !second.has(first.keys["a"][0]) {
		t.Error("key a is another key after the refresh")
	}
	if third := read(second, jwk("a", keyB())); third.has(first.keys["a"][0]) {
		t.Error("another key under id a passes as the same key")
	}
}
