package token_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"tandem/token"
)

// A token of the calling service is accepted, one for another bot is not.
func Example() {
	private, _ := rsa.GenerateKey(rand.Reader, 2048)
	cloud := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			fmt.Fprintf(w, `{"keys":[{"kty":"RSA","kid":"k1","e":"AQAB","n":%q}]}`, base64.RawURLEncoding.EncodeToString(private.N.Bytes()))
			return
		}
		fmt.Fprintf(w, `{"jwks_uri":"http://%s/keys"}`, r.Host)
	}))
	defer cloud.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	verifier, err := token.New(ctx, token.Config{Profiles: []token.Profile{{
		Name: "local", OpenIDURL: []string{cloud.URL}, Issuers: []string{"https://issuer.example"},
	}}}, []token.App{{ID: "0efc74f7-41c3-47a4-8775-7259bfef4241", Profile: "local"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer verifier.Close()
	if err := verifier.WaitReady(ctx); err != nil {
		fmt.Println(err)
		return
	}
	for _, audience := range []string{"0efc74f7-41c3-47a4-8775-7259bfef4241", "another-bot"} {
		t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
			"iss": "https://issuer.example", "aud": audience, "tid": "contoso", "exp": time.Now().Add(time.Minute).Unix(),
		})
		t.Header["kid"] = "k1"
		raw, _ := t.SignedString(private)
		claims, err := verifier.Verify(ctx, http.Header{"Authorization": {"Bearer " + raw}})
		var refusal *token.Refusal
		if errors.As(err, &refusal) {
			fmt.Println(refusal.Status, refusal.Code)
			continue
		}
		fmt.Println("app", claims.App, "tenant", claims.Tenant)
	}
	// Output:
	// app 0efc74f7-41c3-47a4-8775-7259bfef4241 tenant contoso
	// 401 wrong_audience
}
