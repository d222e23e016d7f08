// Package pass is the word by which the regions of a deployment let each other's nodes
// read at their admin doors. A node signs a pass for one request with a key that all
// regions share; whoever checks it keeps nothing.
//
// A pass names the region that it leads to, the method and the path, so one that was
// seen on its way opens nothing else, and it is good for about a minute. It says who
// asks, and in whose name. What it allows is the door's to say: reading.
package pass

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// Life is how long a pass is good, by the clock of the node that signed it.
	Life = time.Minute
	// Skew is how far the clocks of two regions may differ.
	Skew = 30 * time.Second
	// MaxLen bounds a pass, in bytes.
	MaxLen = 2048

	prefix = "tandem-pass-1."
)

// ErrForged says that no key of this deployment has signed it, or that it is no pass.
var ErrForged = errors.New("it is no pass that a key of this deployment has signed")

// Pass is what one says.
type Pass struct {
	Deployment string    `json:"deployment"`
	From       string    `json:"from"` // region
	Node       string    `json:"node"` // of it
	To         string    `json:"to"`   // region
	Operator   string    `json:"operator,omitempty"`
	Method     string    `json:"method"`
	Path       string    `json:"path"`
	Expires    time.Time `json:"expires"`
}

// Is reports whether a bearer token means to be a pass.
func Is(secret string) bool { return strings.HasPrefix(secret, prefix) }

// Sign writes a pass.
func Sign(key []byte, p Pass) string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // of a year beyond 9999
	}
	body := base64.RawURLEncoding.EncodeToString(text)
	return prefix + body + "." + base64.RawURLEncoding.EncodeToString(sum(key, body))
}

// Read returns what a pass says if one of the keys has signed it, else ErrForged.
func Read(keys [][]byte, secret string) (Pass, error) {
	body, signature, ok := strings.Cut(strings.TrimPrefix(secret, prefix), ".")
	if !ok || !Is(secret) || len(secret) > MaxLen {
		return Pass{}, ErrForged
	}
	got, err := base64.RawURLEncoding.Strict().DecodeString(signature)
	if err != nil || !signed(keys, body, got) {
		return Pass{}, ErrForged
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(body)
	var p Pass
	if err != nil || json.Unmarshal(text, &p) != nil {
		return Pass{}, ErrForged
	}
	return p, nil
}

func signed(keys [][]byte, body string, got []byte) bool {
	return slices.ContainsFunc(keys, func(key []byte) bool { return hmac.Equal(sum(key, body), got) })
}

func sum(key []byte, body string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(prefix + body))
	return h.Sum(nil)
}

// Check says why a pass that was read does not open this door now, in a sentence.
func (p Pass) Check(deployment, region, method, path string, now time.Time) error {
	switch {
	case p.Deployment != deployment:
		return fmt.Errorf("the pass is of deployment %q, this is %q", p.Deployment, deployment)
	case p.To != region:
		return fmt.Errorf("the pass leads to region %q, this is %q: compare the regions' admin_urls", p.To, region)
	case p.Method != method || p.Path != path:
		return errors.New("the pass was signed for another request")
	case now.After(p.Expires.Add(Skew)), now.Add(Life + Skew).Before(p.Expires):
		return fmt.Errorf("the pass of node %s has expired, or is not good yet: it is good for %s until %s, and here it is %s: compare the clocks",
			p.Node, Life, p.Expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// Name is how a door calls whoever shows the pass: operator@region, else region/node.
func (p Pass) Name() string {
	if p.Operator != "" {
		return p.Operator + "@" + p.From
	}
	return p.From + "/" + p.Node
}
