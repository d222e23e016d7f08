package node

import (
	"crypto/tls"
	"encoding/base64"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"tandem/admin"
	"tandem/admin/client"
	"tandem/graphsim"
)

// served is the serial number of the certificate that a public door shows.
func (x *seat) served() string {
	x.s.t.Helper()
	c, err := tls.Dial("tcp", x.public, x.s.trust())
	must(x.s.t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// copyOver puts one file in another's place.
func copyOver(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, text, 0o600))
}

// tokensFile writes the admin door's tokens: each of them may do everything.
func (s *stage) tokensFile(secrets ...string) string {
	s.t.Helper()
	text := "tokens:\n"
	for i, secret := range secrets {
		text += "  - {name: t" + string(rune('a'+i)) + ", roles: [operate, bot, join], sha256: " + admin.HashToken(secret) + "}\n"
	}
	must(s.t, os.WriteFile(s.path("tokens.yaml"), []byte(text), 0o600))
	return s.path("tokens.yaml")
}

// handleKeys writes the keys file; the first key signs.
func (s *stage) handleKeys(ids ...string) {
	s.t.Helper()
	text := ""
	for _, id := range ids {
		key := canaryHandle
		if id != "k1" {
			key = base64.StdEncoding.EncodeToString([]byte(id + "-is-another-key-0123456789abcdef"))
		}
		text += id + ":" + key + "\n"
	}
	must(s.t, os.WriteFile(s.path("handle-keys"), []byte(text), 0o600))
}

// asked says how the admin door answers a token.
func (x *seat) asked(token string) int {
	x.s.t.Helper()
	return x.s.send(http.MethodGet, "http://"+x.admin+"/v1/status", "", map[string]string{"Authorization": "Bearer " + token}).status
}

// TestF48_ReloadSwapsUnderCalls: certificates, handle keys, rules and admin
// tokens change while calls are under way, and none is lost. What cannot be read
// changes nothing.
func TestF47_F48_ReloadSwapsUnderCalls(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, secure: true, https: true, shape: func(x *seat, c *Config) {
		c.Admin.TokensFile = x.s.path("tokens.yaml")
		c.Regions = []Region{{Name: "amer", URL: "https://amer.example.com"}}
		x.s.tokensFile("first")
	}})
	x := s.seats[0]
	cfg := x.config()
	x.s.tokensFile("first")
	first, err := client.New(x.admin, "first", "")
	must(t, err)
	defer first.Close()
	ask := func(c *client.Client) string {
		t.Helper()
		u, err := c.CallbackURI(t.Context(), testApp, "")
		must(t, err)
		return u.URI
	}
	before := ask(first)
	// The simulated bot has no such call and says 404 itself; the door's own word
	// for a signature that is not good has a code.
	verifies := func(uri string) bool {
		return !strings.Contains(s.post(x.follow(uri), s.token(testTenant), sample(t, established, newCall())).body, "not_found")
	}
	second, secondKey := x.certify("tls2")
	old := x.served()

	r := s.run(graphsim.Load{Rate: 40, MaxCalls: 40}, func() {
		s.handleKeys("k2", "k1")
		s.tokensFile("second")
		copyOver(t, second, cfg.Public.TLS.CertFile)
		copyOver(t, secondKey, cfg.Public.TLS.KeyFile)
		must(t, x.node.Reload(cfg))
	})
	s.kept(r)
	if x.served() == old {
		t.Error("the old certificate is still shown")
	}
	if a, b := x.asked("first"), x.asked("second"); a != http.StatusUnauthorized || b != http.StatusOK {
		t.Errorf("the old admin token gets %d, the new one %d", a, b)
	}
	later, err := client.New(x.admin, "second", "")
	must(t, err)
	defer later.Close()
	fresh := ask(later)
	if !strings.Contains(fresh, "?s=k2.") || !strings.Contains(before, "?s=k1.") {
		t.Errorf("signed before: %s, after: %s", before, fresh)
	}
	if !verifies(before) || !verifies(fresh) {
		t.Error("both keys must verify")
	}
	s.handleKeys("k2")
	must(t, x.node.Reload(cfg))
	if verifies(before) {
		t.Error("a callback URI signed with a withdrawn key is still good")
	}

	t.Run("rules", func(t *testing.T) {
		ruled := cfg
		ruled.Rules = []Rule{{When: "true", Region: "amer", Residency: "hard"}}
		must(t, x.node.Reload(ruled))
		if a := s.post(x.webhook(), s.token(testTenant), sample(t, incoming, newCall())); a.status != http.StatusServiceUnavailable {
			t.Errorf("a call that a hard rule sends to a region that nobody has seen gets %d", a.status)
		}
		must(t, x.node.Reload(cfg))
		if a := s.post(x.webhook(), s.token(testTenant), sample(t, incoming, newCall())); a.status != http.StatusAccepted {
			t.Errorf("without the rule it gets %d", a.status)
		}
	})
	t.Run("all or nothing", func(t *testing.T) { reloadsAreWhole(t, x, cfg) })
	t.Run("what needs a restart is told", func(t *testing.T) {
		other := cfg
		other.Node.Capacity++
		must(t, x.node.Reload(other))
		if log := s.log.tail(3); !strings.Contains(log, "waits for a restart") || !strings.Contains(log, `"section":"node"`) {
			t.Errorf("the log says %s", log)
		}
	})
}

