package presence

import (
	"errors"
	"testing"
	"time"

	"tandem/ownership"
)

func twoSeconds() time.Duration { return 2 * time.Second }

// TestAWordIsKept: a node that gave its word to one process of an id admits no other
// one as a leader, as long as the first may be alive.
func TestAWordIsKept(t *testing.T) {
	now := time.Unix(100, 0)
	first, other := Bearer{Node: "n", Process: "2", Ancestors: []string{"1"}}, Bearer{Node: "n", Process: "3", Ancestors: []string{"1"}}
	heir := Bearer{Node: "n", Process: "4", Ancestors: []string{"1", "2"}, Over: true}
	if New(twoSeconds, func(ownership.NodeID) string { return "1" }).Promised(first, now) {
		t.Error("it keeps a word that it has not given")
	}
	for what, c := range map[string]struct {
		b     Bearer
		named string
		after time.Duration
		want  bool
	}{
		"it":                    {first, "1", time.Second, false},
		"another":               {other, "1", time.Second, true},
		"another, later":        {other, "1", 3 * time.Second, false},
		"one after it":          {heir, "1", time.Second, false},
		"the table names it":    {other, "2", time.Second, false},
		"a region without them": {other, "", time.Second, false},
	} {
		t.Run(what, func(t *testing.T) {
			named := "1"
			p := New(twoSeconds, func(ownership.NodeID) string { return named })
			if err := p.Meet(first, 5, now); err != nil {
				t.Fatal(err)
			}
			named = c.named
			if got := p.Promised(c.b, now.Add(c.after)); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestPresence(t *testing.T) {
	now := time.Unix(100, 0)
	type step struct {
		b       Bearer
		named   string
		applied uint64
		after   time.Duration
		want    error
	}
	b := func(process string, applied uint64, ancestors ...string) Bearer {
		return Bearer{Node: "n", Process: process, Ancestors: ancestors, Applied: applied}
	}
	over := b("2", 5, "1")
	over.Over = true
	log := func(last uint64, b Bearer) Bearer {
		b.Last = last
		return b
	}
	for name, steps := range map[string][]step{
		"the first one":                     {{b("1", 5), "", 5, 0, nil}, {b("1", 5), "", 5, time.Second, nil}},
		"a successor waits":                 {{b("1", 5), "1", 5, 0, nil}, {b("2", 5, "1"), "1", 5, time.Second, ErrAlive}, {b("2", 5, "1"), "1", 5, 3 * time.Second, nil}, {b("1", 5), "1", 5, 4 * time.Second, ErrAlive}},
		"after a stop in order it need not": {{b("1", 5), "1", 5, 0, nil}, {over, "1", 5, time.Second, nil}},
		"a copy":                            {{b("2", 9, "1"), "1", 9, 0, nil}, {b("2", 9, "1"), "2", 10, time.Second, nil}, {b("3", 9, "1"), "2", 10, time.Minute, ownership.ErrTwin}},
		"the one before wakes up":           {{b("2", 9, "1"), "2", 10, 0, nil}, {b("1", 9), "2", 10, time.Minute, ownership.ErrTwin}},
		"this table lags":                   {{b("7", 90, "6"), "1", 10, 0, nil}},
		"a disk that was set back":          {{log(5, b("1", 5)), "1", 5, 0, nil}, {log(4, b("2", 4, "1")), "1", 5, 3 * time.Second, ownership.ErrDiffers}},
		"its heir has all of it":            {{log(5, b("1", 5)), "1", 5, 0, nil}, {log(5, b("2", 4, "1")), "1", 5, 3 * time.Second, nil}},
		"its own word, overtaken":           {{log(5, b("1", 5)), "1", 5, 0, nil}, {log(3, b("1", 3)), "1", 5, time.Second, nil}, {log(4, b("2", 4, "1")), "1", 5, 4 * time.Second, ownership.ErrDiffers}},
		"older software":                    {{b("", 0), "", 0, 0, nil}, {b("1", 5), "", 5, 3 * time.Second, nil}, {b("", 0), "1", 6, time.Minute, ownership.ErrTwin}},
	} {
		t.Run(name, func(t *testing.T) {
			named := ""
			p := New(twoSeconds, func(ownership.NodeID) string { return named })
			for i, s := range steps {
				named = s.named
				if err := p.Meet(s.b, s.applied, now.Add(s.after)); !errors.Is(err, s.want) || (err == nil) != (s.want == nil) {
					t.Errorf("step %d: process %s was met with %v, want %v", i, s.b.Process, err, s.want)
				}
			}
		})
	}
}

// TestASnapshotUnbindsNobody: the processes that a snapshot of another day names are
// not those of today, neither while it takes the table's place nor after.
func TestASnapshotUnbindsNobody(t *testing.T) {
	now, named := time.Unix(100, 0), "today"
	p := New(twoSeconds, func(ownership.NodeID) string { return named })
	hears := func() bool { return p.Hears("n", "today", now) }
	if !hears() {
		t.Fatal("the process that the table names is not heard")
	}
	err := p.Replace(func() error {
		named = "of another day"
		if !hears() {
			t.Error("not heard while the table is replaced")
		}
		return nil
	})
	if err != nil || !hears() {
		t.Errorf("not heard afterwards (%v)", err)
	}
	if named = "the next one"; hears() {
		t.Error("the table's word does not count any more")
	}
}
