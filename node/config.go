package node

import (
	"cmp"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/acme"
	"tandem/azure"
	"tandem/bot"
	"tandem/cluster/clocks"
	"tandem/graph/credential"
	"tandem/ownership"
	"tandem/policy"
)

// Config is everything that one node is told. The yaml names are the ones
// users write; Defaults fills what they leave out and Check says what is wrong
// with the rest. The fields without a name cannot stand in a file: they are for
// programs that start a node of their own.
type Config struct {
	Deployment     string   `yaml:"deployment"`       // the same in every region: stores and peers of another one are refused
	HandleKeysFile string   `yaml:"handle_keys_file"` // first key signs callback URIs, all verify; the same in every region
	Node           Self     `yaml:"node"`
	Public         Public   `yaml:"public"`
	Cluster        Cluster  `yaml:"cluster"`
	Admin          Admin    `yaml:"admin"`
	Ledger         Ledger   `yaml:"ledger"`
	Auth           Auth     `yaml:"auth"`
	Apps           []App    `yaml:"apps"`
	Regions        []Region `yaml:"regions"` // the other regions; this one may stand among them
	Rules          []Rule   `yaml:"rules"`   // home region of a new call: the first match, else here
	Pins           []Pin    `yaml:"pins"`    // operators' pins to a node, zone or version: the first match
	// Tables that rules name, from a text to a region.
	Tables policy.Tables `yaml:"tables"`
	Azure  Azure         `yaml:"azure"`
	Log    Log           `yaml:"log"`

	// Bot, when set, takes the hand-overs in this process instead of the URLs of
	// the apps.
	Bot bot.Bot `yaml:"-"`
	// Version is the software version that the node tells the others.
	Version string `yaml:"-"`
	// Logger takes the logs instead of one built from Log.
	Logger *slog.Logger `yaml:"-"`
	// LogTo takes what Log describes instead of standard error.
	LogTo io.Writer `yaml:"-"`
	// PublicListener and AdminListener, when set, are used instead of opening
	// the listen addresses; the node closes them.
	PublicListener, AdminListener net.Listener `yaml:"-"`
	// Registry takes the metrics; nil: the node makes one of its own.
	Registry *prometheus.Registry `yaml:"-"`
	// Fatal is called once when the node cannot go on (a disk that fails or
	// stalls). nil: the process exits with status 1.
	Fatal func(error) `yaml:"-"`
	// Reread gives the configuration as it is written now, for a reload that somebody asks
	// for. nil: there is none.
	Reread func() (Config, error) `yaml:"-"`
	// Now is the clock of what lasts minutes or hours: tokens and their issuers'
	// keys, keepAlives, tombstones, the reaper. nil: time.Now. Leases know no clock but the monotonic one.
	Now func() time.Time `yaml:"-"`
	// Pending is how many records may wait for the table's file before the table waits for
	// its disk; 0: as many as the store lets.
	Pending int `yaml:"-"`
}

// Self is who the node is.
type Self struct {
	ID       string `yaml:"id"`
	Region   string `yaml:"region"`
	Zone     string `yaml:"zone"`
	DataDir  string `yaml:"data_dir"`
	Capacity int    `yaml:"capacity"` // live calls it may hold
	// Drain is how long SIGTERM waits for calls that cannot be moved.
	Drain       time.Duration `yaml:"drain"`
	Maintenance Maintenance   `yaml:"maintenance"`
}

// Maintenance says whose announcements of maintenance the node follows.
type Maintenance struct {
	Azure   bool   `yaml:"azure"`   // Scheduled Events, of the service at azure.metadata_url
	Approve bool   `yaml:"approve"` // let it begin before its time, once no call is left here
	Machine string `yaml:"machine"` // as events name it; empty: the machine is asked
}

