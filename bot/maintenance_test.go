package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

func TestKeepAlive(t *testing.T) {
	answered := func(t *testing.T, s *stand) {
		t.Helper()
		if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	}
	t.Run("each 10 min", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByRouter, nil)
			answered(t, s)
			start := time.Now()
			time.Sleep(61 * time.Minute)
			beats := s.graph.beaten()
			if len(beats) != 6 {
				t.Fatalf("%d keepAlives in 61 min, want 6", len(beats))
			}
			if d := beats[0].Sub(start); d < beatEvery || d > beatEvery+maintainEvery {
				t.Errorf("the first came after %v", d)
			}
		})
	})
	t.Run("404 releases the call", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByRouter, nil)
			s.graph.beat = func(int) error { return refusal(graph.ErrGone, 404, false) }
			answered(t, s)
			time.Sleep(30 * time.Minute)
			if n := len(s.graph.beaten()); n != 1 {
				t.Errorf("%d keepAlives, want 1", n)
			}
			if got := s.ledger.records(); !slices.Contains(got, "release 3 Graph knew it no longer at a keepAlive") {
				t.Errorf("records %q", got)
			}
		})
	})
	t.Run("a failure is tried again in a minute", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByRouter, nil)
			s.graph.beat = func(n int) error {
				if n < 3 {
					return refusal(graph.ErrRetryable, 503, false)
				}
				return nil
			}
			answered(t, s)
			time.Sleep(15 * time.Minute)
			if n := len(s.graph.beaten()); n != 3 {
				t.Errorf("%d keepAlives, want 3", n)
			}
		})
	})
	t.Run("none without the lease, again with it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByRouter, nil)
			answered(t, s)
			s.ledger.hold(0)
			time.Sleep(30 * time.Minute)
			if n := len(s.graph.beaten()); n != 0 {
				t.Errorf("%d keepAlives without the lease", n)
			}
			s.ledger.hold(3)
			time.Sleep(2 * time.Minute)
			if n := len(s.graph.beaten()); n != 1 {
				t.Errorf("%d keepAlives after it came back, want 1", n)
			}
		})
	})
	for name, change := range map[string]func(*App){
		"not for pinned calls":           func(a *App) { a.Pinned = true },
		"not for calls that bots answer": func(a *App) { a.Answer = AnswerByBot },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByRouter, func(c *Config) { change(&c.Apps[0]) })
				answered(t, s)
				time.Sleep(30 * time.Minute)
				if n := len(s.graph.beaten()); n != 0 {
					t.Errorf("%d keepAlives, want none", n)
				}
			})
		})
	}
	t.Run("not after the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByRouter, nil)
			answered(t, s)
			if _, err := s.Update(t.Context(), ending("end")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Minute)
			if n := len(s.graph.beaten()); n != 0 {
				t.Errorf("%d keepAlives, want none", n)
			}
		})
	})
}

func TestSeenIsToldRarelyAndTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		for i := range 40 { // ten minutes of two talkative calls
			for _, call := range []ownership.CallID{"a", "b"} {
				h := update(fmt.Sprint(i))
				h.Call = call
				if _, err := s.Update(t.Context(), h); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(15 * time.Second)
		}
		time.Sleep(10 * time.Minute)
		seen := 0
		for _, r := range s.ledger.records() {
			switch {
			case r == "seen 2":
				seen++
			case strings.HasPrefix(r, "seen"):
				t.Errorf("%q, want both calls in one act", r)
			}
		}
		if seen < 2 || seen > 3 {
			t.Errorf("told %d times, want once in 5 min", seen)
		}
		before := len(s.ledger.records())
		time.Sleep(time.Hour)
		if n := len(s.ledger.records()); n != before {
			t.Errorf("%d more records of silent calls", n-before)
		}
	})
}

// The first notification that answer: bot lets through tells the router that
// somebody answered.
func TestAnsweredIsLearntFromUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := s.ledger.records(); len(got) != 0 {
			t.Errorf("records %q before any update", got)
		}
		for _, m := range []string{"m2", "m3"} {
			if _, err := s.Update(t.Context(), update(m)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := s.ledger.records(); !slices.Equal(got, []string{"answered 3"}) {
			t.Errorf("records %q, want one", got)
		}
	})
}

