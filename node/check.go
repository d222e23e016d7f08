package node

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tandem/acme"
	"tandem/graph/credential"
	"tandem/ownership"
	"tandem/policy"
	"tandem/spelling"
)

// Check says everything that is wrong with the configuration, one sentence a
// line, each with the key's path and what to write instead. Files are not read:
// CheckFiles does that.
func (c Config) Check() error {
	c = c.Filled()
	if err := c.checkKeys(); err != nil {
		return err
	}
	return c.checkRooms()
}

// checkKeys says what the rooms say as well, but by the key that a user wrote.
func (c Config) checkKeys() error {
	var p problems
	p.spelled("deployment", spelling.Name(c.Deployment))
	p.spelled("node.id", spelling.Name(c.Node.ID))
	p.spelled("node.region", spelling.Name(c.Node.Region))
	p.when(c.Node.DataDir == "", "node.data_dir is empty: name a directory on a local disk")
	p.when(c.Node.Capacity < 1, "node.capacity is %d: give the number of live calls this node may hold, 1 or more", c.Node.Capacity)
	p.when(c.Node.Drain < 0 || c.Node.Drain > 24*time.Hour, "node.drain is %s: 0s to 24h, how long SIGTERM waits for calls that cannot be moved", c.Node.Drain)
	m := c.Node.Maintenance
	p.when(!m.Azure && (m.Approve || m.Machine != ""), "node.maintenance has approve or machine without azure: true: nobody's announcements are followed")
	p.when(c.HandleKeysFile == "", "handle_keys_file is empty: make one with 'tandem keys new' and give the same file to every node")
	c.checkPublic(&p)
	c.checkCluster(&p)
	c.checkAdmin(&p)
	c.checkAuth(&p)
	for i, a := range c.Apps {
		checkApp(&p, i, a, c)
	}
	p.when(len(c.Apps) == 0, "apps is empty: name at least one bot registration, the audience of the cloud's tokens")
	c.checkRegions(&p)
	p.outbound("azure.metadata_url", spelling.MetadataURL, c.Azure.MetadataURL)
	p.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	p.oneOf("log.format", c.Log.Format, "text", "json")
	return errors.Join(p...)
}

func (c Config) checkPublic(p *problems) {
	p.spelled("public.listen", spelling.Listen(c.Public.Listen))
	if c.Public.URL != "" {
		p.base("public.url", c.Public.URL)
	}
	if c.Public.RegionURL != c.Public.URL || c.Public.URL == "" {
		p.base("public.region_url", c.Public.RegionURL)
	}
	p.spelled("public.webhook_path", spelling.Path(c.Public.WebhookPath))
	if c.Public.HealthPath != "" {
		p.spelled("public.health_path", spelling.Path(c.Public.HealthPath))
	}
	p.when(c.Public.HealthPath == c.Public.WebhookPath, "public.health_path is %q, the path of the webhook: choose another", c.Public.HealthPath)
	p.when(c.Public.Grace < 0, "public.grace is %s: 0s or more, how long requests under way may take when the node stops", c.Public.Grace)
	p.when(c.Public.Linger < 0 || c.Public.Linger > 10*time.Minute, "public.linger is %s: 0s to 10m, how long the port stays open after this node says that it stops", c.Public.Linger)
	p.when(c.Public.Redirect.Status != 302 && c.Public.Redirect.Status != 307, "public.redirect.status is %d: 302 or 307", c.Public.Redirect.Status)
	p.oneOf("public.redirect.midcall", c.Public.Redirect.Midcall, "relay", "redirect")
	c.checkPublicTLS(p)
	p.when(c.Public.BodyLimit < 64<<10, "public.body_limit is %d bytes: rosters of large meetings need 65536 or more", c.Public.BodyLimit)
	p.when(c.Public.Connections < 1, "public.connections is %d: 1 or more", c.Public.Connections)
	p.when(c.Public.IdleTimeout < time.Second, "public.idle_timeout is %s: longer than the idle time-out of what balances load (AWS 60s, Azure 4m, Google 10m), or it meets connections that have just been closed", c.Public.IdleTimeout)
	_, err := c.Public.proxies()
	p.when(err != nil, "%w", err)
	p.when(c.Public.ProxyProtocol && len(c.Public.TrustedProxies) == 0, "public.proxy_protocol without public.trusted_proxies: name the networks of the proxies that speak it, such as 10.0.0.0/8")
	p.when(c.Public.ConnectionsEach < 0, "public.connections_per_address is %d: 1 or more, or 0 for an eighth of public.connections", c.Public.ConnectionsEach)
}

