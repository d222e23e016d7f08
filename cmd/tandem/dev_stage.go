package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"tandem/graphsim"
	"tandem/node"
)

// stage is the demonstration's set: a cloud, and real nodes in two regions.
type stage struct {
	cloud    *graphsim.Cloud
	actors   []actor
	nodes    []*node.Node
	dir      string
	temp     bool
	capacity int // live calls a node: some seconds of all calls, so that a slow machine refuses none
	answer   string
	version  string // that the bots say; empty: none
	log      *os.File
}

// actor is one node before it starts.
type actor struct {
	name, region, zone string
	public, admin      net.Listener
}

// regionNames are the regions of the demonstration; calls from the United
// States and Canada belong to amer, all others to emea.
var regionNames = []string{"emea", "amer"}

// Their bases of callback URIs: names below .localhost never leave the machine
// (RFC 6761), and the simulated cloud resolves them to any node of the region,
// as GeoDNS would.
func regionURL(region string) string { return "http://" + region + ".localhost" }

// startStage sets everything up and returns once every node is ready.
func startStage(ctx context.Context, f devFlags, progress io.Writer) (*stage, error) {
	s := &stage{dir: f.dir, capacity: 50 + int(8*f.rate)}
	if err := s.build(ctx, f, progress); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *stage) build(ctx context.Context, f devFlags, progress io.Writer) (err error) {
	if s.dir == "" {
		s.dir, err = os.MkdirTemp("", "tandem-dev-")
		s.temp = true
	} else {
		err = os.MkdirAll(s.dir, 0o700)
	}
	if err != nil {
		return err
	}
	if s.log, err = os.Create(filepath.Join(s.dir, "log.txt")); err != nil {
		return err
	}
	replies := new(graphsim.Replies)
	logger := slog.New(replies.Hear(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelInfo})))
	cfg := graphsim.Config{Seed: seedOf(f.seed), RegionURLs: map[string]string{}, Logger: logger, Capacity: s.capacity, GaveUp: replies.GaveUp}
	rates := graphsim.Unkind()
	rates.Wander = 0.1 // the demonstration's rules name a region for every call
	if f.kind {
		rates = graphsim.Kind()
	}
	cfg.Rates, cfg.Answering = &rates, answering(f.answer)
	if cfg.Foreign = f.bot.foreign(); cfg.Foreign != nil {
		rates.BotFails = 0 // what is refused then, the bot refused
		cfg.Capacity = s.capacity
	}
	s.answer = f.answer
	if f.bad != "" {
		s.version = goodVersion
	}
	for _, r := range regionNames {
		cfg.RegionURLs[r] = regionURL(r)
	}
	cfg.Origins = []graphsim.Origin{
		{Geo: "emea", Country: "DE", Near: "emea", Weight: 1},
		{Geo: "amer", Country: "US", Near: "amer", Weight: 1},
	}
	cfg.Apps = []graphsim.App{{ID: demoApp, ClientSecret: demoSecret}}
	if s.cloud, err = graphsim.Start(ctx, cfg); err != nil {
		return fmt.Errorf("starting the simulated cloud: %w", err)
	}
	if err := s.writeSecrets(); err != nil {
		return err
	}
	if err := s.open(ctx, f.nodes); err != nil {
		return err
	}
	for i, r := range regionNames {
		fmt.Fprintf(progress, "starting region %s: %d nodes\n", r, f.nodes)
		if err := s.startRegion(ctx, r, regionNames[1-i], logger); err != nil {
			return err
		}
	}
	return s.cloud.SetTargets(s.targets())
}

const (
	goodVersion  = "2.4.1"         // what all sample bots are at first, where one gets another
	upgradeAfter = 5 * time.Second // so that the region knows the good one by then
	endsBadly    = "408/8544"      // result code and subcode of a call that cannot reach its bot's media
)

// upgradeOne gives the last bot of the first region a version that ends every call.
func (s *stage) upgradeOne(ctx context.Context, version string, out io.Writer) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(upgradeAfter):
	}
	all := s.of(regionNames[0])
	last := s.cloud.Bot(all[len(all)-1].name)
	last.SetFailing(1, endsBadly)
	last.SetVersion(version)
	fmt.Fprintf(out, "the bot of %s is upgraded from %s to %s, which ends every call; look with: tandem rollouts list\n", all[len(all)-1].name, goodVersion, version)
}

// The first node's doors have the ports of production, so that every other command finds its
// admin door without being told; the next node's are ten higher.
const (
	devPublicPort = 8443
	devAdminPort  = 8470
	devPortStep   = 10
)

// open takes a port for every door before any node starts, so that each region
// can be told where the other one is.
func (s *stage) open(ctx context.Context, count int) error {
	for _, r := range regionNames {
		for i := range count {
			a := actor{name: fmt.Sprintf("%s-%d", r, i+1), region: r, zone: string(rune('a' + i%3))}
			up := devPortStep * len(s.actors)
			var err error
			if a.public, err = listenAt(ctx, devPublicPort+up); err != nil {
				return fmt.Errorf("opening the public door of %s: %w", a.name, err)
			}
			if a.admin, err = listenAt(ctx, devAdminPort+up); err != nil {
				return errors.Join(fmt.Errorf("opening the admin door of %s: %w", a.name, err), a.public.Close())
			}
			s.actors = append(s.actors, a)
		}
	}
	return nil
}

