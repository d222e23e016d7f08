package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tandem/ownership"
)

// posting is one message as a cloud sends it: at its time, perhaps twice at
// once, again after a failure until it was taken.
type posting struct {
	call, message string
	after         time.Duration // since the one before
	twin          bool          // two data centres post it at the same time
	fails         int           // so many deliveries fail first
	how           string        // how they fail
	work          time.Duration // the bot's time for it
}

// outcome is what a run showed.
type outcome struct {
	effects map[string]int      // successful deliveries by call and message
	order   map[string][]string // the same as lists by call
	replies map[string][]string // bodies that the cloud got at the end
	unsent  []string            // messages never taken
	twice   bool
}

// post runs the cloud against a dispatcher in a bubble.
func post(t *testing.T, all []posting) outcome {
	o := outcome{effects: map[string]int{}, order: map[string][]string{}, replies: map[string][]string{}}
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		scripts := map[string]posting{}
		for _, p := range all {
			scripts[p.call+" "+p.message] = p
		}
		var mu sync.Mutex
		s.bot.script = func(ctx context.Context, n int, h ownership.HandOver) (ownership.Reply, error) {
			key := string(h.Call) + " " + h.MessageID
			p := scripts[key]
			time.Sleep(p.work)
			if n <= p.fails {
				switch p.how {
				case "503":
					return ownership.Reply{Status: 503}, nil
				case "slow":
					<-ctx.Done()
					return ownership.Reply{}, ctx.Err()
				default:
					return ownership.Reply{}, errDown
				}
			}
			mu.Lock()
			defer mu.Unlock()
			o.effects[key]++
			o.order[string(h.Call)] = append(o.order[string(h.Call)], h.MessageID)
			return ownership.Reply{Status: 200, Body: fmt.Appendf(nil, "reply to %s, delivery %d", key, n)}, nil
		}
		var wg sync.WaitGroup
		for _, p := range all {
			time.Sleep(p.after)
			times := 1
			if p.twin {
				times = 2
			}
			for range times {
				wg.Go(func() {
					h := update(p.message)
					h.Call = ownership.CallID(p.call)
					for range 100 { // a failure takes others along, so some need many
						r, err := s.Update(t.Context(), h)
						if err == nil && r.Status == 200 {
							mu.Lock()
							defer mu.Unlock()
							o.replies[p.call+" "+p.message] = append(o.replies[p.call+" "+p.message], string(r.Body))
							return
						}
						time.Sleep(time.Second)
					}
					mu.Lock()
					defer mu.Unlock()
					o.unsent = append(o.unsent, p.call+" "+p.message)
				})
			}
		}
		wg.Wait()
		o.twice = s.bot.twice
	})
	return o
}

func TestI4_OrderAndEffectsOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		faulty := rapid.Bool().Draw(rt, "faulty")
		n := rapid.IntRange(1, 40).Draw(rt, "postings")
		var all []posting
		for i := range n {
			p := posting{
				call:    rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "call"),
				message: fmt.Sprint("m", i),
				after:   time.Duration(rapid.IntRange(1, 400).Draw(rt, "after ms")) * time.Millisecond,
				twin:    rapid.Bool().Draw(rt, "twin"),
				work:    time.Duration(rapid.IntRange(0, 900).Draw(rt, "work ms")) * time.Millisecond,
			}
			if faulty && rapid.IntRange(0, 4).Draw(rt, "fault") == 0 {
				p.fails = rapid.IntRange(1, 2).Draw(rt, "fails")
				p.how = rapid.SampledFrom([]string{"503", "slow", "down"}).Draw(rt, "how")
			}
			all = append(all, p)
		}
		o := post(t, all)
		if o.twice {
			rt.Fatal("the bot was entered twice at a time for one call")
		}
		if len(o.unsent) > 0 {
			rt.Fatalf("never taken: %q", o.unsent)
		}
		want := map[string][]string{}
		for _, p := range all {
			key := p.call + " " + p.message
			if o.effects[key] != 1 {
				rt.Fatalf("%s had its effect %d times", key, o.effects[key])
			}
			if r := o.replies[key]; len(slices.Compact(slices.Clone(r))) != 1 {
				rt.Fatalf("repeats of %s got different replies: %q", key, r)
			}
			want[p.call] = append(want[p.call], p.message)
		}
		if faulty {
			return // the cloud's retries decide the order then
		}
		for call, messages := range want {
			if got := o.order[call]; !slices.Equal(got, messages) {
				rt.Fatalf("call %s was handed over as %q, posted as %q", call, got, messages)
			}
		}
	})
}

