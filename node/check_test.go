package node

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
	"tandem/policy"
)

// sound is a configuration without a fault, with everything in it that Check
// looks at.
func sound() Config {
	c := Defaults()
	c.Deployment, c.HandleKeysFile = "contoso-bots", "/etc/tandem/handle-keys"
	c.Node.ID, c.Node.Region = "emea-1", "emea"
	c.Public.URL, c.Public.RegionURL = "https://emea-1.bot.contoso.com", "https://emea.bot.contoso.com"
	c.Public.TLS.ServerTLS = ServerTLS{CertFile: "c", KeyFile: "k"}
	c.Cluster.TLS = PeerTLS{CertFile: "c", KeyFile: "k", CAFile: "ca"}
	c.Cluster.Join, c.Cluster.Advertise = []string{"10.0.0.2:8471"}, "10.0.0.1:8471"
	c.Auth.Profiles = []Profile{{Name: "own", OpenIDURL: "https://login.example.com/openid", Issuers: []string{"https://login.example.com"}}}
	c.Apps = []App{{
		ID: testApp, Tenants: []string{testTenant}, Profile: "own", Hosting: "service", Answer: "router",
		AnswerWith: map[string]any{"acceptedModalities": []string{"audio"}},
		Bot:        AppBot{URL: "http://127.0.0.1:9442/", HealthURL: "http://127.0.0.1:9442/health"},
		Graph:      AppGraph{TokenURL: "https://login.example.com/token", ClientSecretFile: "/etc/tandem/secret"},
	}}
	c.Regions = []Region{{Name: "amer", URL: "https://amer.bot.contoso.com", AdminURL: "https://10.1.0.1:8470"}}
	c.Rules = []Rule{{When: `call.source.countryCode == "US"`, Region: "amer", Residency: "hard"}}
	c.Pins = []Pin{{When: `call.tenant == "x"`, Pin: ownership.Pin{Zone: "a"}}}
	return c
}

// fault is one mistake, and the beginning of what Check must say of it.
type fault struct {
	name   string
	breaks func(*Config)
	says   string
}

// orders is a mistake in what is otherwise a sound order of certificates.
func orders(breaks func(*ACME)) func(*Config) {
	return func(c *Config) {
		c.Public.TLS.ServerTLS = ServerTLS{}
		c.Public.TLS.ACME.Hosts, c.Public.TLS.ACME.Challenge = []string{"emea-1.bot.contoso.com"}, "tls-alpn-01"
		breaks(&c.Public.TLS.ACME)
	}
}

