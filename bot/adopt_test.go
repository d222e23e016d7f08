package bot

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

// orphanOf makes a call of partition 7 as the table shows it to its new owner
// at epoch 3.
func orphanOf(state ownership.CallState, left time.Duration) ownership.Call {
	now := time.Now()
	c := ownership.Call{ID: "57dab8b1894c409ab240bd8beae78896", RawCall: "57DAB8B1894C409AB240BD8BEAE78896", App: appID, Tenant: "t1",
		Partition: 7, Epoch: 3, State: state, Thread: "19:meeting@thread.v2", Organizer: "o1",
		ClaimedAt: now.Add(left - 15*time.Second), Deadline: now.Add(left), SeenAt: now}
	if state == ownership.CallAnswered {
		c.AnsweredAt = now
	}
	return c
}

func ourURIOf(c ownership.Call) string {
	return fmt.Sprint(base, "/", c.Partition, "/", c.Epoch, "/", c.ID)
}

// The owner died: what its calls go through at the new one.
func TestF31_OwnerDiesMidCall(t *testing.T) {
	alive := func(state string) func() (graph.Remote, error) {
		return func() (graph.Remote, error) { return graph.Remote{State: state}, nil }
	}
	const inTime, overdue = 9 * time.Second, -time.Second
	tests := []struct {
		name    string
		by      AnswerBy
		call    func() ownership.Call
		answer  error
		get     func() (graph.Remote, error)
		reply   string // the bot's
		noGraph bool
		told    []ownership.Event
		answers int
		records []string // compared by their starts
		beat    bool     // keepAlives go on
	}{
		{name: "ringing, router answers", by: AnswerByRouter, call: func() ownership.Call { return orphanOf(ownership.CallClaimed, inTime) },
			told: []ownership.Event{"adopted"}, answers: 1, records: []string{"answered 3"}, beat: true},
		{name: "ringing, the dead owner had answered", by: AnswerByRouter, call: func() ownership.Call { return orphanOf(ownership.CallClaimed, inTime) },
			answer: refusal(graph.ErrRefused, 409, false), get: alive("established"),
			told: []ownership.Event{"adopted"}, answers: 1, records: []string{"answered 3"}, beat: true},
		{name: "ringing, the caller left", by: AnswerByRouter, call: func() ownership.Call { return orphanOf(ownership.CallClaimed, inTime) },
			answer: refusal(graph.ErrGone, 404, false), answers: 1, records: []string{"release 3 it had ended"}},
		{name: "ringing, the bot answers", by: AnswerByBot, call: func() ownership.Call { return orphanOf(ownership.CallClaimed, inTime) },
			told: []ownership.Event{"adopted"}},
		{name: "ringing, the bot has the router answer", by: AnswerByBot, call: func() ownership.Call { return orphanOf(ownership.CallClaimed, inTime) },
			reply: `{"answer":{"acceptedModalities":["audio"]}}`, told: []ownership.Event{"adopted"}, answers: 1, records: []string{"answered 3"}},
		{name: "overdue, answered after all", by: AnswerByRouter, call: func() ownership.Call { return orphanOf(ownership.CallClaimed, overdue) },
			get: alive("established"), told: []ownership.Event{"adopted"}, records: []string{"answered 3"}, beat: true},
		{name: "overdue and gone", by: AnswerByRouter, call: func() ownership.Call { return orphanOf(ownership.CallClaimed, overdue) },
			records: []string{"release 3 it had ended"}},
		{name: "overdue, nobody to ask", by: AnswerByBot, noGraph: true, call: func() ownership.Call { return orphanOf(ownership.CallClaimed, overdue) },
			told: []ownership.Event{"adopted"}},
		{name: "answered and movable", by: AnswerByRouter, call: func() ownership.Call { return orphanOf(ownership.CallAnswered, overdue) },
			told: []ownership.Event{"adopted"}, beat: true},
		{name: "answered and movable, the bot keeps it alive", by: AnswerByBot, call: func() ownership.Call { return orphanOf(ownership.CallAnswered, overdue) },
			told: []ownership.Event{"adopted"}},
		{name: "answered and pinned", by: AnswerByBot, call: func() ownership.Call {
			c := orphanOf(ownership.CallAnswered, overdue)
			c.Pinned = true
			return c
		}, told: []ownership.Event{"adopted"}},
		{name: "orphaned", by: AnswerByBot, call: func() ownership.Call {
			c := orphanOf(ownership.CallOrphaned, overdue)
			c.Pinned = true
			return c
		}, told: []ownership.Event{"rejoin"}, records: []string{"take-up 3"}},
		{name: "ended", by: AnswerByRouter, call: func() ownership.Call { return orphanOf(ownership.CallEnded, overdue) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, tt.by, func(c *Config) {
					if tt.noGraph {
						c.Apps[0].Graph = nil
					}
				})
				s.graph.answer, s.graph.get = func(int) error { return tt.answer }, tt.get
				s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
					return ownership.Reply{Status: 200, Body: []byte(tt.reply)}, nil
				}
				c := tt.call()
				start := time.Now()
				s.look(3, c)
				s.look(3, c) // told twice: done once
				synctest.Wait()
				if took := time.Since(start); took > 0 {
					t.Errorf("Look took %v", took)
				}
				var told []ownership.Event
				for _, h := range s.bot.handed() {
					told = append(told, h.Event)
					var body struct {
						Event       ownership.Event `json:"event"`
						CallbackURI string          `json:"callback_uri"`
						Call        ownership.Call  `json:"call"`
					}
					if err := json.Unmarshal(h.Body, &body); err != nil {
						t.Fatal(err)
					}
					if body.Event != h.Event || body.CallbackURI != ourURIOf(c) || body.Call.Thread != c.Thread || body.Call.Organizer != c.Organizer || body.Call.Epoch != 3 {
						t.Errorf("the bot was told %s", h.Body)
					}
					if h.Epoch != 3 || h.CallbackURI != ourURIOf(c) || h.RawCall != c.RawCall {
						t.Errorf("hand-over %+v", h)
					}
				}
				if !slices.Equal(told, tt.told) {
					t.Errorf("the bot was told %q, want %q", told, tt.told)
				}
				answers := s.graph.answered()
				if len(answers) != tt.answers || (tt.answers == 1 && (answers[0].CallbackURI != ourURIOf(c) || s.graph.epochs[0] != 3)) {
					t.Errorf("answers %+v, want %d with the new owner's URI", answers, tt.answers)
				}
				got := s.ledger.records()
				if len(got) != len(tt.records) || (len(got) > 0 && !strings.HasPrefix(got[0], tt.records[0])) {
					t.Errorf("records %q, want %q", got, tt.records)
				}
				time.Sleep(beatEvery + time.Minute)
				if n := len(s.graph.beaten()); (n > 0) != tt.beat {
					t.Errorf("%d keepAlives, want any: %t", n, tt.beat)
				}
			})
		})
	}
}

