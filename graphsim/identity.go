package graphsim

import (
	"encoding/json"
	"maps"
	"net/http"
	"sync"
	"time"
)

// The paths of the real services.
const (
	openIDPath = "/v1/.well-known/OpenIdConfiguration"
	keysPath   = "/v1/keys"
	tokenPath  = "/tenant/oauth2/v2.0/token"
	graphPath  = "/v1.0"
)

// OpenIDURL is where the OpenID configuration of the calling service is.
func (c *Cloud) OpenIDURL() string { return c.base + openIDPath }

// TokenURL is where client credentials become a bearer token.
func (c *Cloud) TokenURL() string { return c.base + tokenPath }

// GraphURL is the base of the calls API: base_url of an app's graph settings.
func (c *Cloud) GraphURL() string { return c.base + graphPath }

// keyDoor is where tokens, and the keys to check them with, come from.
type keyDoor struct{ *Cloud }

// serveOpenID answers as the published document does, its wrong algorithm name
// and the foreign issuer included.
func (c *keyDoor) serveOpenID(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                IssuerBotFramework,
		"authorization_endpoint":                "https://invalid.botframework.com/",
		"jwks_uri":                              c.base + keysPath,
		"id_token_signing_alg_values_supported": []string{"RSA256"},
		"token_endpoint_auth_methods_supported": []string{"private_key_jwt"},
	})
}

func (c *keyDoor) serveKeys(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(c.keys.jwks()) // a reader that left needs no answer
}

// bearers are the outbound tokens of the apps: bearer to app.
type bearers struct {
	mu  sync.Mutex
	app map[string]bearer
}

type bearer struct {
	app App
	end time.Time
}

func (b *bearers) issue(app App, token string, life time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.app[token] = bearer{app, time.Now().Add(life)}
}

// withdraw ends the bearers of an app.
func (b *bearers) withdraw(app string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.app, func(_ string, t bearer) bool { return t.app.ID == app })
}

// own returns the bearer with which the sample bots act for an app.
func (b *bearers) own(app App) string {
	token := "bot-of-" + app.ID
	b.issue(app, token, time.Hour)
	return token
}

func (b *bearers) known(header string) (App, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	const scheme = "Bearer "
	if len(header) <= len(scheme) {
		return App{}, false
	}
	t, ok := b.app[header[len(scheme):]]
	return t.app, ok && time.Now().Before(t.end)
}

// serveToken is the client credentials grant (RFC 6749 4.4); the client may
// authenticate by form or by Basic, or by an assertion (RFC 7523 2.2).
func (c *keyDoor) serveToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if r.ParseForm() != nil || r.PostForm.Get("grant_type") != "client_credentials" {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type"})
		return
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	app, err := c.registered.prove(r.PostForm, id, secret, c.TokenURL())
	if err != nil {
		// As the real endpoint does, it tells more than a client may log.
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": err.Error() + ": " + secret + r.PostForm.Get("client_assertion")})
		return
	}
	token := "sim-" + c.dice.guid()
	c.bearers.issue(app, token, time.Hour)
	writeJSON(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": 3599, "access_token": token})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a reader that left needs no answer
}
