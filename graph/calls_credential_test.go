package graph

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"tandem/graph/credential"
	"tandem/graphsim"
	"tandem/graphsim/machine"
)

const appID = "0efc74f7-41c3-47a4-8775-7259bfef4241"

// appKeys are made once: an RSA key takes a tenth of a second.
var appKeys = func() (all [2]*rsa.PrivateKey) {
	for i := range all {
		all[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return all
}()

// certified writes a certificate for a key, with the key.
func certified(t *testing.T, dir string, key *rsa.PrivateKey) (credential.Certificate, *x509.Certificate) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bot"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	files := credential.Certificate{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	put(t, files.CertFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	put(t, files.KeyFile, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	return files, cert
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const subject = "system:serviceaccount:bots:tandem"

// federated is a token as a cluster's issuer writes it.
func federated(t *testing.T, key *rsa.PrivateKey, change func(jwt.MapClaims)) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": "https://cluster.example", "sub": subject, "aud": []string{"api://AzureADTokenExchange"}, "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	if change != nil {
		change(claims)
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// works says what one action that needs a token comes to: a call that nobody knows is
// gone, and a token that nobody gave is refused.
func works(t *testing.T, c *Calls) error {
	t.Helper()
	err := c.KeepAlive(t.Context(), callID, Permit{})
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}

// TestEveryWayToProveWhoAnAppIs: against a token endpoint that checks for real. What is
// rotated counts without a new client, and what was withdrawn counts no more.
func TestEveryWayToProveWhoAnAppIs(t *testing.T) {
	kind := graphsim.Kind()
	cloud, err := graphsim.Start(t.Context(), graphsim.Config{Apps: []graphsim.App{{ID: appID, ClientSecret: secretCanary}}, Rates: &kind})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	vm, err := machine.Start(t.Context(), machine.Config{Tokens: cloud.IssueToken})
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	dir := t.TempDir()
	files, old := certified(t, dir, appKeys[0])
	tokenFile := filepath.Join(dir, "token")
	put(t, tokenFile, federated(t, appKeys[0], nil))
	trusts := func(key *rsa.PrivateKey) *graphsim.Federation {
		return &graphsim.Federation{Issuer: "https://cluster.example", Subject: subject, Key: &key.PublicKey}
	}
	older := files
	older.Algorithm = "RS256"
	for name, c := range map[string]struct {
		conf           Config
		before, after  graphsim.App
		rotate         func()
		nothingToProve bool
	}{
		"secret":                            {conf: Config{ClientSecretFile: secretFile(t, 0o600)}, before: graphsim.App{ClientSecret: secretCanary}},
		"certificate":                       {conf: Config{Certificate: files}, before: graphsim.App{Proofs: graphsim.Proofs{NoSecret: true, Certificates: []*x509.Certificate{old}}}},
		"certificate, as it was until 2024": {conf: Config{Certificate: older}, before: graphsim.App{Proofs: graphsim.Proofs{NoSecret: true, Certificates: []*x509.Certificate{old}}}},
		"federation":                        {conf: Config{TokenFile: tokenFile}, before: graphsim.App{Proofs: graphsim.Proofs{NoSecret: true, Federation: trusts(appKeys[0])}}},
		"system":                            {conf: Config{ManagedIdentity: "system"}, nothingToProve: true},
		"user":                              {conf: Config{ManagedIdentity: "user"}, nothingToProve: true},
	} {
		t.Run(name, func(t *testing.T) {
			c.before.ID = appID
			put(t, tokenFile, federated(t, appKeys[0], nil))
			cloud.Register(c.before)
			c.conf.BaseURL, c.conf.ClientID = cloud.GraphURL(), appID
			if c.conf.MetadataURL = vm.URL(); c.conf.ManagedIdentity == "" {
				c.conf.TokenURL = cloud.TokenURL()
			}
			calls, err := NewCalls(c.conf)
			if err != nil {
				t.Fatal(err)
			}
			defer calls.Close()
			if err := works(t, calls); err != nil {
				t.Fatal(err)
			}
			if c.nothingToProve {
				return
			}
			fresh, cert := certified(t, t.TempDir(), appKeys[1]) // known there, not yet here
			next := graphsim.App{ID: appID, ClientSecret: "canary-of-the-next-secret", Proofs: graphsim.Proofs{NoSecret: c.before.Proofs.NoSecret, Certificates: []*x509.Certificate{cert}, Federation: trusts(appKeys[1])}}
			cloud.Register(next)
			if err := works(t, calls); !errors.Is(err, ErrRefused) {
				t.Errorf("with what was withdrawn: %v", err)
			}
			for from, to := range map[string]string{fresh.CertFile: files.CertFile, fresh.KeyFile: files.KeyFile} {
				text, _ := os.ReadFile(from)
				kept, _ := os.ReadFile(to)
				put(t, to, string(text))
				defer put(t, to, string(kept))
			}
			if c.conf.ClientSecretFile != "" {
				put(t, c.conf.ClientSecretFile, next.ClientSecret)
			}
			put(t, tokenFile, federated(t, appKeys[1], nil))
			calls.tokens.mu.Lock()
			calls.tokens.failedAt = time.Time{} // as half a second later
			calls.tokens.mu.Unlock()
			if err := works(t, calls); err != nil {
				t.Errorf("after the rotation: %v", err)
			}
		})
	}
}

// TestTheEndpointIsNoPushover: the simulator's token endpoint refuses what Entra refuses,
// else the stories would prove nothing.
func TestTheEndpointIsNoPushover(t *testing.T) {
	dir := t.TempDir()
	files, cert := certified(t, dir, appKeys[0])
	cloud, err := graphsim.Start(t.Context(), graphsim.Config{Apps: []graphsim.App{{ID: appID, Proofs: graphsim.Proofs{
		NoSecret: true, Certificates: []*x509.Certificate{cert}, Federation: &graphsim.Federation{Issuer: "https://cluster.example", Subject: subject, Key: &appKeys[0].PublicKey},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	post := func(token string) int {
		res, err := http.PostForm(cloud.TokenURL(), map[string][]string{"grant_type": {"client_credentials"}, "client_id": {appID},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {token}})
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	defer http.DefaultClient.CloseIdleConnections()
	proof := func(at time.Time, change func(*credential.Config)) string {
		c := credential.Config{TokenURL: cloud.TokenURL(), ClientID: appID, Certificate: files}
		if change != nil {
			change(&c)
		}
		p, err := credential.NewProver(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Proof(at)
		if err != nil {
			t.Fatal(err)
		}
		return got.Form.Get("client_assertion")
	}
	now := time.Now()
	once := proof(now, nil)
	other, _ := certified(t, t.TempDir(), appKeys[1])
	for _, c := range []struct {
		name, token string
		status      int
	}{
		{"good", once, 200},
		{"the same again", once, 401},
		{"another audience", proof(now, func(c *credential.Config) { c.TokenURL += "x" }), 401},
		{"another app", proof(now, func(c *credential.Config) { c.ClientID = "x" }), 401},
		{"over", proof(now.Add(-11*time.Minute), nil), 401},
		{"not yet", proof(now.Add(20*time.Minute), nil), 401},
		{"another certificate", proof(now, func(c *credential.Config) { c.Certificate = other }), 401},
		{"a changed letter", once[:len(once)-3] + "AAA", 401},
		{"federated", federated(t, appKeys[0], nil), 200},
		{"federated, another key", federated(t, appKeys[1], nil), 401},
		{"federated, another subject", federated(t, appKeys[0], func(m jwt.MapClaims) { m["sub"] = "system:serviceaccount:bots:other" }), 401},
		{"federated, another audience", federated(t, appKeys[0], func(m jwt.MapClaims) { m["aud"] = []string{"api://other"} }), 401},
		{"federated, over", federated(t, appKeys[0], func(m jwt.MapClaims) { m["exp"] = now.Add(-time.Hour).Unix() }), 401},
		{"nothing", "", 401},
	} {
		if got := post(c.token); got != c.status {
			t.Errorf("%s: %d, wanted %d", c.name, got, c.status)
		}
	}
}

// TestB110_AssertionsStayOut: an endpoint that echoes what it got must not carry an
// assertion, or a machine's token, into our texts.
func TestB110_AssertionsStayOut(t *testing.T) {
	dir := t.TempDir()
	files, _ := certified(t, dir, appKeys[0])
	tokenFile := filepath.Join(dir, "token")
	foreign := federated(t, appKeys[0], nil)
	put(t, tokenFile, foreign)
	var texts strings.Builder
	shown := []string{foreign[:60], tokenCanary}
	for _, conf := range []Config{{Certificate: files}, {TokenFile: tokenFile}, {ManagedIdentity: "system"}} {
		for _, status := range []int{400, 401, 429, 500} {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeGraph{api: always(200, "")}
				echo := func(n int, r *http.Request) (*http.Response, error) {
					f.mu.Lock()
					defer f.mu.Unlock()
					said := tokenCanary
					if len(f.asked) > 0 {
						said = f.asked[len(f.asked)-1]
						if _, part, ok := strings.Cut(said, "client_assertion="); ok {
							said, _, _ = strings.Cut(part, "&")
							shown = append(shown, said[:60])
						}
					}
					return reply(status, fmt.Sprintf(`{"error":%q,"error_description":%q}`, said[:min(len(said), 30)], said)), nil
				}
				f.token = echo
				l := &logs{}
				conf.BaseURL, conf.ClientID, conf.Transport, conf.Logger = "https://graph.example/v1.0", "app", f, slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
				if conf.ManagedIdentity == "" {
					conf.TokenURL = "https://login.example/token"
				}
				conf.metadata = machineThat{echo}
				c, err := NewCalls(conf)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				err = c.KeepAlive(t.Context(), callID, Permit{})
				if err == nil {
					t.Error("no token and no error")
				}
				fmt.Fprintf(&texts, "%v %+v %#v %s %v", err, err, err, l, c.Token())
			})
		}
	}
	for _, canary := range shown {
		if i := strings.Index(texts.String(), canary[:min(len(canary), 30)]); i >= 0 {
			t.Errorf("%s in: …%s", canary, texts.String()[max(0, i-200):i+20])
		}
	}
}

// machineThat answers for a machine's metadata service.
type machineThat struct {
	answer func(int, *http.Request) (*http.Response, error)
}

func (m machineThat) RoundTrip(r *http.Request) (*http.Response, error) { return m.answer(0, r) }
