package bot

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

// A planned move waits until the table has heard of an end that was on its way
// when this node stopped acting: the cloud, which was told 200, will not repeat it.
func TestRestWaitsForWhatIsOnItsWayToTheTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.ledger.slow = 30 * time.Millisecond
		if _, err := s.Update(t.Context(), ending("m-end")); err != nil {
			t.Fatal(err)
		}
		s.ledger.hold(0) // stopped acting, see cluster.yield
		begun := time.Now()
		if err := s.Quiesce(t.Context(), 7); err != nil {
			t.Fatal(err)
		}
		if got := s.ledger.records(); !slices.Equal(got, []string{"release 3 the cloud ended it"}) || time.Since(begun) != 30*time.Millisecond {
			t.Errorf("after %v at rest the table has heard %q", time.Since(begun), got)
		}
		s.ledger.hold(4)
	})
}

// Without a leader there is no rest, and the move does not take place.
func TestRestGivesUpWithoutALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.ledger.do = func(n int, _ ownership.Act) error {
			if n < 20 {
				return ownership.ErrNoLeader
			}
			return nil
		}
		take(t, s, ending("m-end"))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := s.Quiesce(ctx, 7); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want the end of the time", err)
		}
		time.Sleep(2 * time.Minute)
		if got := s.ledger.records(); len(got) != 1 {
			t.Errorf("records %q once there is a leader", got)
		}
	})
}

// That a call has ended is a fact at any epoch, also to a table that compares.
func TestAnEndIsToldAtAnyEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.ledger.show("c1", "emea-2", 5, ownership.CallAnswered)
		s.ledger.do = func(_ int, act ownership.Act) error {
			r := act.(ownership.Release)
			if !r.Told {
				t.Error("the cloud's own word is not marked as such")
			}
			if r.Epoch < 5 {
				return ownership.ErrStaleEpoch
			}
			return nil
		}
		take(t, s, ending("m-end"))
		time.Sleep(time.Second)
		if got := s.ledger.records(); !slices.Equal(got, []string{"release 5 the cloud ended it"}) {
			t.Errorf("records %q", got)
		}
	})
}

// The records of one call are told in the order in which they happened, however
// long each takes and however many go side by side.
func TestRecordsOfOneCallKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.ledger.do = func(n int, _ ownership.Act) error {
			if n%3 == 0 {
				return ownership.ErrNoLeader
			}
			return nil
		}
		for i := range 40 {
			for _, h := range []ownership.HandOver{update("m1"), update("m2"), ending("m3")} {
				h.Call = ownership.CallID(fmt.Sprint("c", i))
				if h.MessageID == "m2" {
					h.Organizer = "ann"
				}
				take(t, s, h)
			}
		}
		time.Sleep(5 * time.Minute)
		told := map[ownership.CallID][]string{}
		s.ledger.mu.Lock()
		defer s.ledger.mu.Unlock()
		for _, act := range s.ledger.acts {
			switch a := act.(type) {
			case ownership.Answered:
				told[a.Call] = append(told[a.Call], "answered "+a.Organizer)
			case ownership.Release:
				told[a.Call] = append(told[a.Call], "ended")
			}
		}
		for call, got := range told {
			if !slices.Equal(got, []string{"answered ", "answered ann", "ended"}) {
				t.Errorf("of %s the table was told %q", call, got)
			}
		}
		if len(told) != 40 {
			t.Errorf("the table was told of %d calls, want 40", len(told))
		}
	})
}

// However many calls end while there is no leader, a bounded number of goroutines
// stands in line (V13).
func TestV13_RecordsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		down := true
		s.ledger.do = func(int, ownership.Act) error {
			if down {
				return ownership.ErrNoLeader
			}
			return nil
		}
		before := runtime.NumGoroutine()
		for i := range 5000 {
			h := ending("m")
			h.Call = ownership.CallID(fmt.Sprint("c", i))
			take(t, s, h)
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n > 2*recordsAtOnce {
			t.Errorf("%d more goroutines for 5000 records", n)
		}
		s.ledger.mu.Lock()
		down = false
		s.ledger.mu.Unlock()
		time.Sleep(time.Minute)
		if n := len(s.ledger.records()); n != 5000 {
			t.Errorf("the table heard of %d ends, want 5000", n)
		}
	})
}

