// Package fleet is real processes of the product, and what they stand on: a cloud that
// calls them, a bot beside each, disks, networks, clocks and certificates of their own.
package fleet

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/admin/api"
	"tandem/faultrig/desk"
	"tandem/faultrig/plant"
	"tandem/graphsim"
	"tandem/ownership"
)

// Options say what the nodes of a run stand on.
type Options struct {
	Nodes    int    // 0: 3
	Away     int    // nodes of a second region; 0: there is none
	Disks    int64  // bytes of an ext4 of its own for each node; 0: none
	Network  bool   // a network namespace for each node, TLS everywhere
	Seed     uint64 // of the calling cloud's choices
	Rates    *graphsim.Rates
	Timings  graphsim.Timings
	Hosting  string        // of the claimed app: service (default) or app
	Lease    time.Duration // cluster.lease; 0: as shipped
	Drain    time.Duration // node.drain; 0: as shipped
	Tombs    time.Duration // cluster.tombstones; 0: as shipped
	Election time.Duration // cluster.election; 0: as shipped
	Older    []uint32      // the nodes begin with the program of the first of these command formats
}

// Names of what a fleet consists of. The secret is good nowhere but at the
// simulated cloud of the run; judge.go looks for it in everything that is logged.
const (
	deployment   = "faultrig"
	Region       = "emea"
	AwayRegion   = "amer"                                 // the second one, where there is one
	awayFrom     = 60                                     // index of its first node, for addresses
	CallsApp     = "0efc74f7-41c3-47a4-8775-7259bfef4241" // the simulator's calls
	ClaimsApp    = "1d6a7f0c-9a52-4c4e-b2a4-6f4d3a0e7c11" // the claimants' calls
	ClaimsTenant = "8986d25d-ed3f-4bb8-b739-14d2fcc37b09"
	SecondApp    = "5c1e7a52-0f52-4c41-a1c0-35a2b3f3f9b6" // of the claimants, beside ClaimsApp
	PinnedTenant = "6e1fc0e1-a55f-4277-89f4-aae9486d40a8" // an operator has pinned its calls to PinnedZone
	PinnedZone   = "b"
	ClientSecret = "canary-secret-of-the-fault-rig"
	prefix       = "tandemrig"
	hangUp       = 0.1             // share of the callers who hang up while it rings
	talkMax      = 4 * time.Second // long enough to look answered calls up in the table
)

// Fleet is one region of real processes and the cloud that calls it.
type Fleet struct {
	Dir    string
	Binary string
	Nodes  []*Node
	Away   []*Node // of the second region
	Cloud  *graphsim.Cloud
	Desk   *desk.Desk

	opts   Options
	ctx    context.Context
	cancel context.CancelFunc
	net    *network
	tls    *authority
	undo   []func() error

	Older      []string    // the programs of Options.Older
	retargeted atomic.Bool // the cloud was told of targets by another than balance
	fenced     atomic.Bool // nodes may lose partitions while they run
	extrasMu   sync.Mutex
	extras     []*Node // that a scenario added for a while
}

