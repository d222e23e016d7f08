package node

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/admin/client"
	"tandem/cluster/transport"
	"tandem/graphsim"
	"tandem/ownership"
)

// The bot registration of the stories. The secrets are canaries, too: none of
// them may be found in anything that a node writes.
const (
	testApp      = "0efc74f7-41c3-47a4-8775-7259bfef4241"
	testTenant   = "8986d25d-ed3f-4bb8-b739-14d2fcc37b09"
	canarySecret = "canary-client-secret-7f3a"
	canaryBot    = "canary-secret-of-the-bots-51d2"
	canaryHandle = "Y2FuYXJ5LWhhbmRsZS1rZXktMDEyMzQ1Njc4OWFiY2RlZmdo" // base64 of canary-handle-key-0123…
)

// plan says what a story needs. The zero value is one region of three nodes
// and a kind cloud.
type plan struct {
	regions  []string
	nodes    int                    // in each region
	secure   bool                   // mutual TLS on the cluster ports
	https    bool                   // TLS on the public doors
	token    string                 // of the admin doors; empty: they are open
	children bool                   // each node is a process of its own
	rates    graphsim.Rates         // how unkind the cloud is
	sim      func(*graphsim.Config) // further changes to the cloud
	shape    func(*seat, *Config)   // changes to each node's configuration
	log      slog.Leveler           // what the nodes log; nil: info
}

// stage is a simulated cloud and the nodes of one or two regions.
type stage struct {
	t       *testing.T
	plan    plan
	dir     string
	cloud   *graphsim.Cloud
	outside *http.Client
	roots   *x509.CertPool // of the public doors' certificates
	seats   []*seat
	over    atomic.Bool // all nodes stop at once
	founded map[string]bool
	log     *journal
}

// seat is a node's place: its addresses and its data outlive a restart.
type seat struct {
	s                  *stage
	name, region, zone string
	public, admin      string // addresses
	publicLn, adminLn  net.Listener
	cluster            string // address after the first start
	node               *Node  // nil: down, or a child
	child              *child // nil: down, or in this process
	seen               *recorder
	asks               sync.Once
	client             *client.Client
}

// deploy starts a cloud and the nodes of a plan, and returns once all of them
// are ready.
func deploy(t *testing.T, p plan) *stage {
	t.Helper()
	if p.regions == nil {
		p.regions = []string{"emea"}
	}
	if p.nodes == 0 {
		p.nodes = 3
	}
	s := &stage{t: t, plan: p, dir: t.TempDir(), log: newJournal(), founded: map[string]bool{}}
	t.Cleanup(func() {
		for _, twice := range s.log.malformed() {
			t.Errorf("a line of the log is no JSON, or has a key twice: %s", twice)
		}
		if t.Failed() {
			t.Logf("the nodes' last words:\n%s", s.log.tail(60))
		}
	})
	s.writeSecrets()
	s.outside = s.client()
	s.startCloud()
	t.Cleanup(s.stopAll)
	for _, region := range p.regions {
		for i := range p.nodes {
			s.seats = append(s.seats, s.newSeat(region, i))
		}
	}
	for _, region := range p.regions {
		for _, x := range s.of(region) {
			x.start()
			if x.node != nil && x == s.of(region)[0] {
				s.ready(x) // the founder, before others knock
			}
		}
	}
	s.ready(s.seats...)
	s.votes()
	s.meet()
	s.aim(s.seats...)
	return s
}

