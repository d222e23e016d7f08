package rulebook

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
	"tandem/policy"
)

// region is a region of one node: its table, its book and what its door was given.
type region struct {
	t    *testing.T
	name ownership.Region
	log  lines

	mu      sync.Mutex
	table   []ownership.Rules
	ping    chan struct{}
	follows bool // it does not lead
	nodes   map[ownership.NodeID]Holding
	others  map[ownership.Region]*region
	lies    bool // what it gives is not what it tells of
	told    []ownership.TellRules
	served  *policy.Compiled
	book    *Book
}

type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.buf.Write(p) }

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

// newRegion makes a region whose file has one rule, to its own name.
func newRegion(t *testing.T, name ownership.Region) *region {
	return &region{t: t, name: name, ping: make(chan struct{}, 1), others: map[ownership.Region]*region{}}
}

func (r *region) open() {
	r.t.Helper()
	file := must(policy.CompileDocument(policy.Document{Rules: []policy.RuleSpec{{When: "true", Region: "of-the-file"}}}))
	b, err := Open(r.t.Context(), Config{
		Region: r.name, Table: r, File: file, Do: r.do, Nodes: func(context.Context) map[ownership.NodeID]Holding { r.mu.Lock(); defer r.mu.Unlock(); return r.nodes },
		Leads: func() bool { r.mu.Lock(); defer r.mu.Unlock(); return !r.follows }, Others: r,
		Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.book = b
	b.Serve(func(c *policy.Compiled) { r.mu.Lock(); defer r.mu.Unlock(); r.served = c })
}

func must(c *policy.Compiled, err error) *policy.Compiled {
	if err != nil {
		panic(err)
	}
	return c
}

func (r *region) Rules() []ownership.Rules      { r.mu.Lock(); defer r.mu.Unlock(); return r.table }
func (r *region) RulesChanged() <-chan struct{} { return r.ping }

// put has the table hold one more version.
func (r *region) put(number uint64, text string) {
	r.mu.Lock()
	r.table = append(r.table[:len(r.table):len(r.table)], ownership.Rules{Number: number, Digest: ownership.RulesDigest(text), Text: text, Origin: r.name})
	r.mu.Unlock()
	r.ping <- struct{}{}
	synctest.Wait()
}

func (r *region) do(_ context.Context, act ownership.Act) error {
	set, ok := act.(ownership.SetRules)
	if !ok {
		r.set(func() { r.told = append(r.told, act.(ownership.TellRules)) })
		return nil
	}
	if have := r.Rules(); !set.Taken || len(have) > 0 && !set.Rules.Newer(have[len(have)-1]) {
		return ownership.ErrConflict
	}
	r.mu.Lock()
	r.table = append(r.table[:len(r.table):len(r.table)], set.Rules)
	r.mu.Unlock()
	r.ping <- struct{}{}
	return nil
}

func (r *region) Marks() map[ownership.Region]Mark {
	r.mu.Lock()
	others := maps.Clone(r.others)
	r.mu.Unlock()
	all := map[ownership.Region]Mark{}
	for name, o := range others {
		all[name] = o.book.Newest()
	}
	return all
}

func (r *region) Fetch(_ context.Context, of ownership.Region) (ownership.Rules, error) {
	o := r.others[of]
	o.mu.Lock()
	lies := o.lies
	o.mu.Unlock()
	all := o.Rules()
	if len(all) == 0 {
		return ownership.Rules{}, errors.New("it has none")
	}
	v := all[len(all)-1]
	if lies {
		v.Text += " # and more"
	}
	return v, nil
}

// set changes what others read, too.
func (r *region) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// home is where the door would send a call.
func (r *region) home() ownership.Region {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.served.Rules.Home(policy.Facts{}, "here").Region
}

func to(region string) string { return "rules: [{when: 'true', region: " + region + "}]" }

// pair is two regions that hear of each other.
func pair(t *testing.T) (emea, amer *region) {
	emea, amer = newRegion(t, "emea"), newRegion(t, "amer")
	emea.open()
	amer.open()
	emea.set(func() { emea.others["amer"] = amer })
	amer.set(func() { amer.others["emea"] = emea })
	t.Cleanup(emea.book.Close)
	t.Cleanup(amer.book.Close)
	return emea, amer
}

// TestWhatIsInForce: the file's rules until some were set, then the newest of the table
// at once; and the file stays unused, which is said once.
func TestWhatIsInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, "emea")
		r.open()
		defer r.book.Close()
		if r.home() != "of-the-file" || r.book.Holding().Number != 0 || r.book.Unused() {
			t.Errorf("before any were set a call goes to %s: %+v", r.home(), r.book.Holding())
		}
		if other := must(policy.ReadDocument([]byte(to("of-another-file")))); !r.book.SetFile(other) || r.home() != "of-another-file" {
			t.Errorf("with another file a call goes to %s", r.home())
		}
		r.put(1, to("one"))
		r.put(2, to("two"))
		if r.home() != "two" || r.book.Holding().Number != 2 || !r.book.Unused() {
			t.Errorf("with rules 2 a call goes to %s: %+v", r.home(), r.book.Holding())
		}
		if r.book.SetFile(must(policy.ReadDocument([]byte(to("of-the-file"))))) || r.home() != "two" {
			t.Errorf("a file took the place of rules that were set: a call goes to %s", r.home())
		}
		if n := r.log.count("of the configuration are not used"); n != 1 {
			t.Errorf("it is said %d times that the file is not used", n)
		}
		r.set(func() { r.table = nil }) // a restore
		r.ping <- struct{}{}
		synctest.Wait()
		if r.home() != "of-the-file" {
			t.Errorf("without rules in the table a call goes to %s", r.home())
		}
	})
}