func TestF31_RingingCallsComeFirstAndAreAnsweredInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByRouter, nil)
		s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
			time.Sleep(time.Second)
			return ownership.Reply{Status: 200}, nil
		}
		var calls []ownership.Call
		for i := range 500 {
			c := orphanOf(ownership.CallAnswered, -time.Hour)
			c.ID = ownership.CallID(fmt.Sprintf("answered%d", i))
			calls = append(calls, c)
		}
		for i := range 50 {
			c := orphanOf(ownership.CallClaimed, 2*time.Second)
			c.ID = ownership.CallID(fmt.Sprintf("ringing%d", i))
			calls = append(calls, c)
		}
		s.look(3, calls...)
		synctest.Wait()
		if n := len(s.graph.answered()); n != 50 {
			t.Errorf("%d calls answered at once, want the 50 that rang", n)
		}
		time.Sleep(time.Minute)
		if n := len(s.bot.handed()); n != 550 {
			t.Errorf("the bot was told of %d calls, want 550", n)
		}
	})
}

// The cloud's retry of the first notification and the adoption meet.
func TestF31_OneAnswerWhenTheRetryMeetsTheAdoption(t *testing.T) {
	for name, retryFirst := range map[string]bool{"the retry comes first": true, "the adoption comes first": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByRouter, nil)
				s.graph.answer = func(int) error { time.Sleep(time.Second); return nil }
				c := orphanOf(ownership.CallClaimed, 9*time.Second)
				h := incoming("m1")
				h.Call, h.RawCall = c.ID, c.RawCall
				if !retryFirst {
					s.look(3, c)
				}
				if r, err := s.Incoming(t.Context(), h); err != nil || r.Status != 202 {
					t.Errorf("%+v, %v, want 202", r, err)
				}
				s.look(3, c)
				time.Sleep(30 * time.Second)
				if n, told := len(s.graph.answered()), s.bot.words(); n != 1 || len(told) != 1 {
					t.Errorf("%d answers, the bot was told %q, want one of each", n, told)
				}
			})
		})
	}
}

