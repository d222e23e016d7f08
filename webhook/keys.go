package webhook

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"tandem/spelling"
)

// Key is one secret for handles and hop marks.
type Key struct {
	ID     string // 1 to 16 of [A-Za-z0-9_-]; it stands in every callback URI
	Secret []byte // at least 32 bytes
}

const (
	maxKeyID    = 16
	minSecret   = 32      // bytes: the hash's own strength (RFC 2104, section 3)
	maxSecret   = 1024    // bytes
	maxKeyFile  = 1 << 16 // bytes
	minDistinct = 12      // different bytes in a secret: 32 random ones have 30
)

// LoadHandles reads a keys file: one `id:base64` a line, the first signs, all
// verify; empty lines and lines that begin with # count for nothing. It refuses
// a file that others than its owner and group may read, and weak keys.
func LoadHandles(file string) (*Handles, error) {
	keys, err := ReadKeys(file)
	if err != nil {
		return nil, err
	}
	h, err := NewHandles(keys)
	if err != nil {
		return nil, fmt.Errorf("reading handle keys from %s: %w", file, err)
	}
	return h, nil
}

// ReadKeys reads a keys file as LoadHandles does, for Handles.Replace.
func ReadKeys(file string) ([]Key, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading handle keys: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading handle keys from %s: %w", file, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading handle keys from %s: it is no regular file", file)
	}
	if mode := info.Mode().Perm(); spelling.AnyoneMay(mode, 0o007) {
		return nil, fmt.Errorf("reading handle keys from %s: everybody on this machine may use it (mode %04o); chmod o= it", file, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading handle keys from %s: %w", file, err)
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("reading handle keys from %s: it is longer than %d bytes", file, maxKeyFile)
	}
	keys, err := parseKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("reading handle keys from %s: %w", file, err)
	}
	return keys, nil
}

// parseKeys never puts a line's text into an error: it may hold a secret.
func parseKeys(text string) ([]Key, error) {
	var keys []Key
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, secret, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("line %d is not id:base64", n)
		}
		raw, err := decodeSecret(strings.TrimSpace(secret))
		if err != nil {
			return nil, fmt.Errorf("line %d: the secret is not base64", n)
		}
		keys = append(keys, Key{ID: strings.TrimSpace(id), Secret: raw})
	}
	return keys, checkKeys(keys)
}

// decodeSecret takes the base64 that openssl and Go write, padded or not.
func decodeSecret(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if strings.ContainsAny(s, "-_") {
		return base64.RawURLEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}

func checkKeys(keys []Key) error {
	if len(keys) == 0 {
		return errors.New("checking handle keys: there is none")
	}
	for i, k := range keys {
		if !isKeyID(k.ID) {
			return fmt.Errorf("checking handle keys: the id of key %d is outside [A-Za-z0-9_-]{1,%d}", i+1, maxKeyID)
		}
		if len(k.Secret) < minSecret || len(k.Secret) > maxSecret {
			return fmt.Errorf("checking handle keys: key %q has %d bytes, allowed are %d to %d", k.ID, len(k.Secret), minSecret, maxSecret)
		}
		if distinct(k.Secret) < minDistinct {
			return fmt.Errorf("checking handle keys: key %q is not random (head -c 32 /dev/urandom | base64)", k.ID)
		}
		for _, other := range keys[:i] {
			if other.ID == k.ID {
				return fmt.Errorf("checking handle keys: two keys are called %q", k.ID)
			}
			if bytes.Equal(other.Secret, k.Secret) {
				return fmt.Errorf("checking handle keys: %q and %q are the same key", other.ID, k.ID)
			}
		}
	}
	return nil
}

func isKeyID(s string) bool {
	if len(s) == 0 || len(s) > maxKeyID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isLower(c) && (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func distinct(b []byte) int {
	var seen [256]bool
	n := 0
	for _, c := range b {
		if !seen[c] {
			seen[c] = true
			n++
		}
	}
	return n
}
