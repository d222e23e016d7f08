package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tandem/cluster/transport"
	"tandem/graphsim"
	"tandem/ownership"
)

func (s *stage) newSeat(region string, i int) *seat {
	s.t.Helper()
	x := &seat{s: s, name: fmt.Sprintf("%s-%d", region, i+1), region: region, zone: string(rune('a' + i%3)), seen: newRecorder()}
	x.open()
	if s.plan.secure || s.plan.https {
		x.certify("tls")
	}
	return x
}

// certify makes a certificate for the seat's node in a directory of the stage.
func (x *seat) certify(dir string) (certFile, keyFile string) {
	x.s.t.Helper()
	certFile, keyFile, err := transport.MakeCert(x.s.path(dir), x.s.path("ca"), "stories", ownership.Region(x.region), x.id(), []string{"127.0.0.1"}, time.Hour)
	must(x.s.t, err)
	return certFile, keyFile
}

// base is the public address of the seat's node.
func (x *seat) base() string {
	if x.s.plan.https {
		return "https://" + x.public
	}
	return "http://" + x.public
}

// open takes the seat's ports: new ones at first, the same ones afterwards.
func (x *seat) open() {
	x.s.t.Helper()
	for _, door := range []struct {
		addr *string
		ln   *net.Listener
	}{{&x.public, &x.publicLn}, {&x.admin, &x.adminLn}} {
		at := *door.addr
		if at == "" {
			at = steadyAddr(x.s.t)
		}
		eventually(x.s.t, "opening "+at+" for "+x.name, func() error {
			ln, err := net.Listen("tcp", at)
			if err == nil {
				*door.ln, *door.addr = ln, ln.Addr().String()
			}
			return err
		})
	}
}

// config is the seat's node as its operator would configure it.
func (x *seat) config() Config {
	s := x.s
	bot := s.cloud.Bot(x.name)
	c := Defaults()
	c.Deployment = "stories"
	c.HandleKeysFile = s.path("handle-keys")
	c.Node = Self{ID: x.name, Region: x.region, Zone: x.zone, DataDir: s.path(x.name), Capacity: 500}
	c.Public.Listen, c.Public.URL, c.Public.RegionURL = x.public, x.base(), regionURL(x.region)
	if s.plan.https {
		c.Public.TLS.ServerTLS = ServerTLS{CertFile: filepath.Join(s.path("tls"), x.name+".pem"), KeyFile: filepath.Join(s.path("tls"), x.name+"-key.pem")}
	} else {
		c.Public.TLS.Off = true
	}
	c.Public.Grace = 3 * time.Second
	c.Public.Linger = time.Second
	c.Admin.Listen = x.admin
	c.Cluster.Listen = cmp.Or(x.cluster, steadyAddr(x.s.t))
	c.Cluster.JoinByCert = true
	c.Cluster.Election = time.Second // the machines that run the tests are busy
	if s.plan.nodes == 1 {
		c.Cluster.Election = 100 * time.Millisecond // nobody else can be too slow
	}
	c.Cluster.Tombstones = time.Minute
	c.Cluster.StalledDisk = 20 * time.Second
	if founder := s.of(x.region)[0]; founder != x {
		c.Cluster.Join = []string{founder.cluster}
	}
	if s.plan.secure {
		c.Cluster.TLS = PeerTLS{
			CertFile: filepath.Join(s.path("tls"), x.name+".pem"), KeyFile: filepath.Join(s.path("tls"), x.name+"-key.pem"),
			CAFile: filepath.Join(s.path("ca"), transport.CACertFile),
		}
	}
	c.Auth.Profiles = []Profile{{
		Name: "simulated", OpenIDURL: s.cloud.OpenIDURL(),
		Issuers: []string{graphsim.IssuerBotFramework, graphsim.IssuerGraph},
	}}
	c.Apps = []App{{
		ID: testApp, Profile: "simulated", Hosting: "service", Answer: "router",
		AnswerWith: map[string]any{
			"acceptedModalities": []string{"audio"},
			"mediaConfig":        map[string]any{"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
		},
		Bot:   AppBot{URL: bot.URL, HealthURL: bot.HealthURL, SecretFile: s.path("bot-secret")},
		Graph: AppGraph{BaseURL: s.cloud.GraphURL(), TokenURL: s.cloud.TokenURL(), ClientID: testApp, ClientSecretFile: s.path("client-secret")},
	}}
	for _, other := range s.plan.regions {
		if other != x.region {
			c.Regions = append(c.Regions, Region{Name: other, URL: regionURL(other), AdminURL: "http://" + s.of(other)[0].admin})
		}
	}
	c.Version = "0.0.0-test"
	if s.plan.shape != nil {
		s.plan.shape(x, &c)
	}
	return c
}

// start starts the seat's node, for the first time or again.
func (x *seat) start() {
	x.s.t.Helper()
	if x.publicLn == nil {
		x.open()
	}
	c := x.config()
	if x.s.plan.children {
		x.startChild(c)
		return
	}
	c.PublicListener, c.AdminListener = x.publicLn, x.adminLn
	x.publicLn, x.adminLn = nil, nil
	c.Logger = slog.New(slog.NewJSONHandler(x.s.log, &slog.HandlerOptions{Level: x.s.plan.log})).With("node", x.name)
	c.Fatal = func(err error) { x.s.t.Errorf("node %s gave up: %v", x.name, err) }
	n, err := Start(x.s.t.Context(), c)
	if err != nil {
		x.s.t.Fatalf("starting %s: %v", x.name, err)
	}
	x.node, x.cluster = n, n.ClusterAddr()
	if x.founds() {
		must(x.s.t, n.Found(x.s.t.Context()))
	}
}

// founds reports whether the seat's node is to found its region: the first one
// does, once.
func (x *seat) founds() bool {
	if x.s.of(x.region)[0] != x || x.s.founded[x.region] {
		return false
	}
	x.s.founded[x.region] = true
	return true
}

// stop stops the seat's node as SIGTERM would; a node that is down stays so.
func (x *seat) stop() {
	x.s.t.Helper()
	if x.child != nil {
		x.kill()
		return
	}
	if x.node == nil {
		return
	}
	n := x.node
	x.node = nil
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	switch err := n.Stop(ctx); {
	case err == nil:
	case x.s.over.Load() && strings.Contains(err.Error(), "the table is not told of"):
		// Without a quorum nobody takes a record; the next start would find out.
		x.s.t.Logf("stopping %s with all others: %v", x.name, err)
	default:
		all := make([]byte, 1<<20)
		x.s.t.Errorf("stopping %s: %v; the goroutines:\n%s", x.name, err, all[:runtime.Stack(all, true)])
	}
}

// steadyAddr returns a loopback address that nobody listens on, below the ports
// that the kernel hands out to outgoing connections (32768 and up): a node that
// restarts finds it free.
func steadyAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.N(12000))
		if ln, err := net.Listen("tcp", addr); err == nil {
			_ = ln.Close()
			return addr
		}
	}
	t.Fatal("no port between 20000 and 32000 is free")
	return ""
}