// The bot is told until it takes it, of each call by itself.
func TestEventsAreToldUntilTheyAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.bot.script = func(_ context.Context, n int, h ownership.HandOver) (ownership.Reply, error) {
			if h.Event == ownership.EventAdopted && n < 3 {
				return ownership.Reply{}, errDown
			}
			return ownership.Reply{Status: 200}, nil
		}
		s.look(3, orphanOf(ownership.CallAnswered, 0))
		time.Sleep(time.Minute)
		if n := len(s.bot.handed()); n != 3 {
			t.Errorf("%d deliveries, want 3", n)
		}
		past, other := orphanOf(ownership.CallAnswered, 0), orphanOf(ownership.CallAnswered, 0)
		past.ID, past.Epoch, other.ID, other.App = "past", 2, "other", "another"
		s.look(3, past, other) // fenced, and unserved
		time.Sleep(time.Minute)
		if n := len(s.bot.handed()); n != 3 {
			t.Errorf("%d deliveries of what is not this dispatcher's", n-3)
		}
	})
}

// An event of Tandem's own is given up when its time is over or the partition
// has gone elsewhere.
func TestTellGivesUp(t *testing.T) {
	for name, moved := range map[string]bool{"after its time": false, "when the partition moved": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByBot, nil)
				var last atomic.Pointer[time.Time]
				s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
					now := time.Now()
					last.Store(&now)
					return ownership.Reply{}, errDown
				}
				if moved {
					time.AfterFunc(10*time.Second, func() { s.ledger.hold(4) })
				}
				start := time.Now()
				s.look(3, orphanOf(ownership.CallAnswered, 0))
				time.Sleep(2 * time.Minute)
				if took := last.Load().Sub(start); !moved && took < 110*time.Second || moved && took > 11*time.Second {
					t.Errorf("it was told for %v", took)
				}
			})
		})
	}
}

// A node that starts again hears of its partitions before it has its lease.
func TestAdoptWaitsForTheLease(t *testing.T) {
	for name, gets := range map[string]ownership.Epoch{"it comes": 3, "the partition moved on": 4, "the calls are over by then": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				over := strings.Contains(name, "over")
				s := newStand(t, AnswerByRouter, nil)
				s.ledger.hold(0)
				ringing, held := orphanOf(ownership.CallClaimed, 9*time.Second), orphanOf(ownership.CallAnswered, 0)
				held.ID = "held"
				s.look(3, ringing, held)
				time.Sleep(4 * time.Second)
				if n := len(s.graph.answered()) + len(s.bot.handed()); n != 0 {
					t.Errorf("%d acts without the lease", n)
				}
				if over { // as the table of a node that starts again learns when it has caught up
					s.ledger.show(ringing.ID, "emea-1", 3, ownership.CallEnded)
					s.ledger.show(held.ID, "emea-1", 3, ownership.CallEnded)
				}
				s.ledger.hold(gets)
				time.Sleep(3 * time.Minute)
				want := 0
				if gets == 3 && !over {
					want = 1
				}
				if n, told := len(s.graph.answered()), len(s.bot.handed()); n != want || told != 2*want {
					t.Errorf("%d answers, the bot was told %d times, want %d and %d", n, told, want, 2*want)
				}
			})
		})
	}
}

