package graphsim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// Issuers that the calling service has been seen to use.
const (
	IssuerBotFramework = "https://api.botframework.com"
	IssuerGraph        = "https://graph.microsoft.com"
)

// callingService is the appid claim of real calling tokens (bot-docs#2242).
const callingService = "26a18ebc-cdf7-4a6a-91cb-beb352805e81"

// Key says which key signs a token.
type Key int

// The keys of Mint.
const (
	KeyCurrent   Key = iota // the published signer
	KeyWithdrawn            // the one withdrawn last
	KeyStranger             // never published, under the signer's kid
	KeyUnknown              // never published, under its own kid
)

// TokenOptions shape a token. The zero value is a good token for the first app
// and its first tenant, as the service sends it: RS256, 300 s, no iat, cty JWT.
type TokenOptions struct {
	Audience string
	Tenant   string
	Issuer   string        // default IssuerBotFramework
	Life     time.Duration // from NotBefore; default Timings.TokenLife
	Age      time.Duration // how long ago it became valid; may be negative
	Key      Key
	Header   map[string]any // put over the header's members; nil value: remove
	Claims   map[string]any // put over the claims; nil value: remove
	Unsigned bool           // leave the third part empty
}

// Mint makes a token.
func (c *Cloud) Mint(o TokenOptions) (string, error) {
	set(&o.Audience, c.cfg.Apps[0].ID)
	set(&o.Tenant, c.cfg.Apps[0].Tenants[0])
	set(&o.Issuer, IssuerBotFramework)
	set(&o.Life, c.cfg.Timings.TokenLife)
	key := c.keys.signer()
	kid := key.kid
	switch o.Key {
	case KeyWithdrawn:
		key = c.keys.lastWithdrawn()
		kid = key.kid
	case KeyStranger:
		key = c.keys.stranger
	case KeyUnknown:
		key = c.keys.stranger
		kid = key.kid
	}
	from := time.Now().Add(-o.Age)
	header := map[string]any{"alg": "RS256", "kid": kid, "x5t": kid, "typ": "JWT", "cty": "JWT"}
	claims := map[string]any{
		"tid": o.Tenant, "appid": callingService, "iss": o.Issuer, "aud": o.Audience,
		"nbf": from.Unix(), "exp": from.Add(o.Life).Unix(),
	}
	return sign(key, overlay(header, o.Header), overlay(claims, o.Claims), o.Unsigned)
}

func overlay(base, over map[string]any) map[string]any {
	maps.Copy(base, over)
	maps.DeleteFunc(base, func(_ string, v any) bool { return v == nil })
	return base
}

func sign(key *signingKey, header, claims map[string]any, unsigned bool) (string, error) {
	h, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("minting a token: writing its header: %w", err)
	}
	p, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("minting a token: writing its claims: %w", err)
	}
	text := b64(h) + "." + b64(p)
	if unsigned {
		return text + ".", nil
	}
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("minting a token: signing it: %w", err)
	}
	return text + "." + b64(sig), nil
}
