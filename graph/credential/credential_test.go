package credential

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

const tokenURL = "https://login.microsoftonline.com/contoso/oauth2/v2.0/token"

// keys are made once: an RSA key takes a tenth of a second.
var keys = func() (all [2]*rsa.PrivateKey) {
	for i := range all {
		all[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return all
}()

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write puts a certificate and its key into files.
func write(t *testing.T, dir string, key crypto.Signer, ends time.Time) (Certificate, []byte) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bot"}, NotBefore: now.Add(-time.Hour), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	c := Certificate{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	must(t, os.WriteFile(c.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	writeKey(t, c.KeyFile, key)
	return c, der
}

func writeKey(t *testing.T, file string, key crypto.Signer) {
	t.Helper()
	text, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}), 0o600))
}

func TestExactlyOneWay(t *testing.T) {
	cert := Certificate{CertFile: "c", KeyFile: "k"}
	for name, c := range map[string]struct {
		conf Config
		says string // empty: it holds
	}{
		"secret":            {Config{SecretFile: "s"}, ""},
		"a secret twice":    {Config{SecretFile: "s", Secret: "x"}, ""}, // the environment goes first
		"certificate":       {Config{Certificate: cert}, ""},
		"federation":        {Config{TokenFile: "t"}, ""},
		"system":            {Config{ManagedIdentity: "system"}, ""},
		"user":              {Config{ManagedIdentity: "user", MetadataURL: "http://169.254.169.254"}, ""},
		"simulated machine": {Config{ManagedIdentity: "user", MetadataURL: "http://127.0.0.1:9"}, ""},
		"nothing":           {Config{}, "give one of client_secret_file, client_certificate"},
		"two":               {Config{SecretFile: "s", Certificate: cert}, "in 2 ways who it is (client_secret_file, client_certificate)"},
		"four":              {Config{Secret: "s", Certificate: cert, TokenFile: "t", ManagedIdentity: "user"}, "in 4 ways"},
		"half a pair":       {Config{Certificate: Certificate{CertFile: "c"}}, "cert_file and key_file together"},
		"odd algorithm":     {Config{Certificate: Certificate{CertFile: "c", KeyFile: "k", Algorithm: "HS256"}}, "none of PS256, RS256"},
		"odd identity":      {Config{ManagedIdentity: "mine"}, "none of system, user"},
		"another machine":   {Config{ManagedIdentity: "user", MetadataURL: "http://169.254.169.253"}, "is not https"},
	} {
		c.conf.TokenURL, c.conf.ClientID = tokenURL, "app"
		err := c.conf.Check()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, wanted %q", name, err, c.says)
		}
	}
}

// decoded reads an assertion and checks its signature by itself.
func decoded(t *testing.T, p Proof, key *rsa.PublicKey) (head, body map[string]any) {
	t.Helper()
	if p.Secret != "" || p.Form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		t.Fatalf("the form is %v", p.Form)
	}
	parts := strings.Split(p.Form.Get("client_assertion"), ".")
	raw := make([][]byte, 3)
	for i := range raw {
		var err error
		raw[i], err = base64.RawURLEncoding.DecodeString(parts[i])
		must(t, err)
	}
	must(t, json.Unmarshal(raw[0], &head))
	must(t, json.Unmarshal(raw[1], &body))
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if head["alg"] == "PS256" {
		must(t, rsa.VerifyPSS(key, crypto.SHA256, sum[:], raw[2], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
	} else {
		must(t, rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw[2]))
	}
	return head, body
}

// TestCertificate: the assertion is as Microsoft's page has it, each has its own jti, and a
// changed pair counts at once; a half-written one not, until it is whole.
func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, der := write(t, dir, keys[0], now.Add(time.Hour))
	conf := Config{TokenURL: tokenURL, ClientID: "app-1", Certificate: cert}
	var log bytes.Buffer
	conf.Logger = slog.New(slog.NewTextHandler(&log, nil))
	p, err := NewProver(conf)
	must(t, err)
	proof, err := p.Proof(now)
	must(t, err)
	head, body := decoded(t, proof, &keys[0].PublicKey)
	sum := sha256.Sum256(der)
	if head["alg"] != "PS256" || head["typ"] != "JWT" || head["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("the header is %v", head)
	}
	if body["aud"] != tokenURL || body["iss"] != "app-1" || body["sub"] != "app-1" || body["nbf"] != float64(now.Unix()) || body["exp"] != float64(now.Add(5*time.Minute).Unix()) {
		t.Errorf("it says %v", body)
	}
	again, err := p.Proof(now)
	must(t, err)
	if _, other := decoded(t, again, &keys[0].PublicKey); other["jti"] == body["jti"] || len(other["jti"].(string)) != 36 {
		t.Errorf("the jtis are %v and %v", other["jti"], body["jti"])
	}

	writeKey(t, cert.KeyFile, keys[1]) // the certificate is yet to come
	proof, err = p.Proof(now)
	must(t, err)
	decoded(t, proof, &keys[0].PublicKey)
	if !strings.Contains(log.String(), "the certificate of before") {
		t.Errorf("the log says %s", log.String())
	}
	write(t, dir, keys[1], now.Add(2*time.Hour))
	proof, err = p.Proof(now)
	must(t, err)
	decoded(t, proof, &keys[1].PublicKey)

	if _, err := p.Proof(now.Add(3 * time.Hour)); err == nil || !strings.Contains(err.Error(), "it ended at") {
		t.Errorf("a certificate that is over: %v", err)
	}
	must(t, conf.CheckFiles()) // and yet a node starts with it
	if s := conf.Look(); s.Kind != ByCertificate || !s.Ends.Equal(now.Add(2*time.Hour)) {
		t.Errorf("it looks like %+v", s)
	}
	conf.Certificate.Algorithm = "RS256"
	if p, err = NewProver(conf); err != nil {
		t.Fatal(err)
	}
	proof, err = p.Proof(now)
	must(t, err)
	if head, _ := decoded(t, proof, &keys[1].PublicKey); head["alg"] != "RS256" || head["x5t"] == nil || head["x5t#S256"] != nil {
		t.Errorf("the header is %v", head)
	}
}

