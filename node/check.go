package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"tandem/ownership"
)

var (
	nameShape = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)
	guidShape = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// Check says everything that is wrong with the configuration, one sentence a
// line, each with the key's path and what to write instead. Files are not read:
// Start does that.
func (c Config) Check() error {
	var p problems
	p.name("deployment", c.Deployment)
	p.name("node.id", c.Node.ID)
	p.name("node.region", c.Node.Region)
	p.when(c.Node.DataDir == "", "node.data_dir is empty: name a directory on a local disk")
	p.when(c.Node.Capacity < 1, "node.capacity is %d: give the number of live calls this node may hold, 1 or more", c.Node.Capacity)
	p.when(c.Node.Drain < 0 || c.Node.Drain > 24*time.Hour, "node.drain is %s: 0s to 24h, how long SIGTERM waits for calls that cannot be moved", c.Node.Drain)
	p.when(c.HandleKeysFile == "", "handle_keys_file is empty: make one with 'tandem keys new' and give the same file to every node")
	c.checkPublic(&p)
	c.checkCluster(&p)
	c.checkAdmin(&p)
	c.checkAuth(&p)
	for i, a := range c.Apps {
		checkApp(&p, i, appDefaults(a), c)
	}
	p.when(len(c.Apps) == 0, "apps is empty: name at least one bot registration, the audience of the cloud's tokens")
	c.checkRegions(&p)
	p.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	p.oneOf("log.format", c.Log.Format, "text", "json")
	return errors.Join(p...)
}

func (c Config) checkPublic(p *problems) {
	p.listen("public.listen", c.Public.Listen)
	if c.Public.URL != "" {
		p.base("public.url", c.Public.URL)
	}
	if c.Public.RegionURL != "" || c.Public.URL == "" {
		p.base("public.region_url", c.Public.RegionURL)
	}
	p.when(c.Public.HealthPath != "" && !plainPath(c.Public.HealthPath), "public.health_path is %q: write a plain path such as /healthz, or leave it out", c.Public.HealthPath)
	p.when(c.Public.HealthPath != "" && c.Public.HealthPath == c.Public.WebhookPath, "public.health_path is %q, the path of the webhook: choose another", c.Public.HealthPath)
	p.when(c.Public.Linger < 0 || c.Public.Linger > 10*time.Minute, "public.linger is %s: 0s to 10m, how long the port stays open after this node says that it stops", c.Public.Linger)
	p.when(!plainPath(c.Public.WebhookPath), "public.webhook_path is %q: write a plain path such as /api/calls, without a slash at its end", c.Public.WebhookPath)
	p.when(c.Public.Redirect.Status != 302 && c.Public.Redirect.Status != 307, "public.redirect.status is %d: 302 or 307", c.Public.Redirect.Status)
	p.oneOf("public.redirect.midcall", c.Public.Redirect.Midcall, "relay", "redirect")
	p.serverTLS("public.tls", c.Public.TLS)
	p.when(c.Public.BodyLimit < 64<<10, "public.body_limit is %d bytes: rosters of large meetings need 65536 or more", c.Public.BodyLimit)
	p.when(c.Public.Connections < 1, "public.connections is %d: 1 or more", c.Public.Connections)
	p.when(c.Public.IdleTimeout < time.Second, "public.idle_timeout is %s: longer than the idle time-out of what balances load (AWS 60s, Azure 4m, Google 10m), or it meets connections that have just been closed", c.Public.IdleTimeout)
	_, err := c.Public.proxies()
	p.when(err != nil, "%w", err)
	p.when(c.Public.ProxyProtocol && len(c.Public.TrustedProxies) == 0, "public.proxy_protocol without public.trusted_proxies: name the networks of the proxies that speak it, such as 10.0.0.0/8")
	p.when(c.Public.ConnectionsEach < 0, "public.connections_per_address is %d: 1 or more, or 0 for an eighth of public.connections", c.Public.ConnectionsEach)
}

