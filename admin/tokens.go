package admin

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/spelling"
)

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

const (
	tokensFileLimit = 1 << 20 // bytes
	longestToken    = 512     // bytes
)

// loadTokens reads a tokens file:
//
//	tokens:
//	  - name: alice                     # shown in the audit log
//	    roles: [operate]                # read, operate, bot, join
//	    sha256: 9f86d081884c7d65…       # of the token, in hex: HashToken
//	    expires: 2027-01-01T00:00:00Z   # optional
//
// An unknown key, a name or hash that appears twice, a missing role and a file
// that everybody may read are errors.
func loadTokens(path string) ([]ownership.DoorToken, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the tokens file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the tokens file %s: %w", path, err)
	}
	if info.Mode().IsRegular() && spelling.AnyoneMay(info.Mode(), 0o002) {
		return nil, fmt.Errorf("reading the tokens file %s: everybody may write it (mode %04o); chmod 0640 it", path, info.Mode().Perm())
	}
	body, err := io.ReadAll(io.LimitReader(f, tokensFileLimit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the tokens file %s: %w", path, err)
	}
	if len(body) > tokensFileLimit {
		return nil, fmt.Errorf("reading the tokens file %s: it is longer than %d bytes", path, tokensFileLimit)
	}
	tokens, err := parseTokens(body)
	if err != nil {
		return nil, fmt.Errorf("reading the tokens file %s: %w", path, err)
	}
	return tokens, nil
}

// quoted is a text of the file in an error of its parser.
var quoted = regexp.MustCompile("`[^`]*`")

func parseTokens(body []byte) ([]ownership.DoorToken, error) {
	var file struct {
		Tokens []struct {
			Name    string    `yaml:"name"`
			Roles   []string  `yaml:"roles"`
			SHA256  string    `yaml:"sha256"`
			Expires time.Time `yaml:"expires"`
		} `yaml:"tokens"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(body))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		// The parser repeats the beginning of a text, and the wrong file may hold secrets.
		return nil, errors.New(quoted.ReplaceAllString(err.Error(), "a text"))
	}
	if len(file.Tokens) == 0 {
		return nil, errors.New("it holds no token, so nobody could enter")
	}
	names, hashes := map[string]bool{}, map[[sha256.Size]byte]bool{}
	out := make([]ownership.DoorToken, 0, len(file.Tokens))
	for i, e := range file.Tokens {
		t := ownership.DoorToken{Name: e.Name, Roles: e.Roles, Expires: e.Expires}
		switch {
		case !tokenName.MatchString(e.Name):
			return nil, fmt.Errorf("entry %d: its name must match %s", i+1, tokenName)
		case names[e.Name]:
			return nil, fmt.Errorf("entry %d: the name %q appears twice", i+1, e.Name)
		case len(e.Roles) == 0:
			return nil, fmt.Errorf("entry %q has no roles; choose from read, operate, bot, join", e.Name)
		}
		for _, r := range e.Roles {
			if !slices.Contains(allRoles, api.Role(r)) {
				return nil, fmt.Errorf("entry %q: %q is none of the roles read, operate, bot, join", e.Name, r)
			}
		}
		raw, err := hex.DecodeString(e.SHA256)
		if err != nil || len(raw) != sha256.Size {
			// The text is not shown: somebody may have pasted the token itself.
			return nil, fmt.Errorf("entry %q: its sha256 must be 64 hex digits", e.Name)
		}
		t.Hash = [sha256.Size]byte(raw)
		if hashes[t.Hash] {
			return nil, fmt.Errorf("entry %q has the token of another entry", e.Name)
		}
		names[t.Name], hashes[t.Hash] = true, true
		out = append(out, t)
	}
	return out, nil
}

// HashToken returns what a tokens file holds of a token: the SHA-256 in hex.
func HashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// CheckTokensFile reads a tokens file and says what is wrong with it.
func CheckTokensFile(path string) error {
	_, err := loadTokens(path)
	return err
}

// findToken compares a secret's hash with every token and never stops early, so
// that the time it takes tells nothing about which one was close.
func findToken(tokens []ownership.DoorToken, sum [sha256.Size]byte) (ownership.DoorToken, bool) {
	at := -1
	for i := range tokens {
		if subtle.ConstantTimeCompare(sum[:], tokens[i].Hash[:]) == 1 {
			at = i
		}
	}
	if at < 0 {
		return ownership.DoorToken{}, false
	}
	return tokens[at], true
}

// bearer takes the token out of an Authorization header; no header is no token.
func bearer(header string) string {
	scheme, secret, _ := strings.Cut(header, " ")
	secret = strings.TrimSpace(secret)
	switch {
	case header == "":
		return ""
	case !strings.EqualFold(scheme, "Bearer") || secret == "":
		return unreadable
	}
	return secret
}

// plausible reports whether a secret may be a token of this door. A JSON Web Token
// is none, whatever a tokens file holds: the calling service's tokens open the
// public door only.
func plausible(secret string) bool {
	isJWT := strings.HasPrefix(secret, "eyJ") && strings.Count(secret, ".") == 2
	return len(secret) <= longestToken && !isJWT
}