// Public is the door that the calling cloud posts to.
type Public struct {
	Listen      string    `yaml:"listen"`
	URL         string    `yaml:"url"`        // where redirects to this node go; empty: peers relay to it
	RegionURL   string    `yaml:"region_url"` // base of the callback URIs; empty: url
	WebhookPath string    `yaml:"webhook_path"`
	Redirect    Redirect  `yaml:"redirect"`
	TLS         PublicTLS `yaml:"tls"`
	BodyLimit   int64     `yaml:"body_limit"`  // bytes
	Connections int       `yaml:"connections"` // at the same time
	// Of them from one address (IPv6: from one /64); 0: an eighth. Raise it behind
	// a load balancer that passes TLS on under its own address, or name it in
	// trusted_proxies. With tls.off there is no such bound.
	ConnectionsEach int           `yaml:"connections_per_address"`
	IdleTimeout     time.Duration `yaml:"idle_timeout"` // of a connection between two requests; longer than the balancer's
	// Networks of proxies and balancers in front of this node whose word on a
	// caller's address is taken: X-Forwarded-For, or with proxy_protocol the PROXY
	// protocol, which they must speak then.
	TrustedProxies []string      `yaml:"trusted_proxies"`
	ProxyProtocol  bool          `yaml:"proxy_protocol"`
	Grace          time.Duration `yaml:"grace"` // for requests under way when the node stops
	// Linger is how long a node that stops keeps this port open after /readyz and
	// health_path fail, in a region of several: until what balances load has noticed.
	Linger     time.Duration `yaml:"linger"`
	HealthPath string        `yaml:"health_path"` // GET and HEAD: 200 or 503, no body, no token; empty: none
}

// Redirect says how a notification is sent on.
type Redirect struct {
	Status  int    `yaml:"status"`  // 302 or 307
	Midcall string `yaml:"midcall"` // relay or redirect, for notifications of a running call
}

// PublicTLS is where the public door's certificate comes from: files, an authority that is
// asked for it, or none.
type PublicTLS struct {
	ServerTLS `yaml:",inline"`
	ACME      ACME `yaml:"acme"`
}

// ACME says how the public certificates are ordered, RFC 8555. The nodes of a region share
// them by its table.
type ACME struct {
	Hosts     []string `yaml:"hosts"`     // one certificate each; the first one's is shown to who names no host; empty: none is ordered
	Challenge string   `yaml:"challenge"` // http-01, tls-alpn-01 or dns-01
	Directory string   `yaml:"directory"` // of the authority; by naming hosts you accept its terms
	Email     string   `yaml:"email"`     // where the authority warns; may be empty
	CAFile    string   `yaml:"ca_file"`   // whom to trust at the directory; empty: whom the machine trusts
	Listen    string   `yaml:"listen"`    // of http-01
	// DNSCommand is run for dns-01, without a shell, with three more arguments: present or
	// cleanup, the name of the TXT record, its value.
	DNSCommand []string `yaml:"dns_command"`
	// Pace is for tests.
	Pace acme.Pace `yaml:"-"`
}

// ServerTLS is a listener's certificate, or the loud decision to go without.
type ServerTLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	Off      bool   `yaml:"off"` // behind a load balancer that ends TLS
}

// Cluster is the door of the region's other nodes.
type Cluster struct {
	Listen          string        `yaml:"listen"`
	Advertise       string        `yaml:"advertise"`        // what the others dial; empty: the listen address
	Bootstrap       bool          `yaml:"bootstrap"`        // of former times: it founds nothing any more, see Node.Found
	BootstrapExpect int           `yaml:"bootstrap_expect"` // start a new region once so many nodes of join see each other
	Join            []string      `yaml:"join"`
	JoinTokenFile   string        `yaml:"join_token_file"`     // what lets a new node in that nobody else has asked for
	JoinByCert      bool          `yaml:"join_by_certificate"` // of the region: whoever has a certificate may join
	TLS             PeerTLS       `yaml:"tls"`
	Partitions      int           `yaml:"partitions"`   // born on each node that joins
	Lease           time.Duration `yaml:"lease"`        // a node's right to act as owner
	Election        time.Duration `yaml:"election"`     // raft's heartbeat and election time-out
	Tombstones      time.Duration `yaml:"tombstones"`   // how long an ended call is remembered
	StalledDisk     time.Duration `yaml:"stalled_disk"` // a disk silent for so long ends the node
}

// PeerTLS is the mutual TLS between nodes. All empty: plain, on loopback only.
type PeerTLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	CAFile   string `yaml:"ca_file"`
}

// Ledger says how long a region's ledger is kept, in days. It counts when the region agrees
// on it for the first time; then 'tandem ledger keep' changes it.
type Ledger struct {
	KeepDays      int `yaml:"keep_days"`
	KeepEndedDays int `yaml:"keep_ended_days"` // entries of calls that ended as calls do; 0: they leave none
}

