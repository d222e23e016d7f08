package regionsim

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
	"tandem/store/record"
	"tandem/webhook"
)

// region is the simulated region with all that is around it.
type region struct {
	t         *testing.T
	seed      uint64
	dir       string
	log       *slog.Logger
	begun     time.Time
	took      time.Duration // until the end was judged
	handles   *webhook.Handles
	net       *network
	cloud     *cloud
	oracle    *oracle
	after     sync.WaitGroup // what dead processes still do
	quiet     chan struct{}  // one element: who waits until nothing runs
	taking    chan struct{}  // one element: whose data are taken away
	copied    atomic.Bool    // a copy of a node runs
	runs      atomic.Int64
	dirs      atomic.Int64
	silence   time.Duration // how long calls with media wait for a silent node
	callEvery time.Duration // how often a call begins, on average
	keep      uint64        // raft log entries between snapshots; 0: as shipped
	snapshots time.Duration // how often a node looks whether one is due; 0: as shipped
	direct    bool          // nodes have public addresses, so that first notifications are redirected
	older     sync.Map      // command formats of the first software of nodes, by id: a restart is an upgrade

	mu    sync.Mutex
	seats []*seat
	extra []*process // copies
	hosts int
	names int // node ids that were given out
	told  []string
}

// seat is one node id with its data, and the process that runs on them.
type seat struct {
	r    *region
	id   ownership.NodeID
	busy chan struct{} // one element: who starts and stops it now

	dir     string // of whoever is busy with the seat, as the next
	refused int    // starts in a row

	// Under r.mu.
	host string
	proc *process // nil: down
}

func newRegion(t *testing.T, seed uint64, dir string, log *slog.Logger) *region {
	r := &region{
		t: t, seed: seed, dir: dir, log: log, begun: time.Now(), net: newNetwork(seed),
		quiet: make(chan struct{}, 1), taking: make(chan struct{}, 1), direct: seed%2 == 0,
		callEvery: 250 * time.Millisecond,
		silence:   []time.Duration{0, 5 * time.Second, 30 * time.Second}[seed%3],
	}
	if seed >= second {
		r.callEvery = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}[seed/3%3]
		if seed/2%2 == 0 {
			r.keep, r.snapshots = 40+seed%200, 3*time.Second
		}
	}
	r.cloud, r.oracle = newCloud(r, seed), newOracle(r)
	var err error
	if r.handles, err = webhook.NewHandles([]webhook.Key{{ID: "k1", Secret: make32(seed)}}); err != nil {
		t.Fatal(err)
	}
	return r
}

func make32(seed uint64) []byte {
	b := make([]byte, 32)
	rng := rand.New(rand.NewPCG(seed, 6))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func (r *region) age() time.Duration { return time.Since(r.begun).Round(time.Millisecond) }

// tell adds a line to the story of the run.
func (r *region) tell(format string, args ...any) {
	line := fmt.Sprintf("%10v  ", r.age()) + fmt.Sprintf(format, args...)
	r.log.Warn("SIMULATION " + line)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, line)
}

// still does something while every goroutine waits, so that it happens between
// two instructions of all processes.
func (r *region) still(f func()) {
	r.quiet <- struct{}{}
	defer func() { <-r.quiet }()
	synctest.Wait()
	f()
}

// form starts n nodes; the first founds the region.
func (r *region) form(n int) {
	// No software is older than that of the node that founds the region: it would not be let in.
	rng := rand.New(rand.NewPCG(r.seed, 7))
	format := ownership.FormatLedger - 1 + rng.Uint32N(record.CommandFormat-ownership.FormatLedger+1)
	for i := range n {
		s := r.addSeat()
		if i > 0 {
			format += rng.Uint32N(record.CommandFormat - format + 1)
		}
		if r.seed >= third {
			r.older.Store(s.id, format)
		}
	}
	for i, s := range r.all() {
		if err := s.start(); err != nil {
			r.t.Fatal(err)
		}
		if i > 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := s.now().cl.Load().Found(ctx); err != nil {
			r.t.Fatal(err)
		}
		cancel()
	}
	for _, s := range r.all() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := s.now().cl.Load().Ready(ctx); err != nil {
			r.t.Error(err)
		}
		cancel()
	}
}