// What could not be told at a stop is told by the next start.
func TestRecordsOutliveAStop(t *testing.T) {
	for name, err := range map[string]error{"there is no leader": ownership.ErrNoLeader, "the region has stopped": ErrOver} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByBot, nil)
				s.ledger.do = func(int, ownership.Act) error { return err }
				take(t, s, update("m1"))
				take(t, s, ending("m2"))
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				begun := time.Now()
				_ = s.Close(ctx) // it says that records were cut off, where it waited for them
				if took := time.Since(begun); errors.Is(err, ErrOver) && took > time.Second {
					t.Errorf("it waited %v for a region that takes nothing any more", took)
				}
				s = restart(t, s)
				synctest.Wait()
				if got := s.ledger.records(); !slices.Equal(got, []string{"answered 3", "release 3 the cloud ended it"}) {
					t.Errorf("after the start the table is told %q", got)
				}
			})
		})
	}
}

// The last node of a region that stops cannot tell its table anything. It does not
// wait for those who stopped before it, and its next start tells.
func TestTheLastToStopWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leased atomic.Bool
		leased.Store(true)
		s := newStand(t, AnswerByBot, func(c *Config) { c.Leased = leased.Load })
		s.ledger.do = func(int, ownership.Act) error { return ownership.ErrNoLeader }
		take(t, s, ending("m1"))
		time.AfterFunc(2*time.Second, func() { leased.Store(false) })
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		begun := time.Now()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took < 2*time.Second || took > 6*time.Second {
			t.Errorf("closing took %v, want a little more than the lease", took)
		}
		s = restart(t, s)
		synctest.Wait()
		if got := s.ledger.records(); !slices.Equal(got, []string{"release 3 the cloud ended it"}) {
			t.Errorf("after the start the table is told %q", got)
		}
	})
}

// A table that shows a call alive whose end this dispatcher knows, or ringing though it
// was answered, is told again: it was restored, or a record was lost with a node.
func TestTheTableIsToldAgain(t *testing.T) {
	for name, ask := range map[string]func(t *testing.T, s *stand){
		"at a late notification": func(t *testing.T, s *stand) {
			late := update("late")
			late.Call = "ended"
			take(t, s, late)
			take(t, s, update("another"))
		},
		"at a look": func(_ *testing.T, s *stand) { s.look(3) },
		"at a look after a restart": func(t *testing.T, s *stand) {
			next := restart(t, s)
			next.ledger.known = s.ledger.known
			*s = *next
			s.look(3)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByBot, nil)
				end := ending("m")
				end.Call = "ended"
				take(t, s, end)
				take(t, s, update("m"))
				synctest.Wait()
				if n := len(s.ledger.records()); n != 2 {
					t.Fatalf("records %q", s.ledger.records())
				}
				for range 2 { // in the table as it should be: nothing follows
					s.ledger.show("ended", "emea-1", 3, ownership.CallEnded)
					s.ledger.show("c1", "emea-1", 3, ownership.CallAnswered)
					s.look(3)
				}
				s.ledger.acts = nil
				s.ledger.show("ended", "emea-1", 3, ownership.CallAnswered)
				s.ledger.show("c1", "emea-1", 3, ownership.CallClaimed)
				ask(t, s)
				synctest.Wait()
				got := s.ledger.records()
				slices.Sort(got)
				if !slices.Equal(got, []string{"answered 3", "release 3 the cloud ended it"}) {
					t.Errorf("the table is told %q", got)
				}
			})
		})
	}
}