// faults are mistakes, each with what Check must say of it: the key's path at
// the beginning of the sentence.
var faults = []fault{
	{"no deployment", func(c *Config) { c.Deployment = "" }, `deployment is "": write 1 to 63 of`},
	{"odd node id", func(c *Config) { c.Node.ID = "EMEA 1" }, `node.id is "EMEA 1"`},
	{"odd region", func(c *Config) { c.Node.Region = "-" }, `node.region is "-"`},
	{"no data directory", func(c *Config) { c.Node.DataDir = "" }, "node.data_dir is empty"},
	{"no capacity", func(c *Config) { c.Node.Capacity = 0 }, "node.capacity is 0"},
	{"a drain of two days", func(c *Config) { c.Node.Drain = 48 * time.Hour }, "node.drain is 48h0m0s"},
	{"approval of nothing", func(c *Config) { c.Node.Maintenance.Approve = true }, "node.maintenance has approve or machine without azure: true"},
	{"no handle keys", func(c *Config) { c.HandleKeysFile = "" }, "handle_keys_file is empty"},
	{"no port", func(c *Config) { c.Public.Listen = "0.0.0.0" }, `public.listen is "0.0.0.0": write host:port`},
	{"plain public URL", func(c *Config) { c.Public.URL = "http://emea-1.bot.contoso.com" }, "public.url is not https"},
	{"O16 a path that is not plain", func(c *Config) { c.Public.URL += "/x/" }, "public.url is not in plain spelling"},
	{"a user in the public URL", func(c *Config) { c.Public.URL = "https://a@b" }, "public.url holds more than"},
	{"neither URL", func(c *Config) { c.Public.URL, c.Public.RegionURL = "", "" }, `public.region_url is not https`},
	{"a slash after the path", func(c *Config) { c.Public.WebhookPath = "/api/calls/" }, "public.webhook_path is"},
	{"a pattern for a path", func(c *Config) { c.Public.WebhookPath = "/api/:id" }, "public.webhook_path is"},
	{"redirect 301", func(c *Config) { c.Public.Redirect.Status = 301 }, "public.redirect.status is 301: 302 or 307"},
	{"odd midcall", func(c *Config) { c.Public.Redirect.Midcall = "proxy" }, `public.redirect.midcall is "proxy": it is none of relay, redirect`},
	{"half a certificate", func(c *Config) { c.Public.TLS.KeyFile = "" }, "public.tls needs cert_file and key_file"},
	{"a certificate ordered and in files", func(c *Config) { c.Public.TLS.ACME.Hosts = []string{"emea-1.bot.contoso.com"} }, "public.tls has acme.hosts, and cert_file"},
	{"an order of nothing", func(c *Config) { c.Public.TLS.ACME.Challenge = "http-01" }, "public.tls.acme.hosts is empty"},
	{"an order without a challenge", orders(func(a *ACME) { a.Challenge = "" }), `public.tls.acme.challenge is "": it is none of http-01, tls-alpn-01, dns-01`},
	{"an order for an address", orders(func(a *ACME) { a.Hosts = []string{"emea-1.bot.contoso.com", "10.0.0.1"} }), `public.tls.acme.hosts[1] is "10.0.0.1": write a host's name`},
	{"an order for a URL", orders(func(a *ACME) { a.Hosts = []string{"https://emea-1.bot.contoso.com"} }), `public.tls.acme.hosts[0] is "https://emea-1.bot.contoso.com": write a host's name`},
	{"an order for all hosts", orders(func(a *ACME) { a.Hosts = []string{"*.bot.contoso.com"} }), `public.tls.acme.hosts[0] is "*.bot.contoso.com": only dns-01 can prove`},
	{"an order twice", orders(func(a *ACME) { a.Hosts = append(a.Hosts, a.Hosts[0]) }), `public.tls.acme.hosts[1] is "emea-1.bot.contoso.com", which stands above already`},
	{"too many orders", orders(func(a *ACME) {
		for i := range 16 {
			a.Hosts = append(a.Hosts, fmt.Sprintf("h%d.contoso.com", i))
		}
	}), "public.tls.acme.hosts names 17 hosts: at most 16"},
	{"an order for others", orders(func(a *ACME) { a.Hosts = []string{"emea.bot.contoso.com"} }), "public.tls.acme.hosts has not emea-1.bot.contoso.com, the host of public.url"},
	{"an order from nowhere", orders(func(a *ACME) { a.Directory = "acme" }), "public.tls.acme.directory"},
	{"a port for nobody", orders(func(a *ACME) { a.Listen = "80" }), "public.tls.acme.listen"},
	{"no command for the record", orders(func(a *ACME) { a.Challenge = "dns-01" }), "public.tls.acme.dns_command belongs to challenge: dns-01"},
	{"a command for no record", orders(func(a *ACME) { a.DNSCommand = []string{"/bin/true"} }), "public.tls.acme.dns_command belongs to challenge: dns-01"},
	{"a command somewhere", orders(func(a *ACME) { a.Challenge, a.DNSCommand = "dns-01", []string{"dns"} }), `public.tls.acme.dns_command begins with "dns": write the program's whole path`},
	{"TLS off and on", func(c *Config) { c.Public.TLS.Off = true }, "public.tls has off: true and a certificate"},
	{"small bodies", func(c *Config) { c.Public.BodyLimit = 1000 }, "public.body_limit is 1000 bytes"},
	{"fewer connections than none from an address", func(c *Config) { c.Public.ConnectionsEach = -1 }, "public.connections_per_address is -1"},
	{"an idle time of nothing", func(c *Config) { c.Public.IdleTimeout = time.Millisecond }, "public.idle_timeout is 1ms"},
	{"a proxy's name", func(c *Config) { c.Public.TrustedProxies = []string{"lb.example.com"} }, `public.trusted_proxies[0] is "lb.example.com"`},
	{"everybody is a proxy", func(c *Config) { c.Public.TrustedProxies = []string{"10.0.0.1", "0.0.0.0/0"} }, "public.trusted_proxies[1] is 0.0.0.0/0, everybody"},
	{"PROXY protocol of nobody", func(c *Config) { c.Public.ProxyProtocol = true }, "public.proxy_protocol without public.trusted_proxies"},
	{"O11 an odd health path", func(c *Config) { c.Public.HealthPath = "/health/" }, `public.health_path is "/health/": write a plain path`},
	{"O11 the webhook's health", func(c *Config) { c.Public.HealthPath = c.Public.WebhookPath }, `public.health_path is "/api/calls", the path of the webhook`},
	{"O10 a stop without end", func(c *Config) { c.Public.Linger = time.Hour }, "public.linger is 1h0m0s"},
	{"no connections", func(c *Config) { c.Public.Connections = 0 }, "public.connections is 0"},
	{"cluster without port", func(c *Config) { c.Cluster.Listen = "::" }, `cluster.listen is "::"`},
	{"odd advertise", func(c *Config) { c.Cluster.Advertise = "10.0.0.1" }, "cluster.advertise is"},
	{"nobody can dial port 0", func(c *Config) { c.Cluster.Advertise = "10.0.0.1:0" }, "cluster.advertise is 10.0.0.1:0: nobody can dial that port"},
	{"all addresses for one", func(c *Config) { c.Cluster.Advertise = "[::]:8471" }, "cluster.advertise is [::]:8471: that is no address of one machine"},
	{"all addresses, and none named", func(c *Config) { c.Cluster.Advertise = "" }, "cluster.advertise is empty and cluster.listen is 0.0.0.0:8471"},
	{"an endless silence", func(c *Config) { s := 2 * time.Hour; c.Apps[0].Silence = &s }, "apps[0].silence is 2h0m0s"},
	{"half of cluster.tls", func(c *Config) { c.Cluster.TLS.CAFile = "" }, "cluster.tls needs cert_file, key_file and ca_file together"},
	{"a plain cluster port", func(c *Config) { c.Cluster.TLS = PeerTLS{} }, "cluster.listen is 0.0.0.0:8471 without cluster.tls"},
	{"a grace below nothing", func(c *Config) { c.Public.Grace = -1 }, "public.grace is -1ns"},
	{"no time for a disk", func(c *Config) { c.Cluster.StalledDisk = 0 }, "cluster.stalled_disk is 0s"},
	{"no tombstones", func(c *Config) { c.Cluster.Tombstones = 0 }, "cluster.tombstones is 0s"},
	{"no ledger", func(c *Config) { c.Ledger.KeepDays = 0 }, "ledger.keep_days is 0"},
	{"a plain address told", func(c *Config) {
		c.Cluster.Listen, c.Cluster.TLS, c.Cluster.Join = "127.0.0.1:0", PeerTLS{}, nil
	}, "cluster.advertise is 10.0.0.1:8471 without cluster.tls"},
	{"no partitions", func(c *Config) { c.Cluster.Partitions = 0 }, "cluster.partitions is 0"},
	{"too many founders", func(c *Config) { c.Cluster.BootstrapExpect = 6 }, "cluster.bootstrap_expect is 6"},
	{"a short lease", func(c *Config) { c.Cluster.Lease = c.Cluster.Election }, "cluster.lease is"},
	{"a hasty election", func(c *Config) { c.Cluster.Election = time.Millisecond }, "cluster.election is 1ms"},
	{"odd join", func(c *Config) { c.Cluster.Join = []string{"10.0.0.2:1", "10.0.0.3"} }, "cluster.join[1] is"},
	{"admin without port", func(c *Config) { c.Admin.Listen = "127.0.0.1" }, "admin.listen is"},
	{"admin beyond loopback without tokens", func(c *Config) {
		c.Admin.Listen, c.Admin.TLS.Off = "0.0.0.0:8470", true
	}, "admin.listen is 0.0.0.0:8470 without admin.tokens_file"},
	{"admin beyond loopback without TLS", func(c *Config) {
		c.Admin.Listen, c.Admin.TokensFile = "0.0.0.0:8470", "t"
	}, "admin.listen is 0.0.0.0:8470 without admin.tls"},
	{"half of admin.tls", func(c *Config) { c.Admin.TLS.CertFile = "c" }, "admin.tls needs cert_file and key_file"},
	{"no admin connections", func(c *Config) { c.Admin.Connections = 0 }, "admin.connections is 0"},
	{"a skew of an hour", func(c *Config) { c.Auth.ClockSkew = time.Hour }, "auth.clock_skew is 1h0m0s"},
	{"a profile without name", func(c *Config) { c.Auth.Profiles[0].Name = "" }, "auth.profiles[0].name is"},
	{"a profile without address", func(c *Config) { c.Auth.Profiles[0].OpenIDURL = "" }, "auth.profiles[0].openid_url is empty"},
	{"a plain issuer", func(c *Config) { c.Auth.Profiles[0].OpenIDs = []string{"http://login.example.com"} }, "auth.profiles[0].openid_url is not https"},
	{"a profile without issuers", func(c *Config) { c.Auth.Profiles[0].Issuers = nil }, "auth.profiles[0].issuers is empty"},
	{"keys of no issuer", func(c *Config) { c.Auth.Profiles[0].Also = []Pair{{OpenIDURL: "https://login.example.com/2"}} }, "auth.profiles[0].also[0].issuers is empty"},
	{"Entra without callers", func(c *Config) {
		c.Auth.Profiles[0].Issuers = []string{"https://login.microsoftonline.com/" + testTenant + "/v2.0"}
	}, `auth: reading token profile "own": its tokens are Microsoft Entra's`},
	{"no apps", func(c *Config) { c.Apps = nil }, "apps is empty"},
	{"an app id in capitals", func(c *Config) { c.Apps[0].ID = strings.ToUpper(testApp) }, "apps[0].id is"},
	{"a tenant's name", func(c *Config) { c.Apps[0].Tenants = []string{"contoso.com"} }, `apps[0].tenants[0] is "contoso.com"`},
	{"odd hosting", func(c *Config) { c.Apps[0].Hosting = "cloud" }, "apps[0].hosting is"},
	{"odd answer", func(c *Config) { c.Apps[0].Answer = "nobody" }, "apps[0].answer is"},
	{"unknown profile", func(c *Config) { c.Apps[0].Profile = "china" }, `apps[0].profile is "china"`},
	{"a plain bot elsewhere", func(c *Config) { c.Apps[0].Bot.URL = "http://10.0.0.9/" }, "apps[0].bot.url is"},
	{"no bot", func(c *Config) { c.Apps[0].Bot.URL = "" }, "apps[0].bot.url is empty"},
	{"a plain health address elsewhere", func(c *Config) { c.Apps[0].Bot.HealthURL = "http://10.0.0.9/" }, "apps[0].bot.health_url is"},
	{"a bot slower than the cloud", func(c *Config) { c.Apps[0].Bot.Timeout = 20 * time.Second }, "apps[0].bot.timeout is 20s"},
	{"the router answers for media in the bot", func(c *Config) { c.Apps[0].Hosting = "app" }, "apps[0]: answer: router with hosting: app cannot work"},
	{"no token address", func(c *Config) { c.Apps[0].Graph.TokenURL = "" }, "apps[0].graph.token_url is empty"},
	{"no secret", func(c *Config) { c.Apps[0].Graph.ClientSecretFile = "" }, "apps[0].graph proves by nothing who it is: give one of client_secret_file"},
	{"a secret and a certificate", func(c *Config) { c.Apps[0].Graph.Certificate = ClientCertificate{CertFile: "c", KeyFile: "k"} }, "apps[0].graph proves in 2 ways who it is (client_secret_file, client_certificate)"},
	{"half a client certificate", func(c *Config) {
		c.Apps[0].Graph.ClientSecretFile, c.Apps[0].Graph.Certificate.CertFile = "", "c"
	}, "apps[0].graph.client_certificate needs cert_file and key_file"},
	{"an algorithm that is none", func(c *Config) {
		c.Apps[0].Graph.ClientSecretFile, c.Apps[0].Graph.Certificate = "", ClientCertificate{"c", "k", "HS256"}
	}, `apps[0].graph.client_certificate.algorithm is "HS256"`},
	{"an identity that is none", func(c *Config) {
		c.Apps[0].Graph.ClientSecretFile, c.Apps[0].Graph.TokenURL, c.Apps[0].Graph.ManagedIdentity = "", "", "mine"
	}, `apps[0].graph.managed_identity is "mine"`},
	{"a machine's identity at a token address", func(c *Config) {
		c.Apps[0].Graph.ClientSecretFile, c.Apps[0].Graph.ManagedIdentity = "", "system"
	}, "apps[0].graph.token_url stands beside managed_identity"},
	{"an environment that is not AKS's", func(c *Config) {
		c.Apps[0].Graph.ClientSecretFile, c.Apps[0].Graph.TokenURL, c.Apps[0].Graph.WorkloadIdentity.Environment = "", "", true
	}, "apps[0].graph.workload_identity.environment is true, and this process has no AZURE_AUTHORITY_HOST"},
	{"another machine's metadata", func(c *Config) { c.Azure.MetadataURL = "http://10.0.0.1" }, "azure.metadata_url is not https"},
	{"nothing to answer with", func(c *Config) { c.Apps[0].AnswerWith = nil }, "apps[0].answer_with is empty"},
	{"B112 a plain Graph", func(c *Config) { c.Apps[0].Graph.BaseURL = "http://graph.example.com" }, "apps[0].graph.base_url is"},
	{"B112 a plain token address", func(c *Config) { c.Apps[0].Graph.TokenURL = "http://login.example.com" }, "apps[0].graph.token_url is"},
	{"a region without name", func(c *Config) { c.Regions[0].Name, c.Rules = "", nil }, "regions[0].name is"},
	{"B99 a region's odd URL", func(c *Config) { c.Regions[0].URL = "javascript:alert(1)" }, "regions[0].url "},
	{"B99 a region at a metadata address", func(c *Config) { c.Regions[0].URL = "http://169.254.169.254" }, "regions[0].url "},
	{"a plain admin door elsewhere, among several", func(c *Config) { c.Regions[0].AdminURLs = []string{"https://10.1.0.2:8470", "http://10.1.0.1:8470"} }, "regions[0].admin_urls[1] is"},
	{"a plain admin door elsewhere", func(c *Config) { c.Regions[0].AdminURL = "http://10.1.0.1:8470" }, "regions[0].admin_url is"},
	{"an empty rule", func(c *Config) { c.Rules[0].When = "" }, "rules[0].when is empty"},
	{"a rule to nowhere", func(c *Config) { c.Rules[0].Region = "apac" }, `rules[0].region is "apac": it is none of emea, amer`},
	{"odd residency", func(c *Config) { c.Rules[0].Residency = "soft" }, `rules[0].residency is "soft"`},
	{"a rule that does not compile", func(c *Config) { c.Rules[0].When = "call.nothing == 1" }, "reading rules and pins: reading region rule 1: "},
	{"a spread to nowhere", func(c *Config) {
		c.Rules[0] = Rule{When: "true", Spread: []ownership.Region{"emea", "apac"}, By: "call.thread"}
	}, `rules[0].spread is "apac": it is none of emea, amer`},
	{"an overflow to nowhere", func(c *Config) { c.Rules[0] = Rule{When: "true", Region: "emea", Overflow: []ownership.Region{"apac"}} }, `rules[0].overflow is "apac": it is none of emea, amer`},
	{"a table to nowhere", func(c *Config) { c.Tables = policy.Tables{"homes": {"x": "apac"}} }, `tables.homes is "apac": it is none of emea, amer`},
	{"a rule without its table", func(c *Config) { c.Rules[0] = Rule{When: "true", Table: "homes", By: "call.tenant"} }, "reading rules and pins: reading region rule 1: its table "},
	{"an empty pin", func(c *Config) { c.Pins[0].When = "" }, "pins[0].when is empty"},
	{"a pin to nothing", func(c *Config) { c.Pins[0].Zone = "" }, "pins[0] pins to nothing"},
	{"a pin that does not compile", func(c *Config) { c.Pins[0].When = "1 +" }, "reading rules and pins: reading pin 1: "},
	{"odd level", func(c *Config) { c.Log.Level = "loud" }, "log.level is"},
	{"odd format", func(c *Config) { c.Log.Format = "xml" }, "log.format is"},
}