func (l Ledger) keep() ownership.Keep {
	return ownership.Keep{Days: l.KeepDays, EndedDays: l.KeepEndedDays}
}

// Admin is the operators' door.
type Admin struct {
	Listen      string    `yaml:"listen"`
	TokensFile  string    `yaml:"tokens_file"` // empty: open, on loopback only
	TLS         ServerTLS `yaml:"tls"`
	Connections int       `yaml:"connections"`
}

// Auth says whose tokens are taken.
type Auth struct {
	Profiles  []Profile     `yaml:"profiles"`
	ClockSkew time.Duration `yaml:"clock_skew"`
}

// Profile is one issuer of tokens: a cloud.
type Profile struct {
	Name      string   `yaml:"name"`
	OpenIDURL string   `yaml:"openid_url"` // more of them: openid_urls
	OpenIDs   []string `yaml:"openid_urls"`
	Issuers   []string `yaml:"issuers"`
	Also      []Pair   `yaml:"also"`      // issuers with keys of their own
	Callers   []string `yaml:"callers"`   // azp or appid of the applications that may call; Microsoft Entra's tokens need it
	Audiences []string `yaml:"audiences"` // more spellings of an app's id that are taken as audience, with {app} for the id
}

// Pair is issuers whose tokens are verified with the keys of these addresses only.
type Pair struct {
	OpenIDURL string   `yaml:"openid_url"` // more of them: openid_urls
	OpenIDs   []string `yaml:"openid_urls"`
	Issuers   []string `yaml:"issuers"`
}

// App is one bot registration.
type App struct {
	ID         string         `yaml:"id"`      // the token's audience
	Tenants    []string       `yaml:"tenants"` // empty: any
	Profile    string         `yaml:"profile"`
	Hosting    string         `yaml:"hosting"` // service (movable) or app (pinned)
	Answer     string         `yaml:"answer"`  // router or bot
	AnswerWith map[string]any `yaml:"answer_with"`
	// Silence is how long answered calls with hosting: app wait for a node that is
	// silent, its bot may live; nil: 30 s, 0: not at all. The same on every node.
	Silence *time.Duration `yaml:"silence"`
	Bot     AppBot         `yaml:"bot"`
	Graph   AppGraph       `yaml:"graph"`
}

// AppBot is where the bot beside the node listens.
type AppBot struct {
	URL       string        `yaml:"url"`
	HealthURL string        `yaml:"health_url"`
	Timeout   time.Duration `yaml:"timeout"`
	// SecretFile holds what the bot tells its router by: hand-overs are signed with
	// it (Tandem-Signature). Empty: they are not.
	SecretFile string `yaml:"secret_file"`
	// Secret is what a file may not hold itself: it comes by the environment and
	// goes before SecretFile.
	Secret string `yaml:"-"`
}

// AppGraph is how the router itself acts on calls of the app.
type AppGraph struct {
	BaseURL  string `yaml:"base_url"`
	TokenURL string `yaml:"token_url"`
	ClientID string `yaml:"client_id"`
	Scope    string `yaml:"scope"`
	// How the app proves at token_url who it is: exactly one of these.
	ClientSecretFile string            `yaml:"client_secret_file"`
	Certificate      ClientCertificate `yaml:"client_certificate"`
	WorkloadIdentity WorkloadIdentity  `yaml:"workload_identity"`
	ManagedIdentity  string            `yaml:"managed_identity"` // system or user (by client_id); without token_url
	// ClientSecret is what a file may not hold itself: it comes by the environment
	// and goes before ClientSecretFile.
	ClientSecret string `yaml:"-"`
}

// ClientCertificate is what an app signs with at its token endpoint.
type ClientCertificate struct {
	CertFile  string `yaml:"cert_file"`
	KeyFile   string `yaml:"key_file"`
	Algorithm string `yaml:"algorithm"` // PS256, or RS256 for what is older; empty: PS256
}