func (c Config) checkCluster(p *problems) {
	p.listen("cluster.listen", c.Cluster.Listen)
	c.checkAdvertised(p)
	t := c.Cluster.TLS
	empty := t == PeerTLS{}
	p.when(!empty && (t.CertFile == "" || t.KeyFile == "" || t.CAFile == ""), "cluster.tls needs cert_file, key_file and ca_file together: make them with 'tandem tls ca' and 'tandem tls cert'")
	p.when(empty && !loopback(c.Cluster.Listen), "cluster.listen is %s without cluster.tls: whoever reaches that port owns the table, so plain connections are for loopback only; make certificates with 'tandem tls ca' and 'tandem tls cert'", c.Cluster.Listen)
	p.when(c.Cluster.Partitions < 1 || c.Cluster.Partitions > 1024, "cluster.partitions is %d: 1 to 1024", c.Cluster.Partitions)
	p.when(c.Cluster.BootstrapExpect < 0 || c.Cluster.BootstrapExpect > 5, "cluster.bootstrap_expect is %d: 2 to 5, or leave it out", c.Cluster.BootstrapExpect)
	p.when(c.Cluster.Lease < 2*c.Cluster.Election || c.Cluster.Lease > time.Minute, "cluster.lease is %s: at least twice cluster.election (%s), at most 1m", c.Cluster.Lease, c.Cluster.Election)
	p.when(c.Cluster.Election < 50*time.Millisecond, "cluster.election is %s: 50ms or more", c.Cluster.Election)
	for i, j := range c.Cluster.Join {
		p.listen(fmt.Sprintf("cluster.join[%d]", i), j)
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
	return out
}

// checkAdvertised refuses an address at which no other node could dial this one.
func (c Config) checkAdvertised(p *problems) {
	if c.Cluster.Advertise != "" {
		p.listen("cluster.advertise", c.Cluster.Advertise)
		_, port, err := net.SplitHostPort(c.Cluster.Advertise)
		p.when(err == nil && (port == "0" || port == ""), "cluster.advertise is %s: nobody can dial that port; write the one at which the other nodes reach this one", c.Cluster.Advertise)
		p.when(err == nil && unspecified(c.Cluster.Advertise), "cluster.advertise is %s: that is no address of this machine; write the one at which the other nodes reach it", c.Cluster.Advertise)
		return
	}
	p.when(unspecified(c.Cluster.Listen), "cluster.advertise is empty and cluster.listen is %s, every address of this machine: write in cluster.advertise the one at which the other nodes reach it, such as 10.0.0.1:8471", c.Cluster.Listen)
}

// unspecified reports whether a host:port names all addresses, or none.
func unspecified(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

func (c Config) checkAdmin(p *problems) {
	p.listen("admin.listen", c.Admin.Listen)
	open := c.Admin.TokensFile == ""
	p.when(open && !loopback(c.Admin.Listen), "admin.listen is %s without admin.tokens_file: the admin door is open to loopback only; name a file of tokens", c.Admin.Listen)
	if t := c.Admin.TLS; t != (ServerTLS{}) {
		p.serverTLS("admin.tls", t)
	} else {
		p.when(!loopback(c.Admin.Listen), "admin.listen is %s without admin.tls: give cert_file and key_file, or off: true behind something that ends TLS", c.Admin.Listen)
	}
	p.when(c.Admin.Connections < 1, "admin.connections is %d: 1 or more", c.Admin.Connections)
}

func (c Config) checkAuth(p *problems) {
	p.when(c.Auth.ClockSkew < 0 || c.Auth.ClockSkew > 15*time.Minute, "auth.clock_skew is %s: 0s to 15m", c.Auth.ClockSkew)
	for i, f := range c.Auth.Profiles {
		at := fmt.Sprintf("auth.profiles[%d]", i)
		p.name(at+".name", f.Name)
		urls := slices.Clone(f.OpenIDs)
		if f.OpenIDURL != "" {
			urls = append(urls, f.OpenIDURL)
		}
		p.when(len(urls) == 0, "%s.openid_url is empty: where is the issuer's OpenID configuration?", at)
		for _, u := range urls {
			p.outbound(at+".openid_url", u)
		}
		p.when(len(f.Issuers) == 0, "%s.issuers is empty: which iss may its tokens carry?", at)
	}
}

func checkApp(p *problems, i int, a App, c Config) {
	at := fmt.Sprintf("apps[%d]", i)
	p.when(!guidShape.MatchString(a.ID), "%s.id is %q: write the app registration's id, a lower-case GUID", at, a.ID)
	for _, t := range a.Tenants {
		p.when(!guidShape.MatchString(t), "%s.tenants holds %q: write tenant ids, lower-case GUIDs", at, t)
	}
	p.oneOf(at+".hosting", a.Hosting, "service", "app")
	p.oneOf(at+".answer", a.Answer, "router", "bot")
	builtIn := slices.Contains([]string{"public", "gcc-high", "dod"}, a.Profile)
	own := slices.ContainsFunc(c.Auth.Profiles, func(f Profile) bool { return f.Name == a.Profile })
	p.when(!builtIn && !own, "%s.profile is %q: it is none of public, gcc-high, dod and none of auth.profiles", at, a.Profile)
	if a.Bot.URL != "" {
		p.outbound(at+".bot.url", a.Bot.URL)
	}
	p.when(a.Bot.URL == "" && c.Bot == nil, "%s.bot.url is empty: where does the bot beside this node listen?", at)
	if a.Bot.HealthURL != "" {
		p.outbound(at+".bot.health_url", a.Bot.HealthURL)
	}
	p.when(a.Bot.Timeout < 100*time.Millisecond || a.Bot.Timeout > 14*time.Second, "%s.bot.timeout is %s: 100ms to 14s, since the cloud waits 15s", at, a.Bot.Timeout)
	p.when(*a.Silence < 0 || *a.Silence > time.Hour, "%s.silence is %s: 0s to 1h, how long calls whose media are with the bot wait for a silent node", at, *a.Silence)
	if a.Answer == "router" {
		p.when(a.Hosting == "app", "%s: answer: router with hosting: app cannot work, only the bot's media library can make its answer; write answer: bot", at)
		p.when(a.Graph.TokenURL == "", "%s.graph.token_url is empty: answer: router needs a token of its own to answer with", at)
		p.when(a.Graph.ClientSecretFile == "" && a.Graph.ClientSecret == "", "%s.graph.client_secret_file is empty: answer: router needs the app's secret", at)
		p.when(len(a.AnswerWith) == 0, "%s.answer_with is empty: answer: router needs acceptedModalities and mediaConfig", at)
	}
	p.outbound(at+".graph.base_url", a.Graph.BaseURL)
	if a.Graph.TokenURL != "" {
		p.outbound(at+".graph.token_url", a.Graph.TokenURL)
	}
}

func (c Config) checkRegions(p *problems) {
	for i, r := range c.Regions {
		at := fmt.Sprintf("regions[%d]", i)
		p.name(at+".name", r.Name)
		p.base(at+".url", r.URL)
		if r.AdminURL != "" {
			p.outbound(at+".admin_url", r.AdminURL)
		}
		for j, u := range r.AdminURLs {
			p.outbound(fmt.Sprintf("%s.admin_urls[%d]", at, j), u)
		}
	}
	sound, known := len(*p), c.regionNames()
	for i, r := range c.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		p.when(r.When == "", "%s.when is empty: write an expression such as call.tenant == \"…\", or true", at)
		p.when(!slices.Contains(known, r.Region), "%s.region is %q: it is none of %s; add it to regions", at, r.Region, strings.Join(known, ", "))
		p.when(r.Residency != "" && r.Residency != "hard", "%s.residency is %q: hard, or leave it out", at, r.Residency)
	}
	for i, r := range c.Pins {
		at := fmt.Sprintf("pins[%d]", i)
		p.when(r.When == "", "%s.when is empty: write an expression such as call.tenant == \"…\"", at)
		p.when(r.Node == "" && r.Zone == "" && r.Version == "", "%s pins to nothing: give node, zone or version", at)
	}
	if len(*p) == sound { // else the compiler would only say the same again
		_, _, err := c.policy()
		p.when(err != nil, "%w", err)
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

// problems gathers sentences.
type problems []error

func (p *problems) when(wrong bool, format string, args ...any) {
	if wrong {
		*p = append(*p, fmt.Errorf(format, args...))
	}
}

func (p *problems) name(key, v string) {
	p.when(!nameShape.MatchString(v), "%s is %q: write 1 to 64 of a-z, 0-9 and dashes", key, v)
}

func (p *problems) oneOf(key, v string, allowed ...string) {
	p.when(!slices.Contains(allowed, v), "%s is %q: it is none of %s", key, v, strings.Join(allowed, ", "))
}

func (p *problems) listen(key, v string) {
	_, _, err := net.SplitHostPort(v)
	p.when(err != nil, "%s is %q: write host:port", key, v)
}

// base checks a URL that Locations and callback URIs begin with, by the rule that a
// join and each use of it are checked by.
func (p *problems) base(key, v string) {
	err := ownership.CheckPublicURL(v)
	p.when(err != nil, "%s: %w; write https://host[:port], perhaps with a plain path behind it (http is for loopback only)", key, err)
}

// plainPath takes a path that a router and every proxy spell alike.
func plainPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.HasSuffix(s, "/") && !strings.ContainsAny(s, ":*?#% ") && !strings.Contains(s, "//")
}

// outbound checks a URL that this node calls.
func (p *problems) outbound(key, v string) {
	u, err := url.Parse(v)
	ok := err == nil && u.Host != "" && u.User == nil && u.Fragment == "" && (u.Scheme == "https" || u.Scheme == "http" && loopback(u.Host))
	p.when(!ok, "%s is %q: write an https URL (http is for loopback only)", key, v)
}

func (p *problems) serverTLS(key string, t ServerTLS) {
	switch {
	case t.Off:
		p.when(t.CertFile != "" || t.KeyFile != "", "%s has off: true and a certificate: choose one", key)
	default:
		p.when(t.CertFile == "" || t.KeyFile == "", "%s needs cert_file and key_file, or off: true behind something that ends TLS", key)
	}
}

// loopback reports whether host or host:port can only be reached from this
// machine.
func loopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
