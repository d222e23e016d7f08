package graphsim

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func start(t *testing.T, cfg Config) (*Cloud, *http.Client) {
	t.Helper()
	cloud, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	t.Cleanup(client.CloseIdleConnections)
	return cloud, client
}

func fetch(t *testing.T, client *http.Client, method, url, bearer, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return 0, err.Error(), nil
	}
	return resp.StatusCode, string(text), resp.Header
}

// published reads the key set as a verifier would: RSA keys with n and e.
func published(t *testing.T, cloud *Cloud, client *http.Client) map[string]*rsa.PublicKey {
	t.Helper()
	_, text, _ := fetch(t, client, http.MethodGet, cloud.OpenIDURL(), "", "")
	var meta struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal([]byte(text), &meta); err != nil || meta.Issuer != IssuerBotFramework {
		t.Fatalf("the OpenID configuration is %q: %v", text, err)
	}
	_, text, _ = fetch(t, client, http.MethodGet, meta.JWKSURI, "", "")
	var set struct {
		Keys []struct{ Kty, Kid, N, E string }
	}
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		t.Fatal(err)
	}
	keys, seen := map[string]*rsa.PublicKey{}, map[string]int{}
	for _, k := range set.Keys {
		if k.Kty != "RSA" || k.N == "" {
			continue
		}
		seen[k.Kid]++
		n, err1 := base64.RawURLEncoding.DecodeString(k.N)
		e, err2 := base64.RawURLEncoding.DecodeString(k.E)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		keys[k.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	for kid, n := range seen {
		if n != 2 {
			t.Errorf("kid %s is published %d times, not twice as by the real service", kid, n)
		}
	}
	return keys
}

func verify(token string, keys map[string]*rsa.PublicKey) (jwt.MapClaims, *jwt.Token, error) {
	claims := jwt.MapClaims{}
	parsed, err := jwt.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		if k, ok := keys[kid]; ok {
			return k, nil
		}
		return nil, jwt.ErrTokenUnverifiable
	}, jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired())
	return claims, parsed, err
}

