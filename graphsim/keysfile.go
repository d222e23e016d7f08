package graphsim

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// The kinds of PEM blocks in a keys file: each key is followed by its
// certificate.
const (
	pemKey  = "PRIVATE KEY"
	pemCert = "CERTIFICATE"
)

// fileKeys returns the signing keys that a file holds. Where there is no file it
// gets those that fresh gives, and only its owner may read it.
func fileKeys(file string, fresh func() ([]*signingKey, error)) ([]*signingKey, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		keys, err := fresh()
		if err != nil {
			return nil, err
		}
		return keys, writeKeys(file, keys)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys in %s: %w", file, err)
	}
	return keys, nil
}

func parseKeys(text []byte) (keys []*signingKey, err error) {
	for {
		key, rest := pem.Decode(text)
		if key == nil {
			break
		}
		cert, rest := pem.Decode(rest)
		if cert == nil || key.Type != pemKey || cert.Type != pemCert {
			return nil, errors.New("it must hold private keys in PEM, each followed by its certificate")
		}
		private, err := x509.ParsePKCS8PrivateKey(key.Bytes)
		if err != nil {
			return nil, err
		}
		signs, ok := private.(*rsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("it holds a %T and not an RSA key", private)
		}
		keys, text = append(keys, &signingKey{kid: kidOf(cert.Bytes), key: signs, cert: cert.Bytes}), rest
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no key in PEM")
	}
	return keys, nil
}

func writeKeys(file string, keys []*signingKey) error {
	var text bytes.Buffer
	for _, k := range keys {
		key, err := x509.MarshalPKCS8PrivateKey(k.key)
		if err != nil {
			return fmt.Errorf("writing the signing keys: %w", err)
		}
		for _, b := range []*pem.Block{{Type: pemKey, Bytes: key}, {Type: pemCert, Bytes: k.cert}} {
			if err := pem.Encode(&text, b); err != nil {
				return fmt.Errorf("writing the signing keys: %w", err)
			}
		}
	}
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("writing the signing keys: %w", err)
	}
	return nil
}