func (s *stage) startCloud() {
	s.t.Helper()
	rates := s.plan.rates
	cfg := graphsim.Config{
		Seed: 7, Rates: &rates, RegionURLs: map[string]string{}, Capacity: 500,
		Apps:      []graphsim.App{{ID: testApp, Tenants: []string{testTenant}, ClientSecret: canarySecret}},
		BotSecret: canaryBot, // no hand-over of a story goes unsigned
		Timings:   graphsim.Timings{TalkMin: 150 * time.Millisecond, TalkMax: 600 * time.Millisecond, RecordingClock: 10 * time.Second},
	}
	// One run rotates the keys; a second rotation within the minute would meet the
	// limit on fetching them.
	cfg.Switches.KeepKey = true
	for _, r := range s.plan.regions {
		cfg.RegionURLs[r] = regionURL(r)
	}
	cfg.TLS = s.trust()
	if s.plan.sim != nil {
		s.plan.sim(&cfg)
	}
	cloud, err := graphsim.Start(context.Background(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.cloud = cloud
	s.t.Cleanup(cloud.Close)
}

func regionURL(region string) string { return "http://" + region + ".localhost" }

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stage) writeSecrets() {
	s.t.Helper()
	must(s.t, os.WriteFile(s.path("client-secret"), []byte(canarySecret+"\n"), 0o600))
	must(s.t, os.WriteFile(s.path("bot-secret"), []byte(canaryBot+"\n"), 0o600))
	must(s.t, os.WriteFile(s.path("handle-keys"), []byte("k1:"+canaryHandle+"\n"), 0o600))
	if s.plan.secure || s.plan.https {
		_, _, err := transport.MakeCA(s.path("ca"), "the stories", 2*time.Hour)
		must(s.t, err)
	}
}

// stopAll stops everything that still runs, side by side.
func (s *stage) stopAll() {
	s.over.Store(true)
	var all sync.WaitGroup
	for _, x := range s.seats {
		all.Go(x.stop)
		for _, ln := range []net.Listener{x.publicLn, x.adminLn} {
			if ln != nil {
				_ = ln.Close() // its node was never started again
			}
		}
	}
	all.Wait()
}

// of returns the seats of a region; the first one founds it.
func (s *stage) of(region string) []*seat {
	return slices.DeleteFunc(slices.Clone(s.seats), func(x *seat) bool { return x.region != region })
}

// seat finds a seat by its node's name.
func (s *stage) seat(name string) *seat {
	s.t.Helper()
	for _, x := range s.seats {
		if x.name == name {
			return x
		}
	}
	s.t.Fatalf("there is no node %s", name)
	return nil
}

// ready waits until nodes have a place in their region.
func (s *stage) ready(seats ...*seat) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	for _, x := range seats {
		if x.child != nil {
			x.child.awaitReady(ctx, s.t)
			continue
		}
		if err := x.node.Ready(ctx); err != nil {
			s.t.Fatal(err)
		}
	}
}

// votes waits until every node of the plan has its vote: a newcomer gets it once its
// table has caught up.
func (s *stage) votes() {
	s.t.Helper()
	for _, region := range s.plan.regions {
		first := s.of(region)[0]
		eventually(s.t, "the votes of "+region, func() error {
			n, err := first.voters()
			return not(err == nil && n == min(s.plan.nodes, 5), "%d, %v", n, err)
		})
	}
}

// voters counts the votes of a seat's region as its node knows them.
func (x *seat) voters() (int, error) {
	if x.node != nil {
		return adminCluster{Cluster: x.node.region, table: x.node.table}.Status().Voters, nil
	}
	st, err := x.api().Status(x.s.t.Context())
	return st.Cluster.Voters, err
}

// meet waits until every node in this process sees the other regions well, and able to
// take calls.
func (s *stage) meet() {
	s.t.Helper()
	for _, x := range s.seats {
		for _, region := range s.plan.regions {
			if x.node != nil && region != x.region {
				eventually(s.t, x.name+" sees "+region, func() error {
					there := x.node.regions.Look(ownership.Region(region), testApp)
					told, _ := x.node.regions.Told(ownership.Region(region))
					knows := slices.ContainsFunc(told.Apps, func(a ownership.AppRoom) bool { return a.App == testApp && a.Room > 0 })
					return not(knows && there.Up && x.node.regions.Healthy(ownership.Region(region)), "it sees %+v", there)
				})
			}
		}
	}
}

// aim makes the cloud's public names resolve to these nodes. The others' own
// addresses stay known: for as long as nobody has noticed a death, redirects may
// lead to the dead.
func (s *stage) aim(seats ...*seat) {
	s.t.Helper()
	targets := make([]graphsim.Target, len(s.seats))
	for i, x := range s.seats {
		targets[i] = graphsim.Target{Region: x.region, Node: x.name, URL: x.base()}
		if !slices.Contains(seats, x) {
			targets[i].Down = true
		}
	}
	must(s.t, s.cloud.SetTargets(targets))
}

// id is the id of the seat's node, running or not.
func (x *seat) id() ownership.NodeID { return ownership.NodeID(x.name) }

// api is a client of the seat's admin door.
func (x *seat) api() *client.Client {
	x.s.t.Helper()
	x.asks.Do(func() {
		c, err := client.New(x.admin, x.s.plan.token, "")
		must(x.s.t, err)
		x.s.t.Cleanup(c.Close)
		x.client = c
	})
	return x.client
}
