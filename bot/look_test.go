package bot

import (
	"context"
	"encoding/json"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

// pinned makes an answered call whose media are with the bot, as it stands.
func pinned(owner ownership.NodeID, epoch ownership.Epoch, state ownership.CallState) ownership.Call {
	c := orphanOf(state, -time.Hour)
	c.ID, c.Pinned, c.Owner, c.Epoch = "c1", true, owner, epoch
	return c
}

// see has the table show the call, and the dispatcher look at it.
func (s *stand) see(partition ownership.Epoch, c ownership.Call) {
	s.ledger.show(c.ID, c.Owner, c.Epoch, c.State)
	s.look(partition, c)
	synctest.Wait()
}

// events returns what the bot was told of Tandem's own since the last time.
func (s *stand) events() (w []string) {
	s.bot.mu.Lock()
	defer s.bot.mu.Unlock()
	for _, h := range s.bot.taken {
		if h.Event != ownership.EventIncoming && h.Event != ownership.EventUpdate {
			w = append(w, string(h.Event))
		}
	}
	s.bot.taken = nil
	return w
}

// expect compares what the bot was told since the last time.
func (s *stand) expect(t *testing.T, when string, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := s.events(); !slices.Equal(got, want) {
		t.Errorf("%s: the bot was told %q, want %q", when, got, want)
	}
}

// TestO22_ASilentNodesCallsGoOn: a node that stood still and is back within its
// apps' patience finds its partition another's and its calls its own: nobody is
// told anything.
func TestO22_ASilentNodesCallsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		take(t, s, update("m1"))
		s.expect(t, "before")
		s.see(0, pinned("emea-1", 3, ownership.CallAnswered)) // the partition is at epoch 4, the call reserved
		time.Sleep(time.Minute)
		s.expect(t, "after the thaw")
		take(t, s, update("m2"))
		synctest.Wait()
		if got := s.ledger.records(); !slices.Equal(got, []string{"answered 3"}) {
			t.Errorf("records %q", got)
		}
	})
}

// TestO22_WhatWasGivenAwayIsLost: the bot that had the call hears it once, at the
// epoch at which another acts for it now, and only under a lease.
func TestO22_WhatWasGivenAwayIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leased atomic.Bool
		s := newStand(t, AnswerByBot, func(c *Config) { c.Leased = leased.Load })
		var lost ownership.HandOver
		s.bot.script = func(_ context.Context, n int, h ownership.HandOver) (ownership.Reply, error) {
			if h.Event == ownership.EventLost {
				if lost = h; n == 1 {
					return ownership.Reply{Status: 503}, nil
				}
			}
			return ownership.Reply{Status: 200}, nil
		}
		take(t, s, update("m1"))
		for range 3 {
			s.see(0, pinned("emea-2", 4, ownership.CallOrphaned))
		}
		time.Sleep(time.Minute)
		s.expect(t, "without a lease")
		leased.Store(true)
		time.Sleep(10 * time.Second)
		s.expect(t, "under a lease", "lost", "lost") // the first was refused
		var body struct {
			Event ownership.Event `json:"event"`
			Call  ownership.Call  `json:"call"`
		}
		if err := json.Unmarshal(lost.Body, &body); err != nil || body.Event != "lost" || body.Call.ID != "c1" || body.Call.Owner != "emea-2" || lost.Epoch != 4 {
			t.Errorf("%v, %+v at epoch %d", err, body, lost.Epoch)
		}
		s.see(0, pinned("emea-2", 4, ownership.CallOrphaned))
		time.Sleep(time.Minute)
		s.expect(t, "at another look")
	})
}

// TestO22_TheWayBack: the calls that nobody took up come back. A bot that has not
// heard that they were lost goes on; one that has is told to rejoin.
func TestO22_TheWayBack(t *testing.T) {
	for name, after := range map[string]time.Duration{"at once": time.Second, "late": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByBot, nil)
				take(t, s, update("m1"))
				s.see(0, pinned("emea-2", 4, ownership.CallOrphaned))
				time.Sleep(after)
				s.see(0, pinned("emea-1", 3, ownership.CallAnswered))
				time.Sleep(time.Minute)
				if after > lostPause {
					s.expect(t, "back after it was told", "lost", "rejoin")
				} else {
					s.expect(t, "back before it was told")
				}
				take(t, s, update("m2"))
				if h := s.bot.handed(); len(h) != 1 || h[0].Epoch != 3 {
					t.Errorf("a notification after the return: %+v", h)
				}
			})
		})
	}
}