// New sets everything up and starts the nodes; Close takes it down again.
func New(ctx context.Context, binary string, opts Options) (*Fleet, error) {
	if opts.Nodes == 0 {
		opts.Nodes = 3
	}
	if opts.Rates == nil {
		unkind := graphsim.Unkind()
		opts.Rates = &unkind
	}
	// The clock of policy recording, 5 s, is shorter than the bars of some faults
	// (owner killed: 4 s, leader's disk stalled: 6 s). The rig judges those bars
	// themselves, and nobody records.
	opts.Rates.Recording = 0
	opts.Rates.HangUp = hangUp
	if opts.Timings.TalkMax == 0 {
		opts.Timings.TalkMax = talkMax
	}
	if opts.Hosting == "" {
		opts.Hosting = "service"
	}
	f := &Fleet{Binary: binary, opts: opts}
	f.ctx, f.cancel = context.WithCancel(ctx)
	if err := f.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("setting the nodes up: %w", err), f.Close())
	}
	for _, n := range f.everybody() {
		if err := n.Start(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	if len(f.Away) == 1 { // two found a region by themselves, one is told to
		if err := Insist(ctx, func() error { return f.Away[0].API.Found(ctx) }); err != nil {
			return nil, errors.Join(fmt.Errorf("founding %s: %w", AwayRegion, err), f.Close())
		}
	}
	for _, n := range f.everybody() {
		if err := n.Ready(ctx, 30*time.Second); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	for _, n := range f.everybody() { // a region of fewer votes is another one
		if err := n.Await(ctx, 60*time.Second, "know all votes", func(s api.Status) bool {
			return s.Cluster.Voters >= min(f.sizeOf(n.Region), mostVotes)
		}); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// mostVotes is how many nodes of a region vote.
const mostVotes = 5

func (f *Fleet) sizeOf(r ownership.Region) int {
	if r == AwayRegion {
		return len(f.Away)
	}
	return len(f.Nodes)
}

func (f *Fleet) build() (err error) {
	if f.Dir, err = os.MkdirTemp("", prefix+"-"); err != nil {
		return err
	}
	if err := os.WriteFile(f.File("rig.pid"), []byte(fmt.Sprint(os.Getpid())), 0o600); err != nil {
		return err
	}
	for _, format := range f.opts.Older {
		older := plant.Older(format)
		program, err := plant.Build(f.ctx, f.Dir, &older)
		if err != nil {
			return fmt.Errorf("building an older program: %w", err)
		}
		f.Older = append(f.Older, program)
	}
	here := "127.0.0.1"
	if f.opts.Network {
		if f.net, err = newNetwork(f); err != nil {
			return err
		}
		here = f.net.gateway
		if f.tls, err = newAuthority(f, here); err != nil {
			return err
		}
	}
	if err := f.startCloud(here); err != nil {
		return err
	}
	var serving *tls.Config
	if f.tls != nil {
		serving = f.tls.server
	}
	if f.Desk, err = desk.Open(here, serving); err != nil {
		return err
	}
	f.onClose(func() error { f.Desk.Close(); return nil })
	if err := f.writeSecrets(); err != nil {
		return err
	}
	subnet := make([]byte, 2)
	_, _ = rand.Read(subnet) // never fails (crypto/rand)
	for i := range f.opts.Nodes {
		n, err := f.newNode(i, subnet)
		if err != nil {
			return err
		}
		f.Nodes = append(f.Nodes, n)
	}
	for i := range f.opts.Away {
		n, err := f.newNode(awayFrom+i, subnet)
		if err != nil {
			return err
		}
		f.Away = append(f.Away, n)
	}
	for _, n := range f.everybody() {
		if err := f.Configure(n, nil); err != nil {
			return err
		}
	}
	if err := f.Cloud.SetTargets(f.targets()); err != nil {
		return err
	}
	go f.balance()
	return nil
}

func (f *Fleet) startCloud(here string) (err error) {
	cfg := graphsim.Config{
		Listen: here + ":0", Seed: f.opts.Seed, Rates: f.opts.Rates, Timings: f.opts.Timings, Capacity: desk.Plenty,
		RegionURLs: map[string]string{Region: f.BaseOf(Region), AwayRegion: f.BaseOf(AwayRegion)},
		Apps: []graphsim.App{
			{ID: CallsApp, ClientSecret: ClientSecret},
		},
		Logger: slog.New(slog.DiscardHandler), Remember: true, GaveUp: f.gaveUp,
	}
	if f.tls != nil {
		cfg.TLS, cfg.ServeTLS = f.tls.client, f.tls.server
	}
	if f.Cloud, err = graphsim.Start(f.ctx, cfg); err != nil {
		return err
	}
	f.onClose(func() error { f.Cloud.Close(); return nil })
	return nil
}

func (f *Fleet) writeSecrets() error {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	keys, err := Program(f.ctx, f.Binary, "keys", "new")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(f.File("client-secret"), []byte(ClientSecret), 0o600),
		os.WriteFile(f.File("handle-keys"), []byte(keys), 0o600),
		os.WriteFile(f.File("run-id"), []byte(hex.EncodeToString(key[:8])), 0o600),
	)
}

// first is the program that nodes begin with.
func (f *Fleet) first() string {
	if len(f.Older) > 0 {
		return f.Older[0]
	}
	return f.Binary
}

func (f *Fleet) newNode(i int, subnet []byte) (*Node, error) {
	n := &Node{
		ID: ownership.NodeID(fmt.Sprintf("%s-%d", Region, i+1)), Region: Region, Zone: string(rune('a' + i%awayFrom)),
		IP:    fmt.Sprintf("127.%d.%d.%d", 64+subnet[0]%128, subnet[1], i+1),
		fleet: f, Binary: f.first(),
	}
	if i >= awayFrom {
		n.ID, n.Region = ownership.NodeID(fmt.Sprintf("%s-%d", AwayRegion, i-awayFrom+1)), AwayRegion
	}
	if f.net != nil {
		var err error
		if n.Space, n.IP, err = f.net.add(i); err != nil {
			return nil, err
		}
	}
	n.Public = f.scheme() + n.IP + ":8443"
	n.AdminAt, n.PeerAt = n.IP+":8470", n.IP+":8471"
	n.DataDir = f.File(string(n.ID))
	n.Config, n.LogFile = f.File(string(n.ID)+".yaml"), f.File(string(n.ID)+".log")
	if err := os.MkdirAll(n.DataDir, 0o700); err != nil {
		return nil, err
	}
	if f.opts.Disks > 0 {
		disk, err := newDisk(f, string(n.ID), n.DataDir, f.opts.Disks)
		if err != nil {
			return nil, err
		}
		n.Disk = disk
		n.DataDir = filepath.Join(n.DataDir, "data")
	}
	f.onClose(func() error { n.Kill(); return nil })
	return n, f.connect(n)
}

// ClientTLS is whom the rig's clients believe; nil: it all goes without TLS.
func (f *Fleet) ClientTLS() *tls.Config {
	if f.tls == nil {
		return nil
	}
	return f.tls.client
}

func (f *Fleet) scheme() string {
	if f.opts.Network {
		return "https://"
	}
	return "http://"
}

// BaseOf is the base of a region's callback URIs.
func (f *Fleet) BaseOf(r ownership.Region) string { return f.scheme() + string(r) + ".localhost" }

// everybody returns the nodes of both regions.
func (f *Fleet) everybody() []*Node { return slices.Concat(f.Nodes, f.Away) }

// File is a file in the directory of the run.
func (f *Fleet) File(name string) string { return filepath.Join(f.Dir, name) }

func (f *Fleet) onClose(undo func() error) { f.undo = append(f.undo, undo) }

// targets are the nodes as GeoDNS may choose them.
func (f *Fleet) targets() []graphsim.Target {
	var all []graphsim.Target
	for _, n := range f.everybody() {
		all = append(all, graphsim.Target{Region: string(n.Region), Node: string(n.ID), URL: n.Public, Weight: 1})
	}
	f.extrasMu.Lock()
	defer f.extrasMu.Unlock()
	for _, n := range f.extras { // redirects may name them, the public name does not
		all = append(all, graphsim.Target{Region: string(n.Region), Node: string(n.ID), URL: n.Public, Weight: outOfService})
	}
	return all
}

// retarget tells the cloud of other nodes or addresses; who of them is in service is
// looked up anew.
func (f *Fleet) retarget() error {
	defer f.retargeted.Store(true)
	return f.Cloud.SetTargets(f.targets())
}

// Close ends all processes and removes all that the fleet put on the machine,
// last first, but the directory with the logs: Forget does that.
func (f *Fleet) Close() error {
	f.cancel()
	var errs []error
	for i := range slices.Backward(f.undo) {
		errs = append(errs, f.undo[i]())
	}
	f.undo = nil
	return errors.Join(errs...)
}

// Forget removes the directory with configurations, logs and data.
func (f *Fleet) Forget() error { return os.RemoveAll(f.Dir) }

// Leader returns the node that the nodes that run call their leader, in the
// highest term.
func (f *Fleet) Leader(ctx context.Context) (*Node, error) {
	var found *Node
	ok := Until(ctx, 15*time.Second, 50*time.Millisecond, func() bool {
		var term uint64
		for _, n := range f.Nodes {
			if !n.Up() {
				continue
			}
			s, err := n.Status(ctx)
			if err == nil && s.Cluster.State == "leader" && s.Cluster.Term > term {
				found, term = n, s.Cluster.Term
			}
		}
		return found != nil
	})
	if !ok {
		return nil, errors.New("finding the leader: nobody led within 15s")
	}
	return found, nil
}

// Others returns all nodes but the named ones.
func (f *Fleet) Others(not ...*Node) []*Node {
	return slices.DeleteFunc(slices.Clone(f.Nodes), func(n *Node) bool { return slices.Contains(not, n) })
}

// All returns the fleet's nodes and those that a scenario added.
func (f *Fleet) All() []*Node {
	f.extrasMu.Lock()
	defer f.extrasMu.Unlock()
	return append(f.everybody(), f.extras...)
}

// AwaitAll waits until every node is ready.
func (f *Fleet) AwaitAll(ctx context.Context, limit time.Duration) error {
	errs := make([]error, len(f.Nodes))
	var wg sync.WaitGroup
	for i, n := range f.Nodes {
		wg.Go(func() { errs[i] = n.Ready(ctx, limit) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