func (c Config) checkCluster(p *problems) {
	p.spelled("cluster.listen", spelling.Listen(c.Cluster.Listen))
	t := c.Cluster.TLS
	empty := t == PeerTLS{}
	p.when(!empty && (t.CertFile == "" || t.KeyFile == "" || t.CAFile == ""), "cluster.tls needs cert_file, key_file and ca_file together: make them with 'tandem tls ca' and 'tandem tls cert'")
	p.when(empty && !spelling.Loopback(c.Cluster.Listen), "cluster.listen is %s without cluster.tls: whoever reaches that port owns the table, so plain connections are for loopback only; make certificates with 'tandem tls ca' and 'tandem tls cert'", c.Cluster.Listen)
	c.checkAdvertised(p)
	p.when(c.Cluster.Partitions < 1 || c.Cluster.Partitions > 1024, "cluster.partitions is %d: 1 to 1024", c.Cluster.Partitions)
	p.when(c.Cluster.BootstrapExpect < 0 || c.Cluster.BootstrapExpect > 5, "cluster.bootstrap_expect is %d: 2 to 5, or leave it out", c.Cluster.BootstrapExpect)
	p.when(c.Cluster.Lease < 2*c.Cluster.Election || c.Cluster.Lease > time.Minute, "cluster.lease is %s: at least twice cluster.election (%s), at most 1m", c.Cluster.Lease, c.Cluster.Election)
	p.when(c.Cluster.Election < 50*time.Millisecond, "cluster.election is %s: 50ms or more", c.Cluster.Election)
	p.when(c.Cluster.StalledDisk <= 0, "cluster.stalled_disk is %s: above 0s, such as 3s", c.Cluster.StalledDisk)
	p.when(!c.Ledger.keep().Valid(), "ledger.keep_days is %d and ledger.keep_ended_days %d: 1 to %d days, and 0 to %d", c.Ledger.KeepDays, c.Ledger.KeepEndedDays, ownership.MaxKeepDays, ownership.MaxKeepDays)
	p.when(c.Cluster.Tombstones <= 0, "cluster.tombstones is %s: above 0s, such as 15m", c.Cluster.Tombstones)
	for i, j := range c.Cluster.Join {
		at := fmt.Sprintf("cluster.join[%d]", i)
		p.spelled(at, spelling.Dialable(j))
		p.when(empty && !spelling.Loopback(j), "%s is %s without cluster.tls: plain connections are for loopback only", at, j)
	}
}

// Notices are what holds, but does not do what it seems to say.
func (c Config) Notices() []string {
	var out []string
	const once = "a region is founded once, by 'tandem found' on its first node; take the line out"
	if c.Cluster.Bootstrap {
		out = append(out, "cluster.bootstrap: true founds nothing by itself any more: "+once)
	}
	if c.Cluster.BootstrapExpect == 1 {
		out = append(out, "cluster.bootstrap_expect: 1 founds nothing by itself any more: "+once)
	}
	if u, err := url.Parse(c.Public.RegionURL); err == nil && len(c.Public.TLS.ACME.Hosts) > 0 && !c.Public.TLS.ACME.covers(u.Hostname()) {
		out = append(out, fmt.Sprintf("public.tls.acme.hosts has not %s, the host of public.region_url; something in front of this node must end TLS", u.Hostname()))
	}
	return out
}

// checkAdvertised refuses an address at which no other node could dial this one.
func (c Config) checkAdvertised(p *problems) {
	if a := c.Cluster.Advertise; a != "" {
		p.spelled("cluster.advertise", spelling.Dialable(a))
		p.when(c.Cluster.TLS == PeerTLS{} && !spelling.Loopback(a), "cluster.advertise is %s without cluster.tls: plain connections are for loopback only", a)
		return
	}
	host, _, err := net.SplitHostPort(c.Cluster.Listen)
	p.when(err == nil && spelling.Unspecified(host), "cluster.advertise is empty and cluster.listen is %s, every address of this machine: write in cluster.advertise the one at which the other nodes reach it, such as 10.0.0.1:8471", c.Cluster.Listen)
}

