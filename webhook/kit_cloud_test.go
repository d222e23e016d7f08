package webhook

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"tandem/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ourApp    = "0efc74f7-41c3-47a4-8775-7259bfef4241"
	mediaApp  = "1efc74f7-41c3-47a4-8775-7259bfef4242" // app-hosted: its calls are pinned
	ourTenant = "6e1fc0e1-a55f-4277-89f4-aae9486d40a8"
	badTenant = "7e1fc0e1-a55f-4277-89f4-aae9486d40a9"
	hookPath  = "/api/calls"
)

var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// keyServer plays the cloud's key endpoint without a network.
type keyServer struct{}

func (keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	doc := any(map[string]any{"issuer": "https://api.botframework.com", "jwks_uri": "https://keys.example/keys"})
	if r.URL.Path == "/keys" {
		k := signingKey()
		b64 := base64.RawURLEncoding.EncodeToString
		doc = map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "kid": "k1", "use": "sig", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes()),
		}}}
	}
	if err := json.NewEncoder(w).Encode(doc); err != nil {
		return nil, err
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// newVerifier returns the real verifier, with its keys loaded.
func newVerifier(t testing.TB) *token.Verifier {
	t.Helper()
	v, err := token.New(context.Background(), token.Config{
		Profiles: []token.Profile{{
			Name: "public", OpenIDURL: []string{"https://keys.example/meta"}, Issuers: []string{"https://api.botframework.com"},
		}},
		HTTPClient: &http.Client{Transport: keyServer{}}, ClockSkew: 5 * time.Minute,
	}, []token.App{{ID: ourApp, Tenants: []string{ourTenant}, Profile: "public"}, {ID: mediaApp, Profile: "public"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := v.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return v
}

// mint makes a token as the calling service does: 300 s, no iat.
func mint(t testing.TB, app, tenant string) string {
	t.Helper()
	now := time.Now()
	tok := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": "https://api.botframework.com", "aud": app, "tid": tenant,
		"nbf": now.Unix(), "exp": now.Add(300 * time.Second).Unix(),
	})
	tok.Header["kid"] = "k1"
	s, err := tok.SignedString(signingKey())
	if err != nil {
		t.Fatal(err)
	}
	return s
}