// WorkloadIdentity is the token of another provider that stands in for a secret.
type WorkloadIdentity struct {
	TokenFile string `yaml:"token_file"`
	// Environment takes what is left out of token_file, client_id and token_url from
	// AZURE_FEDERATED_TOKEN_FILE, AZURE_CLIENT_ID, AZURE_AUTHORITY_HOST and AZURE_TENANT_ID,
	// as AKS sets them.
	Environment bool `yaml:"environment"`
}

// Azure says how the node speaks with the machine that it runs on, where that is one of Azure.
type Azure struct {
	MetadataURL string `yaml:"metadata_url"`
}

// Region is another region of the deployment.
type Region struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
	// Admin doors of its nodes, at best of several: it counts as down when none of
	// them answers. What it tells of its other nodes' doors is asked, too.
	AdminURLs      []string `yaml:"admin_urls"`
	AdminURL       string   `yaml:"admin_url"` // one more of them
	AdminTokenFile string   `yaml:"admin_token_file"`
	AdminCAFile    string   `yaml:"admin_ca_file"`
}

// Rule sends matching new calls to a region.
type Rule = policy.RuleSpec

// Pin sends matching new calls to a node, zone or version of this region.
type Pin = policy.PinSpec

// Log says how much is logged and how.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // text or json
}

// dataDir is where a packaged node keeps its data.
func dataDir() string {
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("ProgramData"), "Tandem", "data")
	}
	return "/var/lib/tandem"
}

// Defaults is what stands where the user says nothing.
func Defaults() Config {
	return Config{
		Node: Self{DataDir: dataDir(), Capacity: 50, Drain: 30 * time.Second},
		Public: Public{
			Listen: "0.0.0.0:8443", WebhookPath: "/api/calls",
			TLS:       PublicTLS{ACME: ACME{Directory: acme.LetsEncrypt, Listen: "0.0.0.0:80"}},
			Redirect:  Redirect{Status: 302, Midcall: "relay"},
			BodyLimit: 1 << 20, Connections: 8192, IdleTimeout: 620 * time.Second, Grace: 15 * time.Second,
			Linger: 10 * time.Second, HealthPath: "/healthz",
		},
		Cluster: Cluster{
			Listen: "0.0.0.0:8471", Partitions: 8,
			Lease: clocks.Shipped.Lease, Election: clocks.Shipped.Election,
			Tombstones: 15 * time.Minute, StalledDisk: clocks.Shipped.DiskStall,
		},
		Admin:  Admin{Listen: "127.0.0.1:8470", Connections: 512},
		Auth:   Auth{ClockSkew: 5 * time.Minute},
		Ledger: Ledger{KeepDays: 90, KeepEndedDays: 7},
		Azure:  Azure{MetadataURL: azure.DefaultURL},
		Log:    Log{Level: "info", Format: "text"},
	}
}

// Filled returns the configuration with what the user left out: values that are taken from
// others, and what stands for an app where the user says nothing.
func (c Config) Filled() Config {
	c.Public.RegionURL = cmp.Or(c.Public.RegionURL, c.Public.URL)
	c.Apps = slices.Clone(c.Apps)
	for i, a := range c.Apps {
		c.Apps[i] = a.filled()
	}
	return c
}

func (a App) filled() App {
	a.Profile = cmp.Or(a.Profile, "public")
	a.Hosting = cmp.Or(a.Hosting, "app")
	a.Answer = cmp.Or(a.Answer, "bot")
	a.Graph = a.Graph.filled()
	a.Silence = cmp.Or(a.Silence, new(30*time.Second))
	a.Bot.Timeout = cmp.Or(a.Bot.Timeout, 4*time.Second)
	return a
}

func (g AppGraph) filled() AppGraph {
	g.BaseURL = cmp.Or(g.BaseURL, "https://graph.microsoft.com/v1.0")
	if g.WorkloadIdentity.Environment {
		e := credential.ReadEnvironment(os.Getenv)
		g.TokenURL, g.ClientID = cmp.Or(g.TokenURL, e.TokenURL), cmp.Or(g.ClientID, e.ClientID)
		g.WorkloadIdentity.TokenFile = cmp.Or(g.WorkloadIdentity.TokenFile, e.TokenFile)
	}
	return g
}

// acts reports whether the router acts on calls of the app itself.
func (g AppGraph) acts() bool {
	return g.TokenURL != "" || g.ManagedIdentity != "" || g.WorkloadIdentity.Environment
}