func (c Config) checkAdmin(p *problems) {
	p.spelled("admin.listen", spelling.Listen(c.Admin.Listen))
	open := c.Admin.TokensFile == ""
	p.when(open && !spelling.Loopback(c.Admin.Listen), "admin.listen is %s without admin.tokens_file: the admin door is open to loopback only; name a file of tokens", c.Admin.Listen)
	if t := c.Admin.TLS; t != (ServerTLS{}) {
		p.serverTLS("admin.tls", t)
	} else {
		p.when(!spelling.Loopback(c.Admin.Listen), "admin.listen is %s without admin.tls: give cert_file and key_file, or off: true behind something that ends TLS", c.Admin.Listen)
	}
	p.when(c.Admin.Connections < 1, "admin.connections is %d: 1 or more", c.Admin.Connections)
}

func (c Config) checkAuth(p *problems) {
	p.when(c.Auth.ClockSkew < 0 || c.Auth.ClockSkew > 15*time.Minute, "auth.clock_skew is %s: 0s to 15m", c.Auth.ClockSkew)
	for i, f := range c.Auth.Profiles {
		at := fmt.Sprintf("auth.profiles[%d]", i)
		p.spelled(at+".name", spelling.Name(f.Name))
		checkPair(p, at, Pair{f.OpenIDURL, f.OpenIDs, f.Issuers})
		for j, pair := range f.Also {
			checkPair(p, fmt.Sprintf("%s.also[%d]", at, j), pair)
		}
	}
}

func checkPair(p *problems, at string, f Pair) {
	all := openIDs(f.OpenIDURL, f.OpenIDs)
	p.when(len(all) == 0, "%s.openid_url is empty: where is the issuer's OpenID configuration?", at)
	for _, u := range all {
		p.outbound(at+".openid_url", spelling.URL, u)
	}
	p.when(len(f.Issuers) == 0 || slices.Contains(f.Issuers, ""), "%s.issuers is empty, or holds an empty one: which iss may its tokens carry?", at)
}

func checkApp(p *problems, i int, a App, c Config) {
	at := fmt.Sprintf("apps[%d]", i)
	p.spelled(at+".id", spelling.GUID(a.ID))
	twice := slices.ContainsFunc(c.Apps[:i], func(o App) bool { return o.ID == a.ID })
	p.when(twice, "%s.id is %s, which stands above already", at, a.ID)
	for j, t := range a.Tenants {
		p.spelled(fmt.Sprintf("%s.tenants[%d]", at, j), spelling.GUID(t))
	}
	p.oneOf(at+".hosting", a.Hosting, "service", "app")
	p.oneOf(at+".answer", a.Answer, "router", "bot")
	builtIn := slices.Contains([]string{"public", "gcc-high", "dod"}, a.Profile)
	own := slices.ContainsFunc(c.Auth.Profiles, func(f Profile) bool { return f.Name == a.Profile })
	p.when(!builtIn && !own, "%s.profile is %q: it is none of public, gcc-high, dod and none of auth.profiles", at, a.Profile)
	if a.Bot.URL != "" {
		p.outbound(at+".bot.url", spelling.URL, a.Bot.URL)
	}
	p.when(a.Bot.URL == "" && c.Bot == nil, "%s.bot.url is empty: where does the bot beside this node listen?", at)
	if a.Bot.HealthURL != "" {
		p.outbound(at+".bot.health_url", spelling.URL, a.Bot.HealthURL)
	}
	p.when(a.Bot.Timeout < 100*time.Millisecond || a.Bot.Timeout > 14*time.Second, "%s.bot.timeout is %s: 100ms to 14s, since the cloud waits 15s", at, a.Bot.Timeout)
	p.when(*a.Silence < 0 || *a.Silence > time.Hour, "%s.silence is %s: 0s to 1h, how long calls whose media are with the bot wait for a silent node", at, *a.Silence)
	if a.Answer == "router" {
		p.when(a.Hosting == "app", "%s: answer: router with hosting: app cannot work, only the bot's media library can make its answer; write answer: bot", at)
		p.when(!a.Graph.acts(), "%s.graph.token_url is empty: answer: router needs a token of its own to answer with", at)
		p.when(len(a.AnswerWith) == 0, "%s.answer_with is empty: answer: router needs acceptedModalities and mediaConfig", at)
	}
	c.checkGraph(p, at+".graph", a)
}

