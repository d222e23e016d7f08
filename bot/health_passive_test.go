package bot

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

// fit reports whether the app's bot gets new calls.
func (s *stand) fit() bool { return s.Health()[appID].Bot }

// TestO32_HandOversThatFailMakeABotSick: its health check says 200 all the while.
func TestO32_HandOversThatFailMakeABotSick(t *testing.T) {
	for name, fail := range map[string]func(ctx context.Context) (ownership.Reply, error){
		"500": func(context.Context) (ownership.Reply, error) { return ownership.Reply{Status: 500}, nil },
		"it hangs": func(ctx context.Context) (ownership.Reply, error) {
			<-ctx.Done()
			return ownership.Reply{}, ctx.Err()
		},
		"it is down": func(context.Context) (ownership.Reply, error) { return ownership.Reply{}, errDown },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &reporter{}
				s := newStand(t, AnswerByBot, func(c *Config) {
					c.Apps[0].Bot = r
					c.Apps = append(c.Apps, App{ID: "second", Answer: AnswerByBot, Timeout: usualTimeout, Bot: &fakeBot{}})
				})
				broken := true
				r.script = func(ctx context.Context, _ int, _ ownership.HandOver) (ownership.Reply, error) {
					if broken {
						return fail(ctx)
					}
					return ownership.Reply{Status: 202}, nil
				}
				synctest.Wait()
				post := func(i int) {
					h := incoming(fmt.Sprint("m", i))
					h.Call = ownership.CallID(fmt.Sprint("c", i))
					_, _ = s.Incoming(t.Context(), h)
				}
				begun := time.Now()
				for i := range 3 {
					go post(i)
				}
				time.Sleep(4100 * time.Millisecond)
				if s.fit() || !s.Health()["second"].Bot {
					t.Fatalf("%v after the first of three that failed: %+v", time.Since(begun), s.Health())
				}
				// On trial after a pause; the first that fails again ends it, for longer.
				time.Sleep(firstTrial)
				if !s.fit() {
					t.Error("it is not tried again")
				}
				post(10)
				if s.fit() {
					t.Error("a hand-over on trial failed, and it counts as well")
				}
				time.Sleep(firstTrial + time.Second)
				if s.fit() {
					t.Error("the second pause is no longer than the first")
				}
				broken = false
				post(11) // a repeat of what was placed here before
				if !s.fit() {
					t.Error("it took a hand-over, and counts as sick")
				}
			})
		})
	}
}

// One notification that no bot can digest does not make every node sick in turn,
// nor do failures among successes.
func TestO32_OneCallAloneIsNoSickness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.bot.script = func(_ context.Context, _ int, h ownership.HandOver) (ownership.Reply, error) {
			if h.Call == "poison" {
				return ownership.Reply{Status: 500}, nil
			}
			return ownership.Reply{Status: 202}, nil
		}
		for i := range 40 {
			for _, call := range []ownership.CallID{"poison", "c1"} {
				if i < 20 && call == "c1" {
					continue // at first there is nothing else
				}
				h := update(fmt.Sprint("m", i))
				h.Call = call
				_, _ = s.Update(t.Context(), h)
			}
			if !s.fit() {
				t.Fatalf("sick after %d", i)
			}
		}
	})
}

// A sick health check is not outvoted by the end of a pause.
func TestO32_ATrialNeedsAWellHealthCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reporter{}
		s := newStand(t, AnswerByBot, func(c *Config) { c.Apps[0].Bot = r })
		r.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
			return ownership.Reply{}, errDown
		}
		synctest.Wait()
		r.set(Report{}, errDown, false)
		for i := range 3 {
			h := update("m")
			h.Call = ownership.CallID(fmt.Sprint("c", i))
			_, _ = s.Update(t.Context(), h)
		}
		time.Sleep(time.Minute)
		if s.fit() {
			t.Error("well, though its health check fails")
		}
		r.set(Report{}, nil, false)
		time.Sleep(3 * time.Second)
		if !s.fit() {
			t.Error("not tried, though its health check is well and the pause long over")
		}
	})
}

// TestO3_HealthIsToldAppByApp: one bot that is sick or full costs its own app only.
func TestO3_HealthIsToldAppByApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, func(c *Config) {
			c.Apps[0].Bot = &reporter{report: Report{Load: .2, Capacity: 50}}
			c.Apps = append(c.Apps, App{ID: "sick", Answer: AnswerByBot, Timeout: usualTimeout, Bot: &reporter{err: errDown}}, App{ID: "leaving", Answer: AnswerByBot, Timeout: usualTimeout, Bot: &reporter{report: Report{Draining: true}}})
		})
		synctest.Wait()
		got := s.Health()
		if want := (ownership.AppFitness{Bot: true, Load: .2, Room: 50}); got[appID] != want || got["sick"].Bot || got["leaving"].Bot || len(got) != 3 {
			t.Errorf("%+v", got)
		}
	})
}