// reloadsAreWhole breaks one part after the other; each time everything else
// has changed on disk as well, and must not come into force. But for the public
// certificate: a whole new pair is taken without any reload, half of one never.
func reloadsAreWhole(t *testing.T, x *seat, cfg Config) {
	s := x.s
	third, _ := x.certify("tls3")
	shown := x.served()
	for _, c := range []struct {
		name, says string
		breaks     func(*Config)
	}{
		{"handle keys", "handle_keys_file", func(*Config) { must(t, os.WriteFile(s.path("handle-keys"), []byte("k2:short\n"), 0o600)) }},
		{"no handle keys", "handle_keys_file", func(c *Config) { c.HandleKeysFile = s.path("nowhere") }},
		{"admin tokens", "admin.tokens_file", func(*Config) { must(t, os.WriteFile(s.path("tokens.yaml"), []byte("tokens: ["), 0o600)) }},
		{"public certificate", "public.tls", func(c *Config) {
			must(t, os.WriteFile(c.Public.TLS.KeyFile, []byte("half a k"), 0o600))
			copyOver(t, third, c.Public.TLS.CertFile)
		}},
		{"cluster certificates", "cluster.tls", func(c *Config) { must(t, os.WriteFile(c.Cluster.TLS.CAFile, []byte("no PEM"), 0o600)) }},
		{"a rule that does not compile", "rules", func(c *Config) { c.Rules = []Rule{{When: "call.", Region: "emea"}} }},
		{"a rule to nowhere", "rules[0].region", func(c *Config) { c.Rules = []Rule{{When: "true", Region: "apac"}} }},
		{"a rule to a region that waits for a restart", "waits for its restart", func(c *Config) {
			c.Rules = []Rule{{When: "true", Region: "apac"}}
			c.Regions = append(slices.Clone(c.Regions), Region{Name: "apac", URL: "https://apac.example.com"})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			next := cfg
			next.Rules = []Rule{{When: "true", Region: "amer", Residency: "hard"}}
			for _, file := range []string{cfg.Cluster.TLS.CAFile, cfg.Public.TLS.KeyFile, cfg.Public.TLS.CertFile} {
				before, err := os.ReadFile(file)
				must(t, err)
				defer func() { must(t, os.WriteFile(file, before, 0o600)) }()
			}
			s.tokensFile("third")
			s.handleKeys("k3", "k2")
			c.breaks(&next)
			if err := x.node.Reload(next); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("the error is %v", err)
			}
			if x.served() != shown {
				t.Error("another certificate is shown")
			}
			if got := x.asked("second"); got != http.StatusOK {
				t.Errorf("the admin token of before gets %d", got)
			}
			if uri := x.node.door.CallbackURI(1, 1, "o-a"); !strings.Contains(uri, "?s=k2.") {
				t.Errorf("another key signs: %s", uri)
			}
			if a := s.post(x.webhook(), s.token(testTenant), sample(t, incoming, newCall())); a.status != http.StatusAccepted {
				t.Errorf("by the rules of before a call gets %d, not 202", a.status)
			}
		})
	}
}