// checkGraph checks how the router acts on calls of an app.
func (c Config) checkGraph(p *problems, at string, a App) {
	g := a.Graph
	p.outbound(at+".base_url", spelling.BaseURL, g.BaseURL)
	proof := c.graphConfig(a).Credential()
	lacks := g.WorkloadIdentity.Environment && (g.TokenURL == "" || g.WorkloadIdentity.TokenFile == "")
	if _, err := proof.Kind(); g.acts() && !lacks || len(proof.Ways()) > 1 {
		p.when(err != nil, "%s %w", at, err)
	}
	if lacks {
		missing := credential.ReadEnvironment(os.Getenv).Missing
		p.when(true, "%s.workload_identity.environment is true, and this process has no %s in its environment: AKS sets them in pods with the label azure.workload.identity/use; elsewhere write token_url, client_id and token_file", at, strings.Join(missing, ", "))
	}
	if g.ManagedIdentity != "" {
		p.oneOf(at+".managed_identity", g.ManagedIdentity, credential.SystemAssigned, credential.UserAssigned)
		p.when(g.TokenURL != "", "%s.token_url stands beside managed_identity, whose tokens come from the machine: take it out", at)
	}
	if t := g.Certificate; t != (ClientCertificate{}) {
		p.when(t.CertFile == "" || t.KeyFile == "", "%s.client_certificate needs cert_file and key_file together", at)
		p.when(t.Algorithm != "" && t.Algorithm != "PS256" && t.Algorithm != "RS256", "%s.client_certificate.algorithm is %q: it is none of PS256, RS256", at, t.Algorithm)
	}
	if g.TokenURL != "" {
		p.outbound(at+".token_url", spelling.BaseURL, g.TokenURL)
	}
}

func (c Config) checkRegions(p *problems) {
	for i, r := range c.Regions {
		at := fmt.Sprintf("regions[%d]", i)
		p.spelled(at+".name", spelling.Name(r.Name))
		twice := slices.ContainsFunc(c.Regions[:i], func(o Region) bool { return o.Name == r.Name })
		p.when(twice, "%s.name is %q, which stands above already", at, r.Name)
		p.base(at+".url", r.URL)
		if r.AdminURL != "" {
			p.outbound(at+".admin_url", spelling.BaseURL, r.AdminURL)
		}
		for j, u := range r.AdminURLs {
			p.outbound(fmt.Sprintf("%s.admin_urls[%d]", at, j), spelling.BaseURL, u)
		}
	}
	c.checkRules(p)
}

// checkRules checks the keys; policy checks what stands in them.
func (c Config) checkRules(p *problems) {
	known := c.regionNames()
	region := func(key string, all ...ownership.Region) {
		for _, r := range all {
			p.when(!slices.Contains(known, string(r)), "%s is %q: it is none of %s; add it to regions", key, r, strings.Join(known, ", "))
		}
	}
	for i, r := range c.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		p.when(r.When == "", "%s.when is empty: write an expression such as call.tenant == \"…\", or true", at)
		if r.Table == "" && len(r.Spread) == 0 {
			region(at+".region", r.Region)
		}
		region(at+".spread", r.Spread...)
		region(at+".overflow", r.Overflow...)
		p.when(r.Residency != "" && r.Residency != policy.ResidencyHard, "%s.residency is %q: hard, or leave it out", at, r.Residency)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Tables)) {
		region("tables."+name, slices.Compact(slices.Sorted(maps.Values(c.Tables[name])))...)
	}
	for i, r := range c.Pins {
		at := fmt.Sprintf("pins[%d]", i)
		p.when(r.When == "", "%s.when is empty: write an expression such as call.tenant == \"…\"", at)
		p.when(r.Pin == (ownership.Pin{}), "%s pins to nothing: give node, zone or version", at)
	}
}

