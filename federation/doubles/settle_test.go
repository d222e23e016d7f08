package doubles

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/ownership"
)

// side is one region with its calls, which the other asks by its name.
type side struct {
	mu      sync.Mutex // of yielded and calls
	name    ownership.Region
	calls   map[ownership.CallID]Claim
	history []ownership.CallID
	page    int
	yielded map[ownership.CallID]string
	follows bool
	cut     bool // nobody hears it
	other   *side
}

func newSide(name ownership.Region) *side {
	return &side{name: name, calls: map[ownership.CallID]Claim{}, page: 3, yielded: map[ownership.CallID]string{}}
}

func (s *side) claim(call ownership.CallID) {
	s.calls[call] = Claim{Region: s.name, State: ownership.CallClaimed}
	s.history = append(s.history, call)
}

func (s *side) Leads() bool { return !s.follows }

func (s *side) Find(call ownership.CallID) (Claim, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.calls[call]
	return c, ok && c.State != ownership.CallEnded
}

func (s *side) Yield(_ context.Context, call ownership.CallID, why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[call] = Claim{Region: s.name, State: ownership.CallEnded}
	s.yielded[call] = why
	return nil
}

func (s *side) Claims(_ context.Context, r ownership.Region, after uint64) (Page, error) {
	if s.other.cut || s.cut || r != s.other.name {
		return Page{}, ownership.ErrUnreachable
	}
	to := min(int(after)+s.page, len(s.other.history))
	return Page{Calls: s.other.history[after:to], Next: uint64(to), More: to < len(s.other.history)}, nil
}

func (s *side) Claim(_ context.Context, _ ownership.Region, call ownership.CallID) (Claim, bool, error) {
	if s.other.cut || s.cut {
		return Claim{}, false, ownership.ErrUnreachable
	}
	s.other.mu.Lock()
	defer s.other.mu.Unlock()
	c, ok := s.other.calls[call]
	return c, ok, nil
}

func two() (emea, amer *side, a, b *Finder) {
	emea, amer = newSide("emea"), newSide("amer")
	emea.other, amer.other = amer, emea
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	return emea, amer, New(emea, emea, []ownership.Region{"amer"}, quiet), New(amer, amer, []ownership.Region{"emea"}, quiet)
}

// TestBothClaimed: the region whose answer the cloud took keeps the call; the other
// gives it up, once, and what the two have alone stays.
func TestBothClaimed(t *testing.T) {
	emea, amer, a, b := two()
	for i := range 20 {
		emea.claim(ownership.CallID(fmt.Sprint("e", i)))
	}
	emea.claim("both")
	amer.claim("both")
	round := func() { a.Round(t.Context()); b.Round(t.Context()) }
	round()
	if len(emea.yielded)+len(amer.yielded) != 0 {
		t.Fatalf("it rings, and nobody knows whose it is: %v, %v", emea.yielded, amer.yielded)
	}
	amer.calls["both"] = Claim{Region: "amer", State: ownership.CallAnswered, AnsweredAt: time.Unix(100, 0)}
	round()
	round()
	if len(amer.yielded) != 0 || len(emea.yielded) != 1 || !strings.Contains(emea.yielded["both"], "region amer claimed it, too") {
		t.Errorf("%v, %v", emea.yielded, amer.yielded)
	}
}

// TestClaimedDuringACut is found when the regions hear each other again.
func TestClaimedDuringACut(t *testing.T) {
	emea, amer, a, b := two()
	a.Round(t.Context())
	b.Round(t.Context())
	emea.cut = true
	for i := range 50 {
		call := ownership.CallID(fmt.Sprint(i))
		emea.claim(call)
		amer.claim(call)
		answered := emea
		if i%2 == 1 {
			answered = amer
		}
		answered.calls[call] = Claim{Region: answered.name, State: ownership.CallAnswered, AnsweredAt: time.Unix(int64(i), 0)}
		a.Round(t.Context())
		b.Round(t.Context())
	}
	emea.cut = false
	amer.follows = true // another node of amer leads
	a.Round(t.Context())
	b.Round(t.Context())
	if len(emea.yielded) != 25 || len(amer.yielded) != 0 {
		t.Fatalf("%d and %d given up", len(emea.yielded), len(amer.yielded))
	}
	amer.follows = false
	b.Round(t.Context())
	if len(amer.yielded) != 25 {
		t.Errorf("%d given up by amer", len(amer.yielded))
	}
	a.Round(t.Context())
	for call := range emea.yielded {
		if _, both := amer.yielded[call]; both {
			t.Errorf("both gave up %s", call)
		}
	}
	if n := len(a.seen[0].pending) + len(b.seen[0].pending); n != 0 {
		t.Errorf("%d are pending still", n)
	}
}

// TestOneKeepsIt: whatever the two see of each other, and whenever, as long as it is
// what was the case at some time, at most one gives a call up, and in the end one has.
func TestOneKeepsIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		emea, amer, a, b := two()
		sides, finders := map[string]*side{"emea": emea, "amer": amer}, map[string]*Finder{"emea": a, "amer": b}
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			who := rapid.SampledFrom(slices.Sorted(maps.Keys(sides))).Draw(t, "who")
			s := sides[who]
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				s.cut = !s.cut
			case 3:
				if _, has := s.calls["c"]; !has {
					s.claim("c")
				}
			case 1: // its clock may be any
				if s.calls["c"].State == ownership.CallClaimed {
					s.calls["c"] = Claim{Region: s.name, State: ownership.CallAnswered, AnsweredAt: time.Unix(rapid.Int64Range(0, 3).Draw(t, "at"), 0)}
				}
			default:
				finders[who].Round(context.Background())
			}
		}
		emea.cut, amer.cut = false, false
		for range 2 {
			a.Round(context.Background())
			b.Round(context.Background())
		}
		answered := 0
		for _, s := range sides {
			if s.calls["c"].State == ownership.CallAnswered {
				answered++
			}
		}
		given := len(emea.yielded) + len(amer.yielded)
		both := len(emea.calls)+len(amer.calls) == 2
		if given > 1 || answered > 1 || both && answered == 1 && given != 1 {
			t.Fatalf("%d gave it up, %d have it", given, answered)
		}
	})
}

// TestClaimedAfterTheOtherTold: the call comes here when the other region's claim was
// read already.
func TestClaimedAfterTheOtherTold(t *testing.T) {
	emea, amer, _, b := two()
	emea.claim("c")
	b.Round(t.Context())
	amer.claim("c")
	emea.calls["c"] = Claim{Region: "emea", State: ownership.CallAnswered, AnsweredAt: time.Unix(1, 0)}
	b.Round(t.Context())
	if len(amer.yielded) != 1 {
		t.Error("amer keeps a call that emea has answered")
	}
	for range recentRounds + 1 {
		b.Round(t.Context())
	}
	if n := len(b.seen[0].recent); n != 0 {
		t.Errorf("%d claims are looked for still", n)
	}
}
