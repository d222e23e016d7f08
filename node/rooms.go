package node

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/admin"
	"tandem/admin/api"
	"tandem/bot"
	"tandem/cluster"
	"tandem/cluster/clocks"
	"tandem/cluster/transport"
	"tandem/federation"
	"tandem/graph"
	"tandem/graph/credential"
	"tandem/ownership"
	"tandem/spelling"
	"tandem/store"
	"tandem/store/record"
	"tandem/token"
	"tandem/webhook"
)

// The methods below say what the configuration, once filled, tells each room. The check
// and the start both take it from here, so that what validates starts.

// checkRooms asks every room whether it would take what it is told.
func (c Config) checkRooms() error {
	var p problems
	say := func(section string, err error) { p.when(err != nil, "%s: %w", section, err) }
	_, err := c.policy()
	p.when(err != nil, "%w", err)
	tokens, apps := c.tokenConfig()
	say("auth", tokens.Check(apps))
	for i, a := range c.Apps {
		at := fmt.Sprintf("apps[%d]", i)
		if c.Bot == nil {
			say(at+".bot", a.httpBot(nil).Check())
		}
		if a.Graph.acts() {
			say(at+".graph", c.graphConfig(a).Check())
		}
	}
	dispatcher, err := c.botConfig()
	p.when(err != nil, "%w", err)
	say("apps", dispatcher.Check())
	say("cluster", c.clusterConfig().Check())
	say("regions", c.federationConfig().Check())
	door, err := c.webhookConfig()
	p.when(err != nil, "%w", err)
	say("public", door.Check())
	say("admin", c.adminConfig().Check())
	return errors.Join(p...)
}

// metrics is the registry, or nothing where there is none yet.
func (c Config) metrics() prometheus.Registerer {
	if c.Registry == nil {
		return nil
	}
	return c.Registry
}

func (c Config) stamp() store.Stamp {
	return store.Stamp{Deployment: c.Deployment, Region: ownership.Region(c.Node.Region), Node: ownership.NodeID(c.Node.ID), Format: record.CommandFormat}
}

func (c Config) tokenConfig() (token.Config, []token.App) {
	cfg := token.Config{ClockSkew: c.Auth.ClockSkew, Logger: c.Logger, Metrics: c.metrics(), Now: c.Now}
	for _, p := range c.Auth.Profiles {
		own := token.Profile{Name: p.Name, OpenIDURL: openIDs(p.OpenIDURL, p.OpenIDs), Issuers: p.Issuers, Audiences: p.Audiences, Callers: p.Callers}
		for _, pair := range p.Also {
			own.Also = append(own.Also, token.Pair{OpenIDURL: openIDs(pair.OpenIDURL, pair.OpenIDs), Issuers: pair.Issuers})
		}
		cfg.Profiles = append(cfg.Profiles, own)
	}
	apps := make([]token.App, len(c.Apps))
	for i, a := range c.Apps {
		apps[i] = token.App{ID: a.ID, Tenants: a.Tenants, Profile: a.Profile}
	}
	return cfg, apps
}

// openIDs are all addresses of metadata.
func openIDs(first string, more []string) []string {
	if first == "" {
		return more
	}
	return append([]string{first}, more...)
}

// botConfig is what the dispatcher is told, but for its apps' Bot and Graph.
func (c Config) botConfig() (bot.Config, error) {
	cfg := bot.Config{Node: ownership.NodeID(c.Node.ID), Logger: c.Logger, Metrics: c.metrics(), Now: c.Now}
	for i, a := range c.Apps {
		app, err := a.botApp()
		if err != nil {
			return cfg, fmt.Errorf("apps[%d].%w", i, err)
		}
		cfg.Apps = append(cfg.Apps, app)
	}
	return cfg, nil
}

func (a App) botApp() (bot.App, error) {
	app := bot.App{ID: ownership.AppID(a.ID), Pinned: a.Hosting == "app", Answer: bot.AnswerBy(a.Answer), Timeout: a.Bot.Timeout}
	if len(a.AnswerWith) == 0 {
		return app, nil
	}
	text, err := json.Marshal(a.AnswerWith)
	if err != nil {
		return app, fmt.Errorf("answer_with: it cannot be written as JSON: %w", err)
	}
	app.AnswerWith = text
	return app, nil
}

func (a App) httpBot(secret func() string) bot.HTTPConfig {
	return bot.HTTPConfig{URL: a.Bot.URL, HealthURL: a.Bot.HealthURL, Secret: secret}
}

func (c Config) graphConfig(a App) graph.Config {
	g := a.Graph
	return graph.Config{
		BaseURL: g.BaseURL, TokenURL: g.TokenURL, Scope: g.Scope, ClientID: cmp.Or(g.ClientID, a.ID),
		ClientSecretFile: g.ClientSecretFile, ClientSecret: g.ClientSecret,
		Certificate: credential.Certificate(g.Certificate), TokenFile: g.WorkloadIdentity.TokenFile,
		ManagedIdentity: g.ManagedIdentity, MetadataURL: c.Azure.MetadataURL,
	}
}