func TestF36_DuplicateReorderedLateMissing(t *testing.T) {
	t.Run("a repeat after 10 min gets the first reply", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByBot, nil)
			s.bot.script = func(_ context.Context, n int, _ ownership.HandOver) (ownership.Reply, error) {
				return ownership.Reply{Status: 200, Body: []byte(fmt.Sprint("delivery ", n))}, nil
			}
			first, _ := s.Update(t.Context(), update("m1"))
			time.Sleep(10 * time.Minute)
			again, err := s.Update(t.Context(), update("m1"))
			if err != nil || string(again.Body) != string(first.Body) || len(s.bot.handed()) != 1 {
				t.Errorf("got %q, %v after %d deliveries, want %q after 1", again.Body, err, len(s.bot.handed()), first.Body)
			}
		})
	})
	t.Run("without a message id the body is the key", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByBot, nil)
			a, b := update(""), update("")
			b.Body = []byte(`{"value":[1]}`)
			for _, h := range []ownership.HandOver{a, a, b} {
				if _, err := s.Update(t.Context(), h); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(s.bot.handed()); n != 2 {
				t.Errorf("%d deliveries, want 2", n)
			}
		})
	})
	t.Run("after the end everything is 202 and goes no further", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByBot, nil)
			end, err := s.Update(t.Context(), ending("end"))
			if err != nil || end.Status != 200 {
				t.Fatalf("%+v, %v", end, err)
			}
			synctest.Wait()
			if got := s.ledger.records(); !slices.Equal(got, []string{"release 3 the cloud ended it"}) {
				t.Errorf("records %q", got)
			}
			time.Sleep(10 * time.Minute)
			for _, h := range []ownership.HandOver{update("late"), ending("another end")} {
				if r, err := s.Update(t.Context(), h); err != nil || r.Status != 202 {
					t.Errorf("late: %+v, %v, want 202", r, err)
				}
			}
			if r, err := s.Incoming(t.Context(), incoming("first")); err != nil || r.Status != 202 {
				t.Errorf("a late first notification: %+v, %v, want 202", r, err)
			}
			if r, err := s.Update(t.Context(), ending("end")); err != nil || r.Status != 200 {
				t.Errorf("a repeat of the end: %+v, %v, want its first reply", r, err)
			}
			synctest.Wait()
			if n, records := len(s.bot.handed()), s.ledger.records(); n != 1 || len(records) != 1 {
				t.Errorf("%d deliveries, records %q, want 1 and 1", n, records)
			}
		})
	})
	t.Run("an update queued behind the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByBot, nil)
			s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
				time.Sleep(time.Second)
				return ownership.Reply{Status: 200}, nil
			}
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = s.Update(t.Context(), ending("end")) })
			time.Sleep(time.Millisecond)
			wg.Go(func() {
				if r, err := s.Update(t.Context(), update("established")); err != nil || r.Status != 202 {
					t.Errorf("%+v, %v, want 202", r, err)
				}
			})
			wg.Wait()
			if n := len(s.bot.handed()); n != 1 {
				t.Errorf("%d deliveries, want only the end", n)
			}
		})
	})
	t.Run("the table is slow to take the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByBot, nil)
			s.ledger.do = func(n int, _ ownership.Act) error {
				if n < 4 {
					return ownership.ErrNoLeader
				}
				return nil
			}
			if _, err := s.Update(t.Context(), ending("end")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if got := s.ledger.records(); !slices.Equal(got, []string{"release 3 the cloud ended it"}) {
				t.Errorf("records %q after %d tries", got, s.ledger.tries)
			}
		})
	})
	t.Run("the bot misses the end: it is not released", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByBot, nil)
			s.bot.script = func(_ context.Context, n int, _ ownership.HandOver) (ownership.Reply, error) {
				if n == 1 {
					return ownership.Reply{}, errDown
				}
				return ownership.Reply{Status: 200}, nil
			}
			if _, err := s.Update(t.Context(), ending("end")); !errors.Is(err, ErrUnreachable) {
				t.Errorf("%v, want ErrUnreachable", err)
			}
			synctest.Wait()
			if got := s.ledger.records(); len(got) != 0 {
				t.Errorf("records %q before the bot took it", got)
			}
			if _, err := s.Update(t.Context(), ending("end")); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if got := s.ledger.records(); len(got) != 1 {
				t.Errorf("records %q after the bot took it, want the release", got)
			}
		})
	})
}

// A delivery that fails takes those behind it along; the cloud sends them all
// again.
func TestFailureTakesThoseBehindAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
			time.Sleep(time.Second)
			return ownership.Reply{}, errDown
		}
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 5 {
			time.Sleep(time.Millisecond)
			wg.Go(func() {
				if _, err := s.Update(t.Context(), update(fmt.Sprint("m", i))); !errors.Is(err, ErrUnreachable) {
					t.Errorf("%v, want ErrUnreachable", err)
				}
			})
		}
		wg.Wait()
		if n, took := len(s.bot.handed()), time.Since(start); n != 1 || took > 1100*time.Millisecond {
			t.Errorf("%d deliveries in %v, want one in a second", n, took)
		}
		synctest.Wait()
		s.Dispatcher.mu.Lock()
		defer s.Dispatcher.mu.Unlock()
		if s.Dispatcher.waiting != 0 {
			t.Errorf("%d still count as waiting", s.Dispatcher.waiting)
		}
	})
}