func TestCertificatesThatAreNotFit(t *testing.T) {
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	dir := t.TempDir()
	cert, _ := write(t, dir, elliptic, now.Add(time.Hour))
	if err := (Config{TokenURL: tokenURL, ClientID: "a", Certificate: cert}).CheckFiles(); err == nil || !strings.Contains(err.Error(), "its key is not RSA") {
		t.Errorf("an elliptic key: %v", err)
	}
	writeKey(t, cert.KeyFile, keys[0])
	if err := (Config{TokenURL: tokenURL, ClientID: "a", Certificate: cert}).CheckFiles(); err == nil {
		t.Error("another's key was taken")
	}
}

// foreign is a token of another provider, unsigned: nobody here judges it.
func foreign(claims string) string {
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestFederation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	put := func(text string) { must(t, os.WriteFile(file, []byte(text), 0o600)) }
	conf := Config{TokenURL: tokenURL, ClientID: "a", TokenFile: file}
	if err := conf.CheckFiles(); err == nil {
		t.Error("a missing file was taken")
	}
	put("no token")
	if err := conf.CheckFiles(); err == nil || strings.Contains(err.Error(), "no token") {
		t.Errorf("no JWT: %v", err)
	}
	first, second := foreign(`{"exp":1796040000}`), foreign(`{"exp":1796043600.5,"aud":["api://AzureADTokenExchange"]}`)
	put(first + "\n")
	p, err := NewProver(conf)
	must(t, err)
	for _, want := range []string{first, second} {
		put(want)
		proof, err := p.Proof(time.Unix(1796040000, 0))
		must(t, err)
		if proof.Form.Get("client_assertion") != want || !proof.Shows(want) || !proof.Shows(want[:30]) || proof.Shows("invalid_client") {
			t.Errorf("it shows %v", proof)
		}
	}
	late := time.Unix(1796043600, 0).Add(6 * time.Minute)
	if _, err := p.Proof(late); err == nil || !strings.Contains(err.Error(), "whatever should renew it has not") {
		t.Errorf("a token that is over: %v", err)
	}
	if conf.Overdue(late) == nil || conf.Overdue(late.Add(-time.Hour)) != nil {
		t.Error("who judges the file does not see whether its token is over")
	}
	if s := conf.Look(); s.Ends.Unix() != 1796043600 || time.Since(s.Written) > time.Hour {
		t.Errorf("it looks like %+v", s)
	}
}

func TestReadEnvironment(t *testing.T) {
	all := map[string]string{
		"AZURE_AUTHORITY_HOST": "https://login.microsoftonline.us/", "AZURE_TENANT_ID": "contoso/..", "AZURE_CLIENT_ID": "app",
		"AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
	}
	e := ReadEnvironment(func(name string) string { return all[name] })
	if e.TokenURL != "https://login.microsoftonline.us/contoso%2F../oauth2/v2.0/token" || e.ClientID != "app" || e.TokenFile != all["AZURE_FEDERATED_TOKEN_FILE"] || len(e.Missing) > 0 {
		t.Errorf("%+v", e)
	}
	if e = ReadEnvironment(func(string) string { return "" }); e.TokenURL != "" || !slices.Equal(e.Missing, []string{"AZURE_AUTHORITY_HOST", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID"}) {
		t.Errorf("%+v", e)
	}
}

// FuzzEndOf: whatever stands in a token's file, reading its end neither fails nor makes up
// an end before the first second of Unix time.
func FuzzEndOf(f *testing.F) {
	for _, s := range []string{"", "a.b.c", foreign(`{"exp":1}`), foreign(`{"exp":"1"}`), foreign(`{"exp":-1}`), foreign(`{"exp":1e300}`), foreign(`[]`), foreign(`{}`)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if at, ok := endOf(s); !at.IsZero() && (!ok || at.Unix() < 0) {
			t.Errorf("%q ends at %v, %v", s, at, ok)
		}
	})
}