// listenAt opens a port of loopback, or a free one where somebody has that one already.
func listenAt(ctx context.Context, port int) (net.Listener, error) {
	listening := new(net.ListenConfig)
	if l, err := listening.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		return l, nil
	}
	return listening.Listen(ctx, "tcp", "127.0.0.1:0")
}

// of returns the actors of a region; the first one founds it.
func (s *stage) of(region string) []actor {
	return slices.DeleteFunc(slices.Clone(s.actors), func(a actor) bool { return a.region != region })
}

// The one bot registration of the demonstration; the secret is good nowhere
// but at the simulated cloud.
const (
	demoApp    = "0efc74f7-41c3-47a4-8775-7259bfef4241"
	demoSecret = "demonstration only"
)

func (s *stage) secretFile() string { return filepath.Join(s.dir, "client-secret") }
func (s *stage) keysFile() string   { return filepath.Join(s.dir, "handle-keys") }

func (s *stage) writeSecrets() error {
	return errors.Join(
		os.WriteFile(s.secretFile(), []byte(demoSecret), 0o600),
		os.WriteFile(s.keysFile(), []byte(newHandleKey()), 0o600),
	)
}

// startRegion starts a region's nodes: the first founds it, the others join.
func (s *stage) startRegion(ctx context.Context, region, other string, logger *slog.Logger) error {
	var founder *node.Node
	for _, a := range s.of(region) {
		cfg := s.config(a, other, logger)
		if founder != nil {
			cfg.Cluster.Join = []string{founder.ClusterAddr()}
		}
		n, err := node.Start(ctx, cfg)
		if err != nil {
			return fmt.Errorf("starting node %s: %w", a.name, err)
		}
		s.nodes = append(s.nodes, n)
		if founder == nil {
			founder = n
			if err := n.Found(ctx); err != nil {
				return err
			}
		}
	}
	for _, n := range s.nodes {
		ready, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := n.Ready(ready)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// config is one node of the demonstration: as in production, with every port
// chosen by the system.
func (s *stage) config(a actor, other string, logger *slog.Logger) node.Config {
	bot := s.cloud.Bot(a.name)
	bot.SetVersion(s.version)
	c := node.Defaults()
	c.Deployment = "demonstration"
	c.HandleKeysFile = s.keysFile()
	c.Node = node.Self{ID: a.name, Region: a.region, Zone: a.zone, DataDir: filepath.Join(s.dir, a.name), Capacity: s.capacity}
	c.PublicListener, c.AdminListener = a.public, a.admin
	c.Public.Listen, c.Public.URL = a.public.Addr().String(), "http://"+a.public.Addr().String()
	c.Public.RegionURL = regionURL(a.region)
	c.Public.TLS.Off = true
	c.Cluster.Listen, c.Cluster.JoinByCert = "127.0.0.1:0", true
	c.Admin.Listen = a.admin.Addr().String()
	c.Auth.Profiles = []node.Profile{{
		Name: "simulated", OpenIDURL: s.cloud.OpenIDURL(),
		Issuers: []string{graphsim.IssuerBotFramework, graphsim.IssuerGraph},
	}}
	c.Apps = []node.App{{
		ID: demoApp, Profile: "simulated", Hosting: "service", Answer: s.answer,
		AnswerWith: map[string]any{
			"acceptedModalities": []string{"audio"},
			"mediaConfig":        map[string]any{"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
		},
		Bot:   node.AppBot{URL: bot.URL, HealthURL: bot.HealthURL},
		Graph: node.AppGraph{BaseURL: s.cloud.GraphURL(), TokenURL: s.cloud.TokenURL(), ClientID: demoApp, ClientSecretFile: s.secretFile()},
	}}
	for _, o := range s.of(other) {
		c.Regions = append(c.Regions, node.Region{Name: other, URL: regionURL(other), AdminURL: "http://" + o.admin.Addr().String()})
		break // one door tells of the whole region
	}
	c.Rules = []node.Rule{
		{When: `call.source.countryCode in ["US", "CA"]`, Region: "amer"},
		{When: `true`, Region: "emea"},
	}
	c.Logger = logger.With("node", a.name)
	c.Version = softwareVersion()
	c.Fatal = func(err error) { logger.Error("a node of the demonstration gave up", "node", a.name, "err", err) }
	return c
}

// targets are the nodes as GeoDNS may choose them.
func (s *stage) targets() []graphsim.Target {
	var all []graphsim.Target
	for _, a := range s.actors {
		all = append(all, graphsim.Target{Region: a.region, Node: a.name, URL: "http://" + a.public.Addr().String()})
	}
	return all
}

func (s *stage) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for _, n := range s.nodes {
		all.Go(func() { _ = n.Stop(ctx) }) // a node that stops badly has said so in the log
	}
	all.Wait()
	for _, a := range s.actors {
		for _, l := range []net.Listener{a.public, a.admin} {
			if l != nil {
				_ = l.Close() // its node, if it started, has closed it already
			}
		}
	}
	if s.cloud != nil {
		s.cloud.Close()
	}
	if s.log != nil {
		_ = s.log.Close()
	}
	if s.temp {
		_ = os.RemoveAll(s.dir)
	}
}