// Where the meeting is and whose is told once, when it is first heard of.
func TestFactsOfTheMeetingAreLearntFromUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		first := incoming("m1")
		first.Thread = "19:x"
		if _, err := s.Incoming(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		for _, m := range []string{"m2", "m3", "m4"} {
			h := update(m)
			if h.Thread = "19:x"; m != "m2" {
				h.Organizer = "ann"
			}
			if _, err := s.Update(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		var told []string
		s.ledger.mu.Lock()
		defer s.ledger.mu.Unlock()
		for _, act := range s.ledger.acts {
			if a, ok := act.(ownership.Answered); ok {
				told = append(told, a.Thread+"/"+a.Organizer)
			}
		}
		if !slices.Equal(told, []string{"/", "/ann"}) {
			t.Errorf("the table was told %q", told)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		queues := func() (n, kept int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, l := range s.parts[7].queues {
				n, kept = n+1, kept+len(l.handled)
			}
			if n != s.calls {
				t.Errorf("%d queues are counted, there are %d", s.calls, n)
			}
			return n, kept
		}
		for i := range rememberIDs + 500 {
			if _, err := s.Update(t.Context(), update(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		if _, kept := queues(); kept != rememberIDs {
			t.Errorf("%d message ids are kept, want %d", kept, rememberIDs)
		}
		time.Sleep(rememberFor + time.Minute)
		if _, err := s.Update(t.Context(), ending("end")); err != nil {
			t.Fatal(err)
		}
		if _, kept := queues(); kept != 1 {
			t.Errorf("%d message ids are kept after %v, want the last", kept, rememberFor)
		}
		silent := update("m1")
		silent.Call = "silent"
		if _, err := s.Update(t.Context(), silent); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rememberFor + time.Minute)
		if n, _ := queues(); n != 1 {
			t.Errorf("%d queues after a tombstone's life, want the silent call's", n)
		}
		time.Sleep(idleLimit)
		if n, _ := queues(); n != 0 {
			t.Errorf("%d queues after %v of silence, want none", n, idleLimit)
		}
	})
}

func TestReap(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*ownership.Call)
		noGraph bool
		get     func() (graph.Remote, error)
		reply   int // the bot's status; 0: unreachable
		want    Reaped
		records []string
	}{
		{name: "gone at Graph", want: Reaped{Asked: 1, Released: 1}, records: []string{"release 3 silent, and gone when asked"}},
		{name: "alive at Graph", get: func() (graph.Remote, error) { return graph.Remote{State: "established"}, nil },
			want: Reaped{Asked: 1, Alive: 1}, records: []string{"seen 1"}},
		{name: "Graph does not say", get: func() (graph.Remote, error) { return graph.Remote{}, refusal(graph.ErrRetryable, 503, false) },
			want: Reaped{Asked: 1, Unclear: 1}},
		{name: "something in front of the bot knows no such page", noGraph: true, reply: 404, want: Reaped{Asked: 1, Unclear: 1}},
		{name: "gone by the bot's word", noGraph: true, reply: 410, want: Reaped{Asked: 1, Released: 1}, records: []string{"release 3 silent, and gone when asked"}},
		{name: "410 says the same", noGraph: true, reply: 410, want: Reaped{Asked: 1, Released: 1}, records: []string{"release 3 silent, and gone when asked"}},
		{name: "alive by the bot's word", noGraph: true, reply: 200, want: Reaped{Asked: 1, Alive: 1}, records: []string{"seen 1"}},
		{name: "the bot fails", noGraph: true, reply: 500, want: Reaped{Asked: 1, Unclear: 1}},
		{name: "the bot is unreachable", noGraph: true, want: Reaped{Asked: 1, Unclear: 1}},
		{name: "orphaned", change: func(c *ownership.Call) { c.State = ownership.CallOrphaned }, want: Reaped{Asked: 1, Released: 1},
			records: []string{"release 3 silent, and gone when asked"}},
		{name: "ended", change: func(c *ownership.Call) { c.State = ownership.CallEnded }},
		{name: "seen 59 min ago", change: func(c *ownership.Call) { c.SeenAt = c.SeenAt.Add(2 * time.Minute) }},
		{name: "of another node", change: func(c *ownership.Call) { c.Partition = 8 }},
		{name: "of a past epoch", change: func(c *ownership.Call) { c.Epoch = 2 }},
		{name: "of another app", change: func(c *ownership.Call) { c.App = "another" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByBot, func(c *Config) {
					if tt.noGraph {
						c.Apps[0].Graph = nil
					}
				})
				s.graph.get = tt.get
				s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
					if tt.reply == 0 {
						return ownership.Reply{}, errDown
					}
					return ownership.Reply{Status: tt.reply}, nil
				}
				c := orphanOf(ownership.CallAnswered, 0)
				c.SeenAt = time.Now().Add(-61 * time.Minute)
				if tt.change != nil {
					tt.change(&c)
				}
				got, err := s.Reap(t.Context(), slices.Values([]ownership.Call{c}))
				if err != nil || got != tt.want {
					t.Errorf("%+v, %v, want %+v", got, err, tt.want)
				}
				if r := s.ledger.records(); !slices.Equal(r, tt.records) {
					t.Errorf("records %q, want %q", r, tt.records)
				}
			})
		})
	}
	t.Run("life that the table has not heard of yet", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByBot, nil)
			if _, err := s.Update(t.Context(), update("m1")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if _, err := s.Update(t.Context(), update("m2")); err != nil {
				t.Fatal(err)
			}
			c := orphanOf(ownership.CallAnswered, 0)
			c.ID, c.SeenAt = "c1", time.Now().Add(-2*time.Hour)
			if got, _ := s.Reap(t.Context(), slices.Values([]ownership.Call{c})); got != (Reaped{}) {
				t.Errorf("%+v, want it left alone", got)
			}
		})
	})
	t.Run("stops with its context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByBot, nil)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := s.Reap(ctx, slices.Values([]ownership.Call{orphanOf(ownership.CallAnswered, 0)})); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want Canceled", err)
			}
		})
	})
}
