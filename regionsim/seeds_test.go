package regionsim

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tandem/ownership"
)

var (
	seedFlag = flag.Uint64("seed", 0, "the first seed of TestSeed; 0: random")
	seeds    = flag.Int("seeds", 1, "how many seeds TestSeed runs from there")
	spanFlag = flag.Duration("span", 40*time.Second, "virtual time of a schedule")
	only     = flag.String("fault", "", "draw this kind of fault alone")
	logFlag  = flag.Bool("log", false, "write the nodes' logs to stderr")
)

func TestMain(m *testing.M) {
	// A simulation makes much garbage and keeps little.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/raft.(*deferError).Error"))
}

// TestSeed runs chosen seeds, or a random one.
func TestSeed(t *testing.T) {
	first := *seedFlag
	if first == 0 {
		first = second + rand.Uint64N(2*third-second)
	}
	for seed := first; seed < first+uint64(*seeds); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { simulate(t, seed, *spanFlag) })
	}
}

// budget is how long TestSeeds goes on beginning seeds, on the real clock.
const budget = 50 * time.Second

// TestSeeds runs the first seeds, as many as the time allows.
func TestSeeds(t *testing.T) {
	limit, span := budget, 10*time.Second
	if testing.Short() {
		limit = budget / 5
	}
	begun := time.Now()
	n := uint64(0)
	for ; time.Since(begun) < limit && n < 300; n++ {
		seed := second + n
		if n%4 == 3 {
			seed = third + n
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { simulate(t, seed, span) })
	}
	t.Logf("%d seeds of %v", n, span)
}