// TestO22_WhoWasToldToRejoinHearsOfTheReturn: the table hears that an orphan was
// taken up only when the bot took that; and of one that is reclaimed the bot which
// was told hears `lost`, the bot which was not hears nothing.
func TestO22_WhoWasToldToRejoinHearsOfTheReturn(t *testing.T) {
	for name, well := range map[string]bool{"it was told": true, "it was not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByBot, nil)
				s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
					if well {
						return ownership.Reply{Status: 200}, nil
					}
					return ownership.Reply{}, errDown
				}
				s.see(3, pinned("emea-1", 3, ownership.CallOrphaned))
				want := []string{}
				if well {
					want = []string{"take-up 3"}
				}
				if got := s.ledger.records(); !slices.Equal(got, want) {
					t.Errorf("records %q, want %q", got, want)
				}
				s.events()
				s.ledger.hold(0)
				s.ledger.mu.Lock()
				s.ledger.owned = 0 // it acts for the call no more
				s.ledger.mu.Unlock()
				s.see(3, pinned("emea-2", 2, ownership.CallAnswered))
				time.Sleep(10 * time.Second)
				if well {
					s.expect(t, "after the reclaim", "lost")
				} else {
					s.expect(t, "after the reclaim")
				}
				s.ledger.hold(3)
			})
		})
	}
}

// A reclaim that comes while the bot is being told to rejoin.
func TestO22_AReclaimDuringTheRejoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
			time.Sleep(time.Second)
			return ownership.Reply{Status: 200}, nil
		}
		s.see(3, pinned("emea-1", 3, ownership.CallOrphaned))
		s.see(3, pinned("emea-2", 2, ownership.CallAnswered))
		time.Sleep(10 * time.Second)
		s.expect(t, "in the end", "rejoin", "lost")
		if got := s.ledger.records(); len(got) != 0 {
			t.Errorf("records %q of a call that is another's", got)
		}
	})
}

// TestARouterThatStartsAnewBesideALivingBot: the bot is told `adopted` of its own
// calls, once; one that was started anew as well does not know them, says so, and is
// told to rejoin.
func TestARouterThatStartsAnewBesideALivingBot(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		want   []string
	}{
		"it lives":                     {200, []string{"adopted"}},
		"it was started anew as well":  {410, []string{"adopted", "rejoin"}},
		"it does not know such events": {404, []string{"adopted", "rejoin"}},
	} {
		for _, orderly := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStand(t, AnswerByBot, nil)
					take(t, s, update("m1"))
					if orderly {
						s = restart(t, s)
					} else {
						s = newStand(t, AnswerByBot, nil)
					}
					s.bot.script = func(_ context.Context, _ int, h ownership.HandOver) (ownership.Reply, error) {
						if h.Event == ownership.EventAdopted {
							return ownership.Reply{Status: tt.status}, nil
						}
						return ownership.Reply{Status: 200}, nil
					}
					for range 3 {
						s.see(3, pinned("emea-1", 3, ownership.CallAnswered))
					}
					s.expect(t, "after the start", tt.want...)
					if got := s.ledger.records(); len(got) != 0 {
						t.Errorf("records %q", got)
					}
				})
			})
		}
	}
}

// A router that was away for too long learns from the table which calls its bot
// has to let go of.
func TestARouterThatStartsAnewTellsWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		c := pinned("emea-2", 4, ownership.CallOrphaned)
		c.Placement.Owner, c.Placement.Epoch = "emea-1", 3
		s.see(0, c)
		other := c
		other.ID, other.Placement.Owner = "never-here", "emea-3"
		s.see(0, other)
		time.Sleep(10 * time.Second)
		s.expect(t, "after the start", "lost")
	})
}

