package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/admin"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// soundFiles is sound, with all the files that it names in a new directory.
func soundFiles(t *testing.T) Config {
	t.Helper()
	c, dir := sound(), t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	ca, _, err := transport.MakeCA(dir, "the files", 3*time.Hour)
	must(t, err)
	c.Public.TLS.CertFile, c.Public.TLS.KeyFile, err = transport.MakePublicCert(dir, dir, "public", []string{"emea-1.bot.contoso.com", "emea.bot.contoso.com"}, time.Hour)
	must(t, err)
	c.Cluster.TLS.CAFile = ca
	c.Cluster.TLS.CertFile, c.Cluster.TLS.KeyFile, err = transport.MakeCert(dir, dir, c.Deployment, ownership.Region(c.Node.Region), ownership.NodeID(c.Node.ID), nil, 2*time.Hour)
	must(t, err)
	c.Node.DataDir = filepath.Join(dir, "data")
	c.HandleKeysFile = write("handle-keys", "k1:"+canaryHandle+"\n")
	c.Admin.TokensFile = write("tokens", "tokens: [{name: ops, roles: [read], sha256: "+admin.HashToken("token")+"}]\n")
	c.Apps[0].Bot.SecretFile = write("bot-secret", canaryBot)
	c.Apps[0].Graph.ClientSecretFile = write("client-secret", canarySecret)
	c.Regions[0].AdminTokenFile, c.Regions[0].AdminCAFile = write("amer-token", "token"), ca
	return c
}

func TestCheckFilesReadsWhatIsNamed(t *testing.T) {
	for _, f := range []struct {
		name   string
		breaks func(*Config)
		after  time.Duration
		says   string
		start  bool // a node starts all the same: it tells its operator, and takes new files by itself
	}{
		{name: "no handle keys", breaks: func(c *Config) { c.HandleKeysFile += "x" }, says: "handle_keys_file: "},
		{name: "another's key", breaks: func(c *Config) { c.Public.TLS.KeyFile = c.Cluster.TLS.KeyFile }, says: "public.tls: "},
		{name: "no admin certificate", breaks: func(c *Config) { c.Admin.TLS = ServerTLS{CertFile: "/nowhere", KeyFile: "/nowhere"} }, says: "admin.tls: "},
		{name: "another node's certificate", breaks: func(c *Config) { c.Node.ID = "emea-2" }, says: "cluster.tls: "},
		{name: "no tokens", breaks: func(c *Config) { c.Admin.TokensFile = c.HandleKeysFile }, says: "admin.tokens_file: "},
		{name: "a bot's secret for all", breaks: func(c *Config) { _ = os.Chmod(c.Apps[0].Bot.SecretFile, 0o644) }, says: "apps[0].bot.secret_file: "},
		{name: "no client secret", breaks: func(c *Config) { c.Apps[0].Graph.ClientSecretFile += "x" }, says: "apps[0].graph.client_secret_file: "},
		{name: "no token of a region", breaks: func(c *Config) { c.Regions[0].AdminTokenFile += "x" }, says: "regions: "},
		{name: "no authority of a region", breaks: func(c *Config) { c.Regions[0].AdminCAFile = c.HandleKeysFile }, says: "regions: "},
		{name: "another host", breaks: func(c *Config) { c.Public.URL = "https://emea-9.bot.contoso.com" }, says: "public.tls is not for the host of public.url", start: true},
		{name: "a certificate that is over", after: 90 * time.Minute, says: "public.tls: its certificate ended", start: true},
		{name: "a node's that is over", after: 150 * time.Minute, says: "cluster.tls.cert_file: its certificate ended", start: true},
		{name: "another authority", breaks: func(c *Config) { c.Cluster.TLS.CAFile = c.Public.TLS.CertFile }, says: "cluster.tls.cert_file does not hold with cluster.tls.ca_file", start: true},
	} {
		t.Run(f.name, func(t *testing.T) {
			c := soundFiles(t)
			if notices, err := c.CheckFiles(time.Now()); err != nil {
				t.Fatalf("sound files are refused: %v, %q", err, notices)
			}
			if f.breaks != nil {
				f.breaks(&c)
			}
			if err := c.Check(); err != nil {
				t.Fatalf("the text does not hold: %v", err)
			}
			_, err := c.CheckFiles(time.Now().Add(f.after))
			if err == nil || !strings.Contains(err.Error(), f.says) || strings.Contains(err.Error(), canaryHandle[:4]) {
				t.Errorf("it says %v, wanted %q", err, f.says)
			}
			if f.start {
				if err := c.Filled().readFiles(); err != nil {
					t.Errorf("a node would not start: %v", err)
				}
				return
			}
			if n, err := Start(t.Context(), c); err == nil {
				_ = n.Stop(t.Context())
				t.Error("it starts")
			} else if !strings.Contains(err.Error(), f.says) {
				t.Errorf("the start says %v, wanted %q", err, f.says)
			}
			if _, err := os.Stat(c.Node.DataDir); err == nil {
				t.Error("the start left a trace on disk")
			}
		})
	}
}

// TestCheckFilesTellsOfTheRegionsHost: a balancer may end TLS under that name, so it is
// no fault.
func TestCheckFilesTellsOfTheRegionsHost(t *testing.T) {
	c := soundFiles(t)
	c.Public.RegionURL = "https://other.bot.contoso.com"
	notices, err := c.CheckFiles(time.Now())
	if err != nil || !strings.Contains(strings.Join(notices, "\n"), "public.tls is not for the host of public.region_url") {
		t.Errorf("it says %q, %v", notices, err)
	}
}
