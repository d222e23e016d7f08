package bot

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

// A notification that waited in its call's queue while the partition went to
// another node is not handed over any more: its sender tries again, and finds
// the new owner.
func TestF13_WhatWaitedInLineIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
			time.Sleep(2 * time.Second)
			return ownership.Reply{Status: 202}, nil
		}
		first := make(chan error, 1)
		go func() {
			_, err := s.Update(t.Context(), update("m1"))
			first <- err
		}()
		synctest.Wait()
		time.AfterFunc(time.Second, func() { s.ledger.hold(4) })
		if _, err := s.Update(t.Context(), update("m2")); !errors.Is(err, ownership.ErrFenced) {
			t.Errorf("%v, want ErrFenced", err)
		}
		if err := <-first; err != nil {
			t.Errorf("what was handed over under the lease: %v", err)
		}
		if n := len(s.bot.handed()); n != 1 {
			t.Errorf("%d hand-overs, want the first one only", n)
		}
	})
}

// A handled message stays handled while the lease of its owner is broken: its
// repeat finds its reply, and asks for no act. Of an end it does not: if another
// node gets the call meanwhile, its bot has to hear of it.
func TestI4_ARepeatNeedsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.bot.script = func(_ context.Context, _ int, h ownership.HandOver) (ownership.Reply, error) {
			if h.MessageID == "m2" {
				return ownership.Reply{Status: 503}, nil
			}
			return ownership.Reply{Status: 200, Body: []byte(h.MessageID)}, nil
		}
		for _, h := range []ownership.HandOver{update("m1"), update("m2"), ending("m3")} {
			take(t, s, h)
		}
		s.ledger.hold(0)
		other := update("m1")
		other.App = "another"
		for _, tt := range []struct {
			what string
			h    ownership.HandOver
			want string // empty: nothing is known of it
		}{
			{"a repeat", update("m1"), "m1"}, {"what the bot refused", update("m2"), ""}, {"what is new", update("m4"), ""},
			{"an end", ending("m3"), ""}, {"another app's message", other, ""},
		} {
			if r, ok := s.Handled(tt.h); ok != (tt.want != "") || string(r.Body) != tt.want {
				t.Errorf("%s: %v, %d %q", tt.what, ok, r.Status, r.Body)
			}
		}
		if n := len(s.bot.handed()); n != 3 {
			t.Errorf("%d hand-overs, want the first three only", n)
		}
	})
}

// The router answered a call and stood still before it could tell the bot: the
// bot is told when the lease comes back, and never under a passed epoch.
func TestF13_TellingWaitsForTheLease(t *testing.T) {
	for name, tt := range map[string]struct {
		back ownership.Epoch
		told int
	}{"it comes back": {3, 1}, "the partition moved": {4, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByRouter, nil)
				s.graph.answer = func(int) error {
					s.ledger.hold(0)
					return nil
				}
				if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(8 * time.Second)
				s.ledger.hold(tt.back)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if n := len(s.bot.handed()); n != tt.told {
					t.Errorf("%d hand-overs, want %d", n, tt.told)
				}
			})
		})
	}
}

// A node that left its region gets no lease any more: its dispatcher closes without
// waiting out the clocks of the calls that ring; their new owner answers them.
func TestClosingDoesNotWaitForALeaseThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByRouter, nil)
		s.graph.answer = func(int) error {
			s.ledger.hold(0)
			return ownership.ErrFenced
		}
		if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		begun := time.Now()
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