func (r *region) addSeat() *seat {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &seat{r: r, id: ownership.NodeID(string(rune('a' + r.names))), busy: make(chan struct{}, 1)}
	r.names++
	s.dir = filepath.Join(r.dir, string(s.id))
	r.seats = append(r.seats, s)
	r.hosts++
	s.host = hostOf(r.hosts)
	return s
}

// removeSeat takes a node off the stage for good.
func (r *region) removeSeat(s *seat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seats = slices.DeleteFunc(r.seats, func(x *seat) bool { return x == s })
}

func hostOf(n int) string { return fmt.Sprintf("127.0.%d.%d", n/200, 1+n%200) }

// newHost returns the address of a machine that was not there before.
func (r *region) newHost() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts++
	return hostOf(r.hosts)
}

func (r *region) newDir(id ownership.NodeID) string {
	return filepath.Join(r.dir, fmt.Sprintf("%s-%d", id, r.dirs.Add(1)))
}

func (r *region) publicURL(id ownership.NodeID) string {
	if !r.direct {
		return ""
	}
	return publicURL(id)
}

func (r *region) all() []*seat {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seats)
}

// addrs lists the cluster addresses that a starting node is told.
func (r *region) addrs() []string {
	var out []string
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seats {
		out = append(out, s.host+":7000")
	}
	return out
}

// running returns the processes that may act.
func (r *region) running() []*process {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*process
	for _, s := range r.seats {
		if s.proc != nil && !s.proc.dead() {
			out = append(out, s.proc)
		}
	}
	for _, p := range r.extra {
		if !p.dead() {
			out = append(out, p)
		}
	}
	return out
}

// cast puts a copy of a node on the stage, or takes it from there.
func (r *region) cast(p *process, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if on {
		r.extra = append(r.extra, p)
	} else {
		r.extra = slices.DeleteFunc(r.extra, func(x *process) bool { return x == p })
	}
}

func (r *region) anyProcess(rng *rand.Rand) *process {
	all := r.running()
	if len(all) == 0 {
		return nil
	}
	return all[rng.IntN(len(all))]
}

func (r *region) processOf(id ownership.NodeID) *process {
	for _, p := range r.running() {
		if p.id == id {
			return p
		}
	}
	return nil
}

// take makes the caller the one who starts and stops the seat's process; nil:
// somebody else is at it.
func (s *seat) take() (leave func()) {
	select {
	case s.busy <- struct{}{}:
		return func() { <-s.busy }
	default:
		return nil
	}
}

// now returns the process that runs; nil: none.
func (s *seat) now() *process {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	return s.proc
}

// place returns the host on which it runs.
func (s *seat) place() string {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	return s.host
}

// move gives the seat another machine.
func (s *seat) move(host string) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.host = host
}

func (s *seat) set(p *process) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.proc = p
}

// start starts the seat's process on its data.
func (s *seat) start() error {
	p, err := s.r.launch(s.id, s.place(), s.dir)
	if err != nil {
		return fmt.Errorf("starting node %s: %w", s.id, err)
	}
	s.r.tell("%s starts at %s", p, p.host)
	s.set(p)
	return nil
}

// stop stops the seat's process in order.
func (s *seat) stop() {
	p := s.now()
	if p == nil {
		return
	}
	s.r.tell("%s is stopped", p)
	p.disk.let()
	p.stop()
	s.set(nil)
}

// crash ends the seat's process abruptly.
func (s *seat) crash(silent bool) {
	p := s.now()
	if p == nil {
		return
	}
	s.r.tell("%s crashes (silently: %v)", p, silent)
	s.dir = p.crash(silent)
	s.set(nil)
}

// wipe empties the seat's data.
func (s *seat) wipe() {
	if err := os.RemoveAll(s.dir); err != nil {
		s.r.t.Error(err)
	}
	s.dir = s.r.newDir(s.id)
}