// Movable calls that went with their partition: the bot that had them lets go, and
// keepAlives end.
func TestCallsThatMovedAreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByRouter, nil)
		take(t, s, incoming("m1"))
		synctest.Wait()
		s.ledger.show("c1", "emea-2", 4, ownership.CallAnswered)
		s.ledger.hold(4)
		s.Look(Sight{Partition: 7})
		time.Sleep(time.Hour)
		s.expect(t, "after the move", "lost")
		if n := len(s.graph.beaten()); n != 0 {
			t.Errorf("%d keepAlives of a call that is another's", n)
		}
	})
}

// A look at a partition in which a new call has just been claimed does not go
// before its first notification.
func TestALookLeavesNewCallsToTheirFirstNotification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		c := orphanOf(ownership.CallClaimed, 14*time.Second)
		c.ID, c.Placement.Epoch = "c1", 3
		s.look(3, c)
		synctest.Wait()
		take(t, s, incoming("m1"))
		s.look(3, c)
		synctest.Wait()
		if got := s.bot.words(); !slices.Equal(got, []string{"incoming m1"}) {
			t.Errorf("the bot was handed %q", got)
		}
	})
}

// TestO27_AnAnswerThatIsRefusedIsLookedUp: where an earlier answer may have been
// this region's, no refusal ends a call that lives.
func TestO27_AnAnswerThatIsRefusedIsLookedUp(t *testing.T) {
	for _, status := range []int{400, 404, 409, 412} {
		for how, first := range map[string]func(s *stand){
			"adopted while it rang": func(s *stand) {
				c := orphanOf(ownership.CallClaimed, 9*time.Second)
				c.ID, c.Epoch = "c1", 4
				s.look(4, c)
			},
			"the cloud's repeat, before the call was looked at": func(s *stand) {
				h := incoming("m1")
				h.Epoch = 4
				_, _ = s.Incoming(context.Background(), h)
			},
		} {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByRouter, nil)
				s.ledger.hold(4)
				kind := graph.ErrRefused
				if status == 404 {
					kind = graph.ErrGone
				}
				s.graph.answer = func(int) error { return refusal(kind, status, false) }
				s.graph.get = func() (graph.Remote, error) { return graph.Remote{State: "established"}, nil }
				first(s)
				time.Sleep(time.Second)
				if got := s.ledger.records(); !slices.Equal(got, []string{"answered 4"}) || s.graph.gets != 1 {
					t.Errorf("%d, %s: records %q after %d questions", status, how, got, s.graph.gets)
				}
				if n := len(s.bot.handed()); n != 1 {
					t.Errorf("%d, %s: the bot was handed %d", status, how, n)
				}
			})
		}
	}
}

// TestALateAnswerMakesAnOrphan: a call that rang here was answered by its former
// owner, as the table hears only now: this bot is told to rejoin it, once, though its
// epoch is the same.
func TestALateAnswerMakesAnOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		rings := pinned("emea-1", 3, ownership.CallClaimed)
		rings.Deadline = time.Now().Add(10 * time.Second)
		s.see(3, rings)
		s.expect(t, "while it rings", "adopted")
		for range 3 {
			s.see(3, pinned("emea-1", 3, ownership.CallOrphaned))
		}
		time.Sleep(time.Minute)
		s.expect(t, "as an orphan", "rejoin")
	})
}

// TestACallThatSomebodyElseEndedIsLost: an operator released it at another node, or
// another region turned out to have it. The bot lets go, once; of a call whose end it
// was told it hears nothing more.
func TestACallThatSomebodyElseEndedIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, func(c *Config) { c.Leased = func() bool { return true } })
		over := pinned("emea-1", 3, ownership.CallEnded)
		s.see(3, over)
		time.Sleep(time.Minute)
		s.expect(t, "of a call that it never had")

		take(t, s, update("m1"))
		for range 2 {
			s.see(3, over)
			time.Sleep(10 * time.Second)
		}
		s.expect(t, "of its own call", "lost")
	})
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, func(c *Config) { c.Leased = func() bool { return true } })
		take(t, s, update("m1"))
		end := update("m2")
		end.Ends = true
		take(t, s, end)
		s.see(3, pinned("emea-1", 3, ownership.CallEnded))
		time.Sleep(time.Minute)
		s.expect(t, "of a call that the cloud ended")
	})
}
