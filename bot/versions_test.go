package bot

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

// TestWhatBecomesOfAVersionsCalls: each call counts once, for the version that took it.
func TestWhatBecomesOfAVersionsCalls(t *testing.T) {
	for name, tc := range map[string]struct {
		says   string        // the bot's reply to the call
		talk   time.Duration // from its answer to its end
		silent bool          // nobody answers it, and no end is told
		rings  bool          // it ends unanswered
		moved  bool          // to another node
		result string        // of its end
		want   ownership.VersionTally
	}{
		"ends as calls do":                    {talk: time.Minute, result: "200/5001", want: ownership.VersionTally{Well: 1}},
		"ends without a code":                 {talk: time.Minute, want: ownership.VersionTally{Well: 1}},
		"fails":                               {talk: time.Minute, result: "408/8544", want: ownership.VersionTally{Bad: 1, Code: "408/8544"}},
		"dies of its answer with a good code": {talk: shortLife - time.Second, result: "200/5001", want: ownership.VersionTally{Short: 1}},
		"the caller hangs up while it rings":  {rings: true, result: "487/10003", want: ownership.VersionTally{Other: 1}},
		"fails while it rings":                {rings: true, result: "500/1005", want: ownership.VersionTally{Bad: 1, Code: "500/1005"}},
		"is never answered":                   {silent: true, want: ownership.VersionTally{Bad: 1, Code: codeUnanswered}},
		"is rejected":                         {says: `{"reject":{"reason":"busy"}}`, silent: true, want: ownership.VersionTally{Bad: 1, Code: "rejected"}},
		"moves to another node":               {talk: time.Second, moved: true, want: ownership.VersionTally{Other: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &reporter{report: Report{Version: "2.4.1"}}
				r.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
					return ownership.Reply{Status: 200, Body: []byte(tc.says)}, nil
				}
				s := newStand(t, AnswerByBot, func(c *Config) { c.Apps[0].Bot = r })
				synctest.Wait()
				if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
					t.Fatal(err)
				}
				if got := s.Versions(); len(got) != 1 || got[0].Taken != 1 || got[0].Version != "2.4.1" || !got[0].Runs || tc.says == "" && got[0].Live() != 1 {
					t.Fatalf("while it rings the version has %+v", got)
				}
				r.set(Report{Version: "2.5.0"}, nil, false) // it is the old one's call all the same
				time.Sleep(2 * time.Second)
				if !tc.silent {
					if !tc.rings {
						if _, err := s.Update(t.Context(), update("m2")); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(tc.talk)
					h := ending("m3")
					h.Result = tc.result
					if tc.moved {
						s.ledger.show(h.Call, "other", 2, ownership.CallAnswered)
						s.look(2)
					} else if _, err := s.Update(t.Context(), h); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				got := s.Versions()
				tc.want.App, tc.want.Version, tc.want.Taken = appID, "2.4.1", 1
				if len(got) != 2 || got[0] != tc.want || got[1] != (ownership.VersionTally{App: appID, Version: "2.5.0", Runs: true}) {
					t.Errorf("the versions have\n%+v, want\n%+v", got, tc.want)
				}
			})
		})
	}
}

func TestVersionsOfABotAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reporter{}
		s := newStand(t, AnswerByBot, func(c *Config) { c.Apps[0].Bot = r })
		for i := range 3 * ownership.MaxVersions {
			r.set(Report{Version: fmt.Sprintf("1.%d", i)}, nil, false)
			time.Sleep(time.Second)
			synctest.Wait()
			if i == 0 {
				if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Update(t.Context(), update("m2")); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.Versions(); len(got) > ownership.MaxVersions || i > 0 && got[0].Taken != 1 {
				t.Fatalf("after %d versions %d are kept: %+v; the one with a call must be among them", i+1, len(got), got)
			}
		}
		for _, bad := range []string{"2 4", "a\nb", "<b>", "é", string(make([]byte, 65))} {
			r.set(Report{Version: bad, Capacity: 7}, nil, false)
			time.Sleep(time.Second)
			synctest.Wait()
			if got := s.Health()[appID]; got.Room != 7 || s.apps[appID].health.version() != "" {
				t.Errorf("%q passes as a version", bad)
			}
		}
	})
}