// TestRulesOfNewerSoftware: what this node does not understand leaves the version before
// it in force, also after a restart, and is told.
func TestRulesOfNewerSoftware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, "emea")
		r.open()
		r.put(1, to("one"))
		r.put(2, "rules: [{when: 'true', region: two, lunar: phase}]")
		check := func(when string) {
			t.Helper()
			h := r.book.Holding()
			if r.home() != "one" || h.Number != 1 || !strings.Contains(h.Trouble, "does not understand rules 2") || len(r.book.Differ()) != 1 || r.book.Newest().Number != 2 {
				t.Errorf("%s: a call goes to %s: %+v, %v", when, r.home(), h, r.book.Differ())
			}
		}
		check("when they come")
		r.book.Close()
		r.open()
		check("after a restart")
		r.put(3, to("three"))
		if h := r.book.Holding(); r.home() != "three" || h.Trouble != "" || len(r.book.Differ()) != 0 {
			t.Errorf("a call goes to %s: %+v, %v", r.home(), h, r.book.Differ())
		}
		r.book.Close()
	})
}

// TestTwoRegionsConverge: newer rules are taken over by the leader within seconds, and
// of two changes at one number the same wins in both regions.
func TestTwoRegionsConverge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		emea, amer := pair(t)
		emea.put(1, to("one"))
		time.Sleep(2500 * time.Millisecond) // not when they look
		if amer.home() != "one" || amer.book.Holding() != emea.book.Holding() {
			t.Fatalf("amer sends a call to %s: %+v", amer.home(), amer.book.Holding())
		}
		emea.put(2, to("two"))
		amer.put(2, to("deux"))
		time.Sleep(3 * time.Second)
		if emea.book.Newest() != amer.book.Newest() || emea.home() != amer.home() {
			t.Errorf("they send a call to %s and %s", emea.home(), amer.home())
		}
		if n := len(emea.Rules()) + len(amer.Rules()); n != 5 {
			t.Errorf("they hold %d versions together, want one more at the one that lost", n)
		}
		amer.set(func() { amer.follows = true })
		emea.put(3, to("three"))
		time.Sleep(3 * time.Second)
		if amer.book.Holding().Number != 2 {
			t.Error("a node that does not lead took rules over")
		}
	})
}

// TestWhatIsTakenIsWhatWasTold: a text that is not that of its digest is not taken.
func TestWhatIsTakenIsWhatWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		emea, amer := pair(t)
		emea.set(func() { emea.lies = true })
		emea.put(1, to("one"))
		time.Sleep(3 * time.Second)
		if len(amer.Rules()) != 0 || amer.log.count("what it gave is not what it told of") == 0 {
			t.Errorf("amer took %+v", amer.Rules())
		}
	})
}

// TestDriftIsTold: a region or a node with other rules is told of once it has had them
// for longer than a change takes to travel, and no more when it has come along.
func TestDriftIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		emea, amer := pair(t)
		amer.set(func() { amer.follows = true }) // nobody takes them over there
		emea.put(1, to("one"))
		mine := emea.book.Holding()
		emea.set(func() {
			emea.nodes = map[ownership.NodeID]Holding{"emea-1": mine, "emea-2": {Mark: Mark{Digest: "old"}}, "emea-3": {Error: "it does not answer"}}
		})
		time.Sleep(DefaultPatience - 2*time.Second)
		if all := emea.book.Differ(); len(all) != 0 {
			t.Errorf("too early it says %q", all)
		}
		time.Sleep(8 * time.Second)
		all := emea.book.Differ()
		if len(all) != 2 || !strings.HasPrefix(all[0], "node emea-2 has rules of its configuration (old) in force, the region has 1 (") || !strings.HasPrefix(all[1], "region amer has rules of its configuration (") {
			t.Errorf("it says %q", all)
		}
		if n := emea.log.count("rules differ"); n != 2 {
			t.Errorf("it was logged %d times", n)
		}
		amer.set(func() { amer.follows = false })
		emea.set(func() { emea.nodes = map[ownership.NodeID]Holding{"emea-2": mine} })
		time.Sleep(12 * time.Second)
		emea.set(func() {
			if len(emea.told) != 4 || emea.told[0].Agree || !emea.told[3].Agree || !strings.HasSuffix(emea.told[3].Text, "has the region's rules again") {
				t.Errorf("the history was told %+v", emea.told)
			}
		})
		if all := emea.book.Differ(); len(all) != 0 || emea.log.count("rules agree again") != 2 {
			t.Errorf("it still says %q", all)
		}
	})
}