// regionNames are the regions that a rule may name, this one first.
func (c Config) regionNames() []string {
	names := []string{c.Node.Region}
	for _, r := range c.Regions {
		names = append(names, r.Name)
	}
	return names
}

// covers reports whether a certificate for a host is ordered.
func (a ACME) covers(host string) bool {
	_, domain, _ := strings.Cut(host, ".")
	return slices.Contains(a.Hosts, host) || slices.Contains(a.Hosts, "*."+domain)
}

func (c Config) checkPublicTLS(p *problems) {
	const at = "public.tls.acme"
	t, a := c.Public.TLS, c.Public.TLS.ACME
	if len(a.Hosts) == 0 {
		p.serverTLS("public.tls", t.ServerTLS)
		p.when(a.Challenge != "" || a.Email != "" || len(a.DNSCommand) > 0, "%s.hosts is empty: name the hosts that a certificate is ordered for, such as the ones of public.url and public.region_url", at)
		return
	}
	p.when(t.ServerTLS != (ServerTLS{}), "public.tls has acme.hosts, and cert_file, key_file or off: choose one")
	for i, h := range a.Hosts {
		name, wild := strings.CutPrefix(h, "*.")
		err := spelling.PublicURL("https://" + name)
		p.when(err != nil || strings.ContainsAny(name, ":/") || net.ParseIP(name) != nil, "%s.hosts[%d] is %q: write a host's name in lower case, such as emea.bot.contoso.com", at, i, h)
		p.when(wild && a.Challenge != acme.DNS01, "%s.hosts[%d] is %q: only dns-01 can prove who has all hosts of a domain", at, i, h)
		p.when(slices.Contains(a.Hosts[:i], h), "%s.hosts[%d] is %q, which stands above already", at, i, h)
	}
	p.when(len(a.Hosts) > 16, "%s.hosts names %d hosts: at most 16", at, len(a.Hosts))
	p.oneOf(at+".challenge", a.Challenge, acme.HTTP01, acme.ALPN01, acme.DNS01)
	if u, err := url.Parse(c.Public.URL); err == nil && c.Public.URL != "" {
		p.when(!a.covers(u.Hostname()), "%s.hosts has not %s, the host of public.url, where callers are sent", at, u.Hostname())
	}
	p.outbound(at+".directory", spelling.BaseURL, a.Directory)
	p.spelled(at+".listen", spelling.Listen(a.Listen))
	p.when((a.Challenge == acme.DNS01) != (len(a.DNSCommand) > 0), "%s.dns_command belongs to challenge: dns-01, and that to a command which sets the TXT record", at)
	p.when(len(a.DNSCommand) > 0 && !filepath.IsAbs(a.DNSCommand[0]), "%s.dns_command begins with %q: write the program's whole path", at, strings.Join(a.DNSCommand, " "))
}

// problems gathers sentences.
type problems []error

func (p *problems) when(wrong bool, format string, args ...any) {
	if wrong {
		*p = append(*p, fmt.Errorf(format, args...))
	}
}

// spelled takes what a rule of spelling says of a key's value.
func (p *problems) spelled(key string, err error) {
	p.when(err != nil, "%s %w", key, err)
}

func (p *problems) oneOf(key, v string, allowed ...string) {
	p.when(!slices.Contains(allowed, v), "%s is %q: it is none of %s", key, v, strings.Join(allowed, ", "))
}

// base checks a URL that Locations and callback URIs begin with.
func (p *problems) base(key, v string) {
	err := spelling.PublicURL(v)
	p.when(err != nil, "%s %w: write https://host[:port], perhaps with a plain path behind it", key, err)
}

// outbound checks a URL that this node calls.
func (p *problems) outbound(key string, rule func(string) (*url.URL, error), v string) {
	_, err := rule(v)
	p.spelled(key, err)
}

func (p *problems) serverTLS(key string, t ServerTLS) {
	switch {
	case t.Off:
		p.when(t.CertFile != "" || t.KeyFile != "", "%s has off: true and a certificate: choose one", key)
	default:
		p.when(t.CertFile == "" || t.KeyFile == "", "%s needs cert_file and key_file, or off: true behind something that ends TLS", key)
	}
}
