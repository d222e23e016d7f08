package bot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, func(c *Config) { c.QueueLimit, c.TotalLimit, c.WaitLimit = 3, 5, 2*time.Second })
		s.bot.script = func(ctx context.Context, _ int, _ ownership.HandOver) (ownership.Reply, error) {
			time.Sleep(3 * time.Second)
			return ownership.Reply{Status: 200}, nil
		}
		busy, slow := 0, 0
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, call := range []ownership.CallID{"a", "a", "a", "a", "b", "b", "b"} {
			time.Sleep(time.Millisecond)
			wg.Go(func() {
				h := update(fmt.Sprint(time.Now()))
				h.Call = call
				_, err := s.Update(t.Context(), h)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, ErrBusy):
					busy++
				case errors.Is(err, ErrTimeout):
					slow++
				default:
					t.Errorf("%v, want ErrBusy or ErrTimeout", err)
				}
			})
		}
		wg.Wait()
		if busy != 2 || slow != 5 { // one of a over its own limit, one of b over the total
			t.Errorf("%d busy, %d timed out, want 2 and 5", busy, slow)
		}
	})
}

// A caller that gave up does not end the delivery; the retry finds its reply.
func TestRetryJoinsADeliveryUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
			time.Sleep(3 * time.Second)
			return ownership.Reply{Status: 200, Body: []byte("done")}, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Update(ctx, update("m1")); !errors.Is(err, ErrTimeout) {
			t.Errorf("%v, want ErrTimeout", err)
		}
		r, err := s.Update(t.Context(), update("m1"))
		if err != nil || string(r.Body) != "done" || len(s.bot.handed()) != 1 {
			t.Errorf("%q, %v after %d deliveries, want the reply of the one", r.Body, err, len(s.bot.handed()))
		}
	})
}

// A hand-over that comes when the queue's goroutine has done its last entry, but
// has not ended yet, is left to that goroutine.
func TestOneGoroutineForALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		app := s.apps[appID]
		s.mu.Lock()
		l, _ := s.queueOf(app, update("m1"))
		l.busy = true // the goroutine that is about to look once more
		s.mu.Unlock()
		if _, _, err := s.follow(app, update("m1"), ownership.Known{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(s.bot.handed()); n != 0 {
			t.Errorf("%d deliveries by a second goroutine", n)
		}
		s.run(l)
		if n := len(s.bot.handed()); n != 1 || l.busy {
			t.Errorf("%d deliveries by the first goroutine, want 1; still busy: %t", n, l.busy)
		}
	})
}

// TestB51_ALineBelongsToOneApp: no other app's notification reaches a call, ends
// it, or gets what its bot replied.
func TestB51_ALineBelongsToOneApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := &fakeBot{}
		s := newStand(t, AnswerByBot, func(c *Config) {
			c.Apps = append(c.Apps, App{ID: "other", Answer: AnswerByBot, Timeout: usualTimeout, Bot: other})
		})
		s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
			return ownership.Reply{Status: 200, Body: []byte("secret")}, nil
		}
		take(t, s, incoming("m1"))
		theirs := func(h ownership.HandOver) ownership.HandOver { h.App = "other"; return h }
		for what, ask := range map[string]func() (ownership.Reply, error){
			"the first message again": func() (ownership.Reply, error) { return s.Incoming(t.Context(), theirs(incoming("m1"))) },
			"a message's id":          func() (ownership.Reply, error) { return s.Update(t.Context(), theirs(update("m1"))) },
			"the call's end":          func() (ownership.Reply, error) { return s.Update(t.Context(), theirs(ending("m2"))) },
		} {
			if r, err := ask(); !errors.Is(err, ownership.ErrOtherApp) || r.Status != 0 || r.Body != nil {
				t.Errorf("%s from another app: %+v, %v", what, r, err)
			}
		}
		s.look(3, ownership.Call{ID: "c1", App: "other", Partition: 7, Epoch: 3, State: ownership.CallAnswered})
		synctest.Wait()
		if n := len(other.handed()); n != 0 || len(s.bot.handed()) != 1 || len(s.ledger.records()) != 0 {
			t.Errorf("the other bot was handed %d, the call's %d; records %v", n, len(s.bot.handed()), s.ledger.records())
		}
	})
}

func TestUnservedApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		h := update("m1")
		h.App = "another"
		_, errU := s.Update(t.Context(), h)
		_, errI := s.Incoming(t.Context(), h)
		if !errors.Is(errU, ErrUnserved) || !errors.Is(errI, ErrUnserved) || !strings.Contains(errU.Error(), "another") {
			t.Errorf("%v, %v, want ErrUnserved", errU, errI)
		}
	})
}

func TestClose(t *testing.T) {
	t.Run("waits for what is under way", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByBot, nil)
			s.ledger.do = func(n int, _ ownership.Act) error {
				if n < 3 {
					return ownership.ErrNoLeader
				}
				return nil
			}
			go func() { _, _ = s.Update(t.Context(), ending("end")) }()
			synctest.Wait()
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if got := s.ledger.records(); len(got) != 1 {
				t.Errorf("records %q, want the release", got)
			}
			if _, err := s.Update(t.Context(), update("m2")); !errors.Is(err, ErrClosed) {
				t.Errorf("Update after Close: %v", err)
			}
			if _, err := s.Incoming(t.Context(), incoming("m3")); !errors.Is(err, ErrClosed) {
				t.Errorf("Incoming after Close: %v", err)
			}
			s.look(3, ownership.Call{ID: "c2", App: appID, Partition: 7, Epoch: 3, State: ownership.CallAnswered})
			if n := len(s.bot.handed()); n != 1 {
				t.Errorf("%d hand-overs, one of them after Close", n)
			}
		})
	})
	t.Run("is bounded by its context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByRouter, nil)
			s.ledger.do = func(int, ownership.Act) error { return ownership.ErrNoLeader }
			s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
				return ownership.Reply{}, errDown
			}
			if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			start := time.Now()
			if err := s.Close(ctx); err == nil {
				t.Error("Close says that nothing was cut off")
			}
			if took := time.Since(start); took != 5*time.Second {
				t.Errorf("Close took %v, bounded were 5 s", took)
			}
		})
	})
}