func TestCheckNamesTheKey(t *testing.T) {
	if err := sound().Check(); err != nil {
		t.Fatalf("a sound configuration is refused: %v", err)
	}
	var said []string
	for _, f := range append(faults, unstartable...) {
		t.Run(f.name, func(t *testing.T) {
			c := sound()
			f.breaks(&c)
			err := c.Check()
			if err == nil {
				t.Fatal("nothing is said")
			}
			lines := strings.Split(err.Error(), "\n")
			if !strings.HasPrefix(lines[0], f.says) {
				t.Errorf("it says\n%s\nwanted is a sentence that begins with\n%s", err, f.says)
			}
			said = append(said, lines...)
		})
	}
	for _, sentence := range sentences(t) {
		form := regexp.MustCompile(`(?s)^` + verb.ReplaceAllString(regexp.QuoteMeta(sentence), ".*") + `$`)
		found := false
		for _, s := range said {
			found = found || form.MatchString(s)
		}
		if !found {
			t.Errorf("no fault of this test makes Check say %q", sentence)
		}
	}
}

// verb is a formatting verb, quoted as a regular expression.
var verb = regexp.MustCompile(`%[a-z]`)

// sentences are the formats in check.go: what Check can say.
func sentences(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "check.go", nil, 0)
	must(t, err)
	var all []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) < 2 {
			return true
		}
		if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "when" {
			return true
		}
		if lit, ok := call.Args[1].(*ast.BasicLit); ok {
			text, err := strconv.Unquote(lit.Value)
			must(t, err)
			if text != "%w" {
				all = append(all, text)
			}
		}
		return true
	})
	if len(all) < 40 {
		t.Fatalf("check.go has %d sentences", len(all))
	}
	return all
}