// After a power cut the others may come back hours later: the calls are adopted
// then, at the epoch that they always had.
func TestF06_AdoptWaitsForTheLeaseForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByRouter, nil)
		s.ledger.hold(0)
		s.look(3, orphanOf(ownership.CallAnswered, 0))
		time.Sleep(3 * time.Hour)
		if n := len(s.bot.handed()); n != 0 {
			t.Errorf("the bot was told %d times without the lease", n)
		}
		s.ledger.hold(3)
		time.Sleep(time.Minute)
		if told := s.bot.handed(); len(told) != 1 || told[0].Event != ownership.EventAdopted {
			t.Errorf("the bot was told %v, want one adopted", s.bot.words())
		}
		if n := len(s.graph.beaten()); n == 0 {
			t.Error("no keepAlive was sent")
		}
	})
}

// A bot that was sick for longer than events are offered is told when it is well.
func TestF31_ASickBotIsToldWhenItIsWell(t *testing.T) {
	for name, gone := range map[string]bool{"the call is still here": false, "the partition moved meanwhile": true, "the call ended meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByBot, nil)
				var sick atomic.Bool
				sick.Store(true)
				s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
					if sick.Load() {
						return ownership.Reply{}, errDown
					}
					return ownership.Reply{Status: 200}, nil
				}
				s.look(3, orphanOf(ownership.CallAnswered, 0))
				time.Sleep(10 * time.Minute)
				switch {
				case strings.Contains(name, "moved"):
					s.ledger.hold(4)
				case gone: // an operator released it at another node
					s.ledger.show(orphanOf(ownership.CallAnswered, 0).ID, "emea-1", 3, ownership.CallEnded)
				}
				tries := len(s.bot.handed())
				sick.Store(false)
				time.Sleep(5 * time.Minute)
				want := 1
				if gone {
					want = 0
				}
				if n := len(s.bot.handed()) - tries; n != want {
					t.Errorf("it was told %d times after it was well, want %d", n, want)
				}
			})
		})
	}
}

func TestRawID(t *testing.T) {
	for want, c := range map[string]ownership.Call{
		"57DAB8B1894C409AB240BD8BEAE78896":     {ID: "57dab8b1894c409ab240bd8beae78896", RawCall: "57DAB8B1894C409AB240BD8BEAE78896"},
		"57dab8b1-894c-409a-b240-bd8beae78896": {ID: "57dab8b1894c409ab240bd8beae78896"},
		"short":                                {ID: "short"},
	} {
		if got := rawID(c); got != want {
			t.Errorf("rawID(%+v) = %s, want %s", c.ID, got, want)
		}
	}
}

// An update on a callback URI of a past epoch is handed over and recorded at
// the present one.
func TestUpdateOfAPastEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		c := orphanOf(ownership.CallAnswered, 0)
		c.ID = "c1"
		s.look(3, c)
		h := ending("end")
		h.Epoch = 2
		if _, err := s.Update(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := s.bot.handed()[1].Epoch; got != 3 {
			t.Errorf("handed over at epoch %d, want 3", got)
		}
		if got := s.ledger.records(); !slices.Equal(got, []string{"release 3 the cloud ended it"}) {
			t.Errorf("records %q", got)
		}
	})
}

func TestEventsCarryJSON(t *testing.T) {
	h, err := eventOf(ownership.EventAdopted, orphanOf(ownership.CallAnswered, 0), ourURI)
	if err != nil || http.Header(h.Header).Get("Content-Type") != "application/json" || h.MessageID != "tandem-adopted-3" || !h.Deadline.IsZero() {
		t.Errorf("%+v, %v", h, err)
	}
}