func (c Config) clusterConfig() cluster.Config {
	cfg := cluster.Config{
		Deployment: c.Deployment, Region: ownership.Region(c.Node.Region),
		Node: ownership.Node{
			ID: ownership.NodeID(c.Node.ID), Zone: c.Node.Zone, PublicURL: c.Public.URL, AdminURL: c.adminURL(),
			Capacity: c.Node.Capacity, Version: c.Version, Format: record.CommandFormat,
		},
		Listen: c.Cluster.Listen, Advertise: c.Cluster.Advertise, TLS: c.Cluster.TLS.files(),
		BootstrapExpect: c.Cluster.BootstrapExpect, Join: slices.Clone(c.Cluster.Join),
		JoinToken: c.Cluster.joinToken, JoinByCertificate: c.Cluster.JoinByCert,
		Partitions: c.Cluster.Partitions, Settings: c.shared(), Silence: c.silence,
		Timings: clocks.Timings{
			Lease: c.Cluster.Lease, Renew: c.Cluster.Lease / 4,
			Heartbeat: c.Cluster.Election, Election: c.Cluster.Election, LeaderLease: c.Cluster.Election * 6 / 7,
			DiskStall: c.Cluster.StalledDisk,
		},
		Logger: c.Logger, Metrics: c.metrics(),
	}
	for _, a := range c.Apps {
		cfg.Apps = append(cfg.Apps, ownership.AppID(a.ID))
	}
	return cfg
}

// files returns the files of the cluster's TLS; nil: none is configured.
func (t PeerTLS) files() *transport.Files {
	if t == (PeerTLS{}) {
		return nil
	}
	return &transport.Files{CertFile: t.CertFile, KeyFile: t.KeyFile, CAFile: t.CAFile}
}

// silence is how long the calls of an app whose media are with its bot wait for a
// silent node.
func (c Config) silence(app ownership.AppID) time.Duration {
	longest := time.Duration(0)
	for _, a := range c.Apps {
		if ownership.AppID(a.ID) == app {
			return *a.Silence
		}
		longest = max(longest, *a.Silence)
	}
	return longest
}

func (c Config) federationConfig() federation.Config {
	cfg := federation.Config{Self: ownership.Region(c.Node.Region), Logger: c.Logger, Metrics: c.metrics()}
	for _, r := range c.Regions {
		cfg.Regions = append(cfg.Regions, federation.Region{
			Name: ownership.Region(r.Name), URL: r.URL,
			AdminURL: r.AdminURL, AdminURLs: r.AdminURLs, TokenFile: r.AdminTokenFile, CAFile: r.AdminCAFile,
		})
	}
	return cfg
}

func (c Config) webhookConfig() (webhook.Config, error) {
	proxies, err := c.Public.proxies()
	cfg := webhook.Config{
		Path: c.Public.WebhookPath, Region: ownership.Region(c.Node.Region), Node: ownership.NodeID(c.Node.ID),
		PublicURL: c.Public.URL, RegionURL: c.Public.RegionURL,
		RedirectStatus: c.Public.Redirect.Status, Midcall: c.Public.Redirect.Midcall,
		BodyLimit: c.Public.BodyLimit, HandOver: 5 * time.Second, HealthPath: c.Public.HealthPath,
		Proxies: proxies, ProxyProtocol: c.Public.ProxyProtocol,
		// Whatever ends TLS in front of this node sends every request itself.
		Hidden: c.Public.TLS.Off && !c.Public.ProxyProtocol,
	}
	for _, a := range c.Apps {
		cfg.Apps = append(cfg.Apps, webhook.App{ID: ownership.AppID(a.ID), Pinned: a.Hosting == "app"})
		cfg.HandOver = max(cfg.HandOver, a.Bot.Timeout+time.Second)
	}
	return cfg, err
}

// adminConfig is what the admin door is told, but for the incarnation and the time of
// the start.
func (c Config) adminConfig() admin.Config {
	return admin.Config{
		Identity: api.Identity{Deployment: c.Deployment, Region: ownership.Region(c.Node.Region), Node: ownership.NodeID(c.Node.ID), Version: c.Version},
		URL:      c.Public.RegionURL, AdminURL: c.adminURL(),
		Loopback: spelling.Loopback(c.Admin.Listen), TokensFile: c.Admin.TokensFile,
		Secure: c.Admin.TLS.CertFile != "",
	}
}

// adminURL is where other programs on this network reach the admin door.
func (c Config) adminURL() string {
	scheme, addr := "http://", c.Admin.Listen
	if c.Admin.TLS.CertFile != "" {
		scheme = "https://"
	}
	if c.AdminListener != nil {
		addr = c.AdminListener.Addr().String()
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "0" {
		return "" // known only once it listens
	}
	if spelling.Unspecified(host) {
		// Nobody elsewhere can dial that: the others know the machine by its cluster port.
		if host, _, err = net.SplitHostPort(c.Cluster.Advertise); err != nil {
			return ""
		}
	}
	return scheme + net.JoinHostPort(host, port)
}