// TestPastSeeds runs the seeds of testdata/seeds.txt, which once found something.
func TestPastSeeds(t *testing.T) {
	if testing.Short() {
		t.Skip("the past seeds take some seconds each")
	}
	f, err := os.Open("testdata/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		words := strings.Fields(s.Text())
		if len(words) < 2 || words[0] == "#" {
			continue
		}
		seed, err := strconv.ParseUint(words[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		span, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatal(err)
		}
		t.Run(words[0], func(t *testing.T) { simulate(t, seed, span) })
	}
}

// simulate runs one seed in a bubble of its own.
func simulate(t *testing.T, seed uint64, span time.Duration) {
	dir, err := shelf()
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	log := slog.New(slog.DiscardHandler)
	if *logFlag {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	wall := time.Now()
	var r *region
	failed := false
	tell := func() {
		t.Logf("seed %d: %.0f virtual seconds in %v", seed, r.took.Seconds(), time.Since(wall).Round(time.Millisecond))
		if failed {
			t.Logf("the story:\n%s\nagain: go test ./regionsim -run TestSeed -seed %d -span %v", strings.Join(r.told, "\n"), seed, span)
		}
	}
	defer func() {
		if v := recover(); v != nil { // goroutines of the rooms outlived their Stop
			left := stuck()
			if why, known := missing["leak"]; known && rafts(left) {
				t.Logf("%v (known: %s)", v, why)
			} else {
				failed = true
				t.Errorf("%v; these goroutines stay:\n%s", v, left)
			}
		}
		tell()
	}()
	synctest.Test(t, func(t *testing.T) {
		r = newRegion(t, seed, dir, log)
		r.play(span)
		failed = t.Failed()
	})
}

// rafts reports whether all goroutines that are left are raft's own: they wait for an
// answer that its loop, which has ended, gives nobody.
func rafts(left string) bool {
	ours := strings.Count(left, "synctest bubble")
	for g := range strings.SplitSeq(left, "\n\n") {
		if strings.Contains(g, "raft.(*deferError).Error") || strings.Contains(g, "created by github.com/hashicorp/raft.(*Raft).leaderLoop") {
			ours--
		}
	}
	return ours == 0
}

// stuck returns the goroutines that are left in a bubble.
func stuck() string {
	all := make([]byte, 8<<20)
	all = all[:runtime.Stack(all, true)]
	var out []string
	for g := range strings.SplitSeq(string(all), "\n\n") {
		if head, _, _ := strings.Cut(g, "\n"); strings.Contains(head, "synctest bubble") {
			out = append(out, g)
		}
	}
	return strings.Join(out, "\n\n")
}

// rest is I7's promise.
const rest = 10 * time.Second

// settle waits until all nodes are well and alike, for as long as I7 allows.
func (r *region) settle() {
	time.Sleep(time.Second)
	for over := time.Now().Add(time.Minute); time.Now().Before(over) && !r.up(); {
		time.Sleep(100 * time.Millisecond)
	}
	for over := time.Now().Add(rest); time.Now().Before(over) && !r.alike(); {
		time.Sleep(100 * time.Millisecond)
	}
}

// up reports whether all nodes run: one that ended by itself is started again only when
// its disk lets it.
func (r *region) up() bool {
	return !slices.ContainsFunc(r.all(), func(s *seat) bool {
		p := s.now()
		return p == nil || p.ended.Load() != nil
	})
}

// alike reports whether all nodes run, lead or follow with a lease, show the same
// table, and have no entry under way: a write that began while the disk was slow may
// last for two seconds after it, and raft counts its entry only then.
func (r *region) alike() bool {
	sums := map[string]bool{}
	for _, s := range r.all() {
		p := s.now()
		if p == nil || p.ended.Load() != nil {
			return false
		}
		if now := p.cl.Load().Status(); !now.Joined || !now.Leased || now.Leader == "" || now.Commit != now.LastIndex || p.disk.under.Load() > 0 {
			return false
		}
		hash, at := p.st.Table().Hash()
		sums[fmt.Sprint(hash, at)] = true
	}
	return len(sums) == 1
}

// lastCalls makes one more call at each node: after a time of rest each must take it.
func (r *region) lastCalls() {
	for _, p := range r.running() {
		k := r.cloud.newCall()
		to, err := url.Parse(regionURL + hookPath)
		if err != nil {
			r.t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		body := notification(k.id, "created", "incoming")
		w := r.cloud.request(ctx, p, to, k.app, string(k.id)+"-0", body)
		cancel()
		if w == nil || w.Code >= 400 {
			r.tell("%s: %+v", p, p.cl.Load().Status())
		}
		switch {
		case w == nil:
			r.t.Errorf("in the end %s does not answer a new call", p)
		case w.Code >= 400:
			r.t.Errorf("in the end %s answers a new call with %d %s", p, w.Code, w.Body)
		}
	}
	for _, s := range r.all() {
		if s.now() == nil {
			r.t.Errorf("in the end node %s does not run", s.id)
		}
	}
}

// play forms the region, lets the schedule pass, and judges the end.
func (r *region) play(span time.Duration) {
	nodes, steps := draw(r.seed, span)
	r.form(nodes)
	ctx, cancel := context.WithCancel(context.Background())
	g := &stage{r, ownership.By(ctx, "ops")}
	seeing, blind := context.WithCancel(context.Background())
	var looking, faulting, guarding sync.WaitGroup
	looking.Go(func() { r.oracle.watch(seeing) })
	guarding.Go(func() { g.watchOver(seeing) })
	r.cloud.work.Go(func() { r.cloud.dial(ctx, r.callEvery) })
	for _, s := range steps {
		doze(ctx, s.after)
		r.tell("%v", s)
		for _, f := range kinds(r.seed) {
			if f.name == s.fault {
				faulting.Go(func() { f.do(g, s) })
			}
		}
	}
	faulting.Wait()
	r.tell("the faults are over")
	r.settle()
	blind()
	guarding.Wait()
	r.lastCalls()
	cancel()
	r.cloud.work.Wait()
	r.settle()
	looking.Wait()
	r.oracle.sums(r.running())
	r.oracle.look(r.running(), true)
	r.oracle.final(r.running())
	c := r.cloud.count
	r.t.Logf("%d nodes, %d steps, %d calls, %d answered, %d unanswered; notifications: %d taken, %d not at once, %d not at all %v",
		nodes, len(steps), c.calls, c.answered, c.unanswered, c.told, c.repeated, c.untold, r.cloud.last)
	r.took = r.age()
	for _, s := range r.all() {
		s.stop()
	}
	r.after.Wait()
	close(r.net.over)
	time.Sleep(time.Minute)
}
