package node

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"tandem/graphsim"
	"tandem/graphsim/machine"
)

// The apps of the story, one for each way to prove who it is.
var provers = []string{
	testApp, "11111111-41c3-47a4-8775-7259bfef4241", "22222222-41c3-47a4-8775-7259bfef4241", "33333333-41c3-47a4-8775-7259bfef4241",
}

// TestCallsAreAnsweredWithoutSecrets: a real node answers calls of four apps, which prove
// by a secret, a certificate, another provider's token and the machine's identity who they
// are. Then certificate and token change hands, and the old ones are worth nothing: the
// node takes the new files without a word from anybody.
func TestCallsAreAnsweredWithoutSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var certs [2]*x509.Certificate
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		certs[i], keys[i] = newPair(t)
	}
	token := func(key *rsa.PrivateKey) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"iss": "https://cluster", "sub": "bot", "aud": "api://AzureADTokenExchange", "exp": time.Now().Add(time.Hour).Unix()}).SignedString(key)
		must(t, err)
		return text
	}
	files := ClientCertificate{CertFile: dir + "/cert.pem", KeyFile: dir + "/key.pem"}
	writePair(t, files, certs[0], keys[0])
	must(t, os.WriteFile(dir+"/token", []byte(token(keys[0])), 0o600))
	proofs := func(i int) []graphsim.App {
		return []graphsim.App{
			{ID: provers[0], ClientSecret: canarySecret},
			{ID: provers[1], Proofs: graphsim.Proofs{NoSecret: true, Certificates: []*x509.Certificate{certs[i]}}},
			{ID: provers[2], Proofs: graphsim.Proofs{NoSecret: true, Federation: &graphsim.Federation{Issuer: "https://cluster", Subject: "bot", Key: &keys[i].PublicKey}}},
			{ID: provers[3], Proofs: graphsim.Proofs{NoSecret: true}},
		}
	}
	var cloud atomic.Pointer[graphsim.Cloud]
	vm, err := machine.Start(t.Context(), machine.Config{Tokens: func(id string) (string, bool) { return cloud.Load().IssueToken(id) }})
	must(t, err)
	defer vm.Close()
	s := deploy(t, plan{nodes: 1, sim: func(c *graphsim.Config) {
		c.Apps = proofs(0)
		for i := range c.Apps {
			c.Apps[i].Tenants = []string{testTenant}
		}
	}, shape: func(x *seat, c *Config) {
		cloud.Store(x.s.cloud)
		c.Azure.MetadataURL = vm.URL()
		for i, id := range provers {
			app := c.Apps[0]
			app.ID, app.Graph.ClientID = id, id
			if i == 0 {
				continue
			}
			app.Graph.ClientSecretFile = ""
			switch i {
			case 1:
				app.Graph.Certificate = files
			case 2:
				app.Graph.WorkloadIdentity.TokenFile = dir + "/token"
			case 3:
				app.Graph.ManagedIdentity, app.Graph.TokenURL = "user", ""
			}
			c.Apps = append(c.Apps, app)
		}
	}})
	answered := func(when string) {
		t.Helper()
		r := s.run(graphsim.Load{Rate: 40, MaxCalls: 24})
		s.kept(r)
		if r.Answered != r.Calls || r.Calls < 12 {
			t.Errorf("%s %d of %d calls are answered", when, r.Answered, r.Calls)
		}
		told := s.metrics(s.seats[0])
		for _, id := range provers {
			if !strings.Contains(told, `tandem_outbound_token_failing{app="`+id+`"} 0`) {
				t.Errorf("%s app %s has no token", when, id)
			}
		}
		if !strings.Contains(told, `tandem_certificate_not_after{key="apps[1].graph.client_certificate"}`) || !strings.Contains(told, `tandem_federated_token_not_after{app="`+provers[2]+`"} 1.`) {
			t.Errorf("%s nobody sees when the certificate and the token end", when)
		}
	}
	answered("at first")
	for _, app := range proofs(1)[1:3] {
		s.cloud.Register(app)
	}
	writePair(t, files, certs[1], keys[1])
	must(t, os.WriteFile(dir+"/token", []byte(token(keys[1])), 0o600))
	answered("after the rotation")
}

// pair is a certificate that an app can sign with, and its key.
func newPair(t *testing.T) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return leaf, key
}

func writePair(t *testing.T, to ClientCertificate, cert *x509.Certificate, key *rsa.PrivateKey) {
	t.Helper()
	must(t, os.WriteFile(to.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600))
	must(t, os.WriteFile(to.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600))
}

// TestAKSSaysWhoTheAppIs: in a pod with a workload identity nothing but that needs to be
// written.
func TestAKSSaysWhoTheAppIs(t *testing.T) {
	for name, value := range map[string]string{
		"AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/", "AZURE_TENANT_ID": testTenant, "AZURE_CLIENT_ID": testApp, "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
	} {
		t.Setenv(name, value)
	}
	c := sound()
	c.Apps[0].Graph = AppGraph{WorkloadIdentity: WorkloadIdentity{Environment: true}}
	must(t, c.Check())
	c = c.Filled()
	got := c.graphConfig(c.Apps[0])
	if got.TokenURL != "https://login.microsoftonline.com/"+testTenant+"/oauth2/v2.0/token" || got.ClientID != testApp || got.TokenFile != "/var/run/secrets/azure/tokens/azure-identity-token" {
		t.Errorf("%+v", got)
	}
}