// TestCheckTellsEverythingAtOnce: whoever mends a file wants the whole list.
func TestCheckTellsEverythingAtOnce(t *testing.T) {
	c := sound()
	c.Deployment, c.Node.Capacity, c.Rules[0].Region = "", 0, "apac"
	err := c.Check()
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("it says %v", err)
	}
}

// TestStartRefusesBeforeItShows: a mistake in a file is told before the node
// opens a port, and what had started is gone.
func TestStartRefusesBeforeItShows(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, shape: inProcess})
	x := s.seats[0]
	x.stop()
	for _, f := range []struct {
		name   string
		breaks func(*Config)
		says   string
	}{
		{"a wrong key", func(c *Config) { c.Node.Capacity = -1 }, "node.capacity is -1"},
		{"no handle keys", func(c *Config) { c.HandleKeysFile = s.path("nowhere") }, "handle_keys_file"},
		{"another node's data", func(c *Config) { c.Node.ID = "emea-9" }, "opening the store in "},
		{"another region's data", func(c *Config) { c.Node.Region = "amer" }, "opening the store in "},
		{"no certificate of another region", func(c *Config) {
			c.Regions = []Region{{Name: "amer", URL: "https://amer.example.com", AdminURL: "https://amer.example.com", AdminCAFile: s.path("nowhere")}}
		}, "regions: "},
		{"no admin tokens", func(c *Config) { c.Admin.TokensFile = s.path("nowhere") }, "tokens file"},
		{"no certificate", func(c *Config) { c.Public.TLS.ServerTLS = ServerTLS{CertFile: s.path("a"), KeyFile: s.path("b")} }, "public.tls"},
		{"no cluster certificate", func(c *Config) {
			c.Cluster.TLS = PeerTLS{CertFile: s.path("a"), KeyFile: s.path("b"), CAFile: s.path("c")}
		}, "cluster.tls: "},
		{"a port in use", func(c *Config) { c.Admin.Listen = s.seats[0].public }, "admin.listen"},
	} {
		t.Run(f.name, func(t *testing.T) {
			c := x.config()
			c.Logger = s.quiet()
			f.breaks(&c)
			n, err := Start(t.Context(), c)
			if err == nil {
				_ = n.Stop(t.Context())
				t.Fatal("it starts")
			}
			if !strings.Contains(err.Error(), f.says) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	x.start()
	s.ready(x)
	if n, ok := x.node.table.Node(ownership.NodeID(x.name)); !ok || n.State != ownership.NodeActive {
		t.Errorf("after all that it is %+v", n)
	}
}

// TestTheStoreOutlivesTheRegion: raft panics when its log is closed under it. A stop
// whose time is over before raft has ended leaves the store open.
func TestTheStoreOutlivesTheRegion(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, shape: inProcess})
	x := s.seats[0]
	n := x.node
	x.node = nil
	late, cancel := context.WithCancel(t.Context())
	cancel()
	err := n.Stop(late)
	if err == nil {
		t.Fatal("a stop without any time says nothing")
	}
	<-n.region.Over()
	if strings.Contains(err.Error(), "stays open") { // else raft had ended before the store's turn came
		if err := n.store.Close(); err != nil {
			t.Errorf("closing the store once raft had ended: %v", err)
		}
	}
	x.start()
	s.ready(x)
}