func TestTokensAreAsTheServiceMakesThem(t *testing.T) {
	cloud, client := start(t, Config{})
	keys := published(t, cloud, client)
	if len(keys) < 2 {
		t.Fatalf("%d keys are published", len(keys))
	}
	mint := func(o TokenOptions) string {
		token, err := cloud.Mint(o)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	claims, token, err := verify(mint(TokenOptions{}), keys)
	if err != nil {
		t.Fatal(err)
	}
	if life := claims["exp"].(float64) - claims["nbf"].(float64); life != 300 {
		t.Errorf("it lives %v s", life)
	}
	if _, ok := claims["iat"]; ok || token.Header["cty"] != "JWT" || claims["tid"] == "" || claims["aud"] != cloud.cfg.Apps[0].ID {
		t.Errorf("header %v, claims %v", token.Header, claims)
	}
	for name, o := range map[string]TokenOptions{
		"stranger's key":       {Key: KeyStranger},
		"unknown kid":          {Key: KeyUnknown},
		"unsigned":             {Unsigned: true},
		"expired":              {Age: time.Hour},
		"not yet valid":        {Age: -time.Hour},
		"without exp":          {Claims: map[string]any{"exp": nil}},
		"another alg":          {Header: map[string]any{"alg": "HS256"}},
		"withdrawn, had never": {Key: KeyWithdrawn},
	} {
		if _, _, err := verify(mint(o), keys); err == nil {
			t.Errorf("%s: the token is good", name)
		}
	}
}

func TestF39_KeyRotation(t *testing.T) {
	cloud, client := start(t, Config{})
	good := func(o TokenOptions) bool {
		token, err := cloud.Mint(o)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = verify(token, published(t, cloud, client))
		return err == nil
	}
	before, err := cloud.Mint(TokenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rotate := func(how Rotation) {
		if err := cloud.RotateKeys(how); err != nil {
			t.Fatal(err)
		}
	}
	rotate(RotateOverlap)
	if _, _, err := verify(before, published(t, cloud, client)); err != nil || !good(TokenOptions{}) {
		t.Errorf("overlap: the old token or the new one is refused: %v", err)
	}
	rotate(RotateReuseKid)
	if !good(TokenOptions{}) || good(TokenOptions{Key: KeyWithdrawn}) {
		t.Error("reused kid: the new key must be good and the old one not")
	}
	rotate(RotateWithdraw)
	if _, _, err := verify(before, published(t, cloud, client)); err == nil {
		t.Error("withdrawn: the old token is still good")
	}
	if !good(TokenOptions{}) {
		t.Error("withdrawn: the new token is refused")
	}
}

// TestF39_ProcessesShareKeys: the keys of a file outlive the cloud that made
// them, so that nodes which have fetched them know the next cloud's tokens too.
func TestF39_ProcessesShareKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.pem")
	one, client := start(t, Config{KeysFile: file})
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the keys file: %v, %v", info, err)
	}
	other, _ := start(t, Config{KeysFile: file})
	token, err := other.Mint(TokenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := verify(token, published(t, one, client)); err != nil {
		t.Errorf("the first cloud's keys refuse the second's token: %v", err)
	}
	for name, text := range map[string]string{"nothing": "", "no PEM": "x", "a certificate only": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := Start(t.Context(), Config{KeysFile: file}); err == nil {
			c.Close()
			t.Errorf("%s was taken for keys", name)
		}
	}
}

func TestEndpointsFailAsTold(t *testing.T) {
	cloud, client := start(t, Config{})
	for _, tc := range []struct {
		name  string
		at    Endpoint
		fault Fault
		want  func(status int, body string, h http.Header) bool
	}{
		{"F38 500", EndpointKeys, Fault{Share: 1, Status: 500}, func(s int, _ string, _ http.Header) bool { return s == 500 }},
		{"F38 HTML", EndpointKeys, Fault{Share: 1, Body: BodyHTML}, func(s int, b string, _ http.Header) bool { return s == 200 && strings.HasPrefix(b, "<html>") }},
		{"F38 no keys", EndpointKeys, Fault{Share: 1, Body: BodyNoKeys}, func(_ int, b string, _ http.Header) bool { return b == `{"keys":[]}` }},
		{"F38 half a body", EndpointKeys, Fault{Share: 1, Body: BodyHalf}, func(_ int, b string, _ http.Header) bool { return strings.Contains(b, "EOF") }},
		{"F38 100 MB, of which 4 are read", EndpointKeys, Fault{Share: 1, Body: BodyHuge}, func(_ int, b string, _ http.Header) bool { return len(b) == 4<<20 }},
		{"F38 garbage", EndpointOpenID, Fault{Share: 1, Body: BodyGarbage}, func(_ int, b string, _ http.Header) bool { return !json.Valid([]byte(b)) }},
		{"F38 redirect", EndpointOpenID, Fault{Share: 1, Status: 302, Location: "file:///etc/passwd"}, func(s int, b string, _ http.Header) bool { return s == 0 && strings.Contains(b, "file") }},
		{"F42 reset", EndpointToken, Fault{Share: 1, Reset: true}, func(s int, _ string, _ http.Header) bool { return s == 0 }},
		{"F42 slow", EndpointToken, Fault{Share: 1, Delay: time.Millisecond}, func(s int, _ string, _ http.Header) bool { return s == 400 }},
		{"F41 429", EndpointCalls, Fault{Share: 1, Status: 429, RetryAfter: "1000000000"}, func(s int, _ string, h http.Header) bool { return s == 429 && h.Get("Retry-After") == "1000000000" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			address, method := map[Endpoint]string{
				EndpointKeys: cloud.base + keysPath, EndpointOpenID: cloud.OpenIDURL(),
				EndpointToken: cloud.TokenURL(), EndpointCalls: cloud.GraphURL() + "/communications/calls/x",
			}[tc.at], http.MethodGet
			if tc.at == EndpointToken {
				method = http.MethodPost
			}
			before := cloud.Requests(tc.at)
			cloud.SetFault(tc.at, tc.fault)
			status, body, h := fetch(t, client, method, address, "", "")
			if !tc.want(status, body, h) {
				t.Errorf("got %d, %d bytes, %.80q", status, len(body), body)
			}
			if cloud.Requests(tc.at) <= before { // net/http repeats a GET by itself
				t.Error("the request was not counted")
			}
			cloud.SetFault(tc.at, Fault{})
			if status, _, _ := fetch(t, client, method, address, "", ""); status == tc.fault.Status || status == 0 {
				t.Errorf("healed, and still %d", status)
			}
		})
	}
}

func TestTokenEndpoint(t *testing.T) {
	cloud, client := start(t, Config{})
	id := cloud.cfg.Apps[0].ID
	for _, tc := range []struct {
		name, secret, grant string
		status              int
	}{
		{"good", "secret", "client_credentials", 200},
		{"wrong secret", "guess", "client_credentials", 401},
		{"other grant", "secret", "password", 400},
	} {
		form := url.Values{"client_id": {id}, "client_secret": {tc.secret}, "grant_type": {tc.grant}, "scope": {"https://graph.microsoft.com/.default"}}
		resp, err := client.PostForm(cloud.TokenURL(), form)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tc.status {
			t.Errorf("%s: %d", tc.name, resp.StatusCode)
		}
	}
}

func TestCallsAPI(t *testing.T) {
	rates := Kind()
	cloud, client := start(t, Config{Rates: &rates})
	base := cloud.GraphURL() + "/communications/calls/"
	bearer := cloud.bearers.own(cloud.cfg.Apps[0])
	ringing := func(change func(*call)) *call {
		k := cloud.newCall(draft{})
		k.firstPost = time.Now()
		if change != nil {
			change(k)
		}
		cloud.ledger.begin(k)
		return k
	}
	answer := func(ref string) string {
		return `{"callbackUri":"https://bot/api/calls/emea/1/1/` + ref + `","acceptedModalities":["audio"],"mediaConfig":{}}`
	}
	type step struct {
		method, verb, body string
		bearer             string
		status             int
	}
	for _, tc := range []struct {
		name   string
		change func(*call)
		steps  []step
		stale  int
	}{
		{"an answer, its repeat, a second one", nil, []step{
			{"POST", "/answer", answer("a"), bearer, 202},
			{"POST", "/microsoft.graph.answer", answer("a"), bearer, 202},
			{"POST", "/answer", answer("b"), bearer, 409},
		}, 1},
		{"an answer from a later epoch is refused, but not stale", nil, []step{
			{"POST", "/answer", answer("a"), bearer, 202},
			{"POST", "/answer", strings.Replace(answer("b"), "/1/1/", "/1/2/", 1), bearer, 409},
		}, 0},
		{"wrong bearer", nil, []step{{"POST", "/answer", answer("a"), "guess", 401}, {"POST", "/answer", answer("a"), "", 401}}, 0},
		{"half an answer", nil, []step{
			{"POST", "/answer", `{"callbackUri":"https://bot/"}`, bearer, 400},
			{"POST", "/answer", `{`, bearer, 400},
		}, 0},
		{"too late", func(k *call) { k.firstPost = time.Now().Add(-time.Minute) }, []step{{"POST", "/answer", answer("a"), bearer, 404}}, 0},
		{"the caller has hung up", func(k *call) { k.over = true }, []step{
			{"POST", "/answer", answer("a"), bearer, 404},
			{"POST", "/keepAlive", "", bearer, 404},
			{"DELETE", "", "", bearer, 404},
			{"GET", "", "", bearer, 404},
		}, 0},
		{"reject", nil, []step{
			{"POST", "/microsoft.graph.reject", `{"reason":"busy"}`, bearer, 202},
			{"POST", "/answer", answer("a"), bearer, 409},
		}, 0},
		{"a life", nil, []step{
			{"GET", "", "", bearer, 200},
			{"POST", "/keepAlive", "", bearer, 404},
			{"POST", "/answer", answer("a"), bearer, 202},
			{"POST", "/keepAlive", "", bearer, 200},
			{"DELETE", "", "", bearer, 204},
		}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := ringing(tc.change)
			for i, s := range tc.steps {
				id := []string{k.raw, strings.ToUpper(k.id)}[i%2]
				if status, text, _ := fetch(t, client, s.method, base+id+s.verb, s.bearer, s.body); status != s.status {
					t.Errorf("%s %s: %d %s, want %d", s.method, s.verb, status, text, s.status)
				}
			}
			stale := 0
			for _, a := range k.actions {
				if a.stale != "" {
					stale++
				}
			}
			if stale != tc.stale {
				t.Errorf("%d stale actions, want %d", stale, tc.stale)
			}
		})
	}
	if status, _, _ := fetch(t, client, "GET", base+"unknown", bearer, ""); status != 404 {
		t.Errorf("an unknown call: %d", status)
	}
}

func TestI5_AnAnswerWithAPastEpochIsStale(t *testing.T) {
	s := newStage(t)
	s.call.answeredAt = time.Time{}
	s.hand("n2", 2, "adopted", "")
	r, err := http.NewRequest(http.MethodPost, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	body := `{"callbackUri":"https://bot/api/calls/emea/7/1/x","acceptedModalities":["audio"],"mediaConfig":{}}`
	s.call.dice = newDice(1, 1)
	if status, _ := (&callsDoor{s.cloud}).answer(s.call, r, []byte(body)); status != http.StatusAccepted {
		t.Fatalf("the cloud does not know epochs, and answered %d", status)
	}
	if report := s.cloud.Report(); report.StaleActions != 1 || report.OK() {
		t.Fatalf("stale actions: %d", report.StaleActions)
	}
}
