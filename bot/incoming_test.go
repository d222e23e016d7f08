package bot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

func TestIncomingRouterAnswersThenTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByRouter, nil)
		s.graph.answer = func(int) error { time.Sleep(2 * time.Second); return nil }
		start := time.Now()
		r, err := s.Incoming(t.Context(), incoming("m1"))
		if err != nil || r.Status != 202 || len(r.Body) != 0 || time.Since(start) != 0 {
			t.Fatalf("Incoming: %+v, %v after %v, want 202 at once", r, err, time.Since(start))
		}
		// A later notification that overtakes the answer waits for it.
		if r, err := s.Update(t.Context(), update("m2")); err != nil || r.Status != 200 {
			t.Fatalf("Update: %+v, %v", r, err)
		}
		synctest.Wait()
		if got, want := s.bot.words(), []string{"incoming m1", "update m2"}; !slices.Equal(got, want) {
			t.Errorf("the bot was handed %q, want %q", got, want)
		}
		if a := s.graph.answered(); len(a) != 1 || a[0].CallbackURI != ourURI || string(a[0].With) != string(answerWith) {
			t.Errorf("answers: %+v", a)
		}
		if s.graph.epochs[0] != 3 {
			t.Errorf("the answer went out at epoch %d, want 3", s.graph.epochs[0])
		}
		if got := s.ledger.records(); !slices.Equal(got, []string{"answered 3"}) {
			t.Errorf("records: %q", got)
		}
		if !strings.Contains(s.logs.String(), `"op":"answer"`) || !strings.Contains(s.logs.String(), `"epoch":3`) {
			t.Errorf("the answer's log line has no epoch: %s", s.logs)
		}
	})
}

func TestIncomingRepeats(t *testing.T) {
	for _, by := range []AnswerBy{AnswerByRouter, AnswerByBot} {
		t.Run(string(by), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, by, nil)
				s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
					time.Sleep(time.Second)
					return ownership.Reply{Status: 200, Body: []byte("mine")}, nil
				}
				var wg sync.WaitGroup
				replies := map[string]ownership.Reply{}
				var mu sync.Mutex
				for i, m := range []string{"m1", "m1", "m2", "m3"} {
					time.Sleep(time.Millisecond)
					wg.Go(func() {
						r, err := s.Incoming(t.Context(), incoming(m))
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						defer mu.Unlock()
						replies[m+string(rune('a'+i))] = r
					})
				}
				wg.Wait()
				synctest.Wait()
				time.Sleep(2 * time.Second)
				if n := len(s.bot.handed()); n != 1 {
					t.Errorf("the bot was handed %d, want 1: %q", n, s.bot.words())
				}
				if by == AnswerByRouter {
					if n := len(s.graph.answered()); n != 1 {
						t.Errorf("%d answers, want 1", n)
					}
					return
				}
				for name, want := range map[string]string{"m1a": "mine", "m1b": "mine", "m2c": "", "m3d": ""} {
					if got := replies[name]; string(got.Body) != want || (want == "" && got.Status != 202) {
						t.Errorf("%s: %d %q, want body %q", name, got.Status, got.Body, want)
					}
				}
			})
		})
	}
}

func TestIncomingInstructions(t *testing.T) {
	tests := []struct {
		name, body string
		noGraph    bool
		wantErr    error
		want       ownership.Reply // with the zero status: 202 without a body
		answers    int
		rejects    []graph.RejectPayload
		records    []string
	}{
		{name: "empty: the bot answers itself", want: ownership.Reply{Status: 200}},
		{name: "other JSON passes through", body: `{"hello":1}`, want: ownership.Reply{Status: 200, Body: []byte(`{"hello":1}`)}},
		{name: "text passes through", body: `{answer`, want: ownership.Reply{Status: 200, Body: []byte(`{answer`)}},
		{name: "answer", body: ` {"answer":{"acceptedModalities":["audio"],"mediaConfig":{}}}`, answers: 1, records: []string{"answered 3"}},
		{name: "reject", body: `{"reject":{"reason":"busy"}}`, rejects: []graph.RejectPayload{{Reason: "busy", CallbackURI: ourURI}},
			records: []string{"release 3 rejected at the bot's word"}},
		{name: "both", body: `{"answer":{},"reject":{}}`, wantErr: ErrReply},
		{name: "answer is a number", body: `{"answer":5}`, wantErr: ErrReply},
		{name: "answer is null", body: `{"answer":null}`, wantErr: ErrReply},
		{name: "reject is null", body: `{"reject":null}`, wantErr: ErrReply},
		{name: "reject is text", body: `{"reject":"busy"}`, wantErr: ErrReply},
		{name: "reject for an unknown reason", body: `{"reject":{"reason":"angry"}}`, wantErr: ErrReply},
		{name: "answer without credentials", body: `{"answer":{}}`, noGraph: true, wantErr: ErrReply},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByBot, func(c *Config) {
					if tt.noGraph {
						c.Apps[0].Graph = nil
					}
				})
				s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
					return ownership.Reply{Status: 200, Body: []byte(tt.body)}, nil
				}
				r, err := s.Incoming(t.Context(), incoming("m1"))
				synctest.Wait()
				if !errors.Is(err, tt.wantErr) {
					t.Fatalf("error %v, want %v", err, tt.wantErr)
				}
				if tt.wantErr == nil {
					if tt.want.Status == 0 {
						tt.want.Status = 202
					}
					if r.Status != tt.want.Status || string(r.Body) != string(tt.want.Body) {
						t.Errorf("reply %d %q, want %d %q", r.Status, r.Body, tt.want.Status, tt.want.Body)
					}
				}
				if n := len(s.graph.answered()); n != tt.answers {
					t.Errorf("%d answers, want %d", n, tt.answers)
				}
				if !slices.Equal(s.graph.rejects, tt.rejects) {
					t.Errorf("rejects %+v, want %+v", s.graph.rejects, tt.rejects)
				}
				if got := s.ledger.records(); !slices.Equal(got, tt.records) {
					t.Errorf("records %q, want %q", got, tt.records)
				}
			})
		})
	}
}

// TestANewCallAsksTheTableOnce: beside that there are three fences, before the promise
// to the cloud, before the hand-over and before the answer at Graph.
func TestANewCallAsksTheTableOnce(t *testing.T) {
	for by, fences := range map[AnswerBy]int{AnswerByRouter: 3, AnswerByBot: 2} {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, by, nil)
			s.ledger.finds, s.ledger.fences = 0, 0
			if r, err := s.Incoming(t.Context(), incoming("m1")); err != nil || r.Status/100 != 2 {
				t.Fatalf("Incoming: %+v, %v", r, err)
			}
			synctest.Wait()
			s.ledger.mu.Lock()
			defer s.ledger.mu.Unlock()
			if s.ledger.finds != 1 || s.ledger.fences != fences {
				t.Errorf("answer: %s: the table is asked %d times and stands before %d effects, want 1 and %d", by, s.ledger.finds, s.ledger.fences, fences)
			}
		})
	}
}

// The bot fails: nothing is recorded, and the cloud's retry is delivered.
func TestIncomingBotFails(t *testing.T) {
	tests := []struct {
		name   string
		script func(ctx context.Context) (ownership.Reply, error)
		want   error
		status int
	}{
		{"unreachable", func(context.Context) (ownership.Reply, error) { return ownership.Reply{}, errDown }, ErrUnreachable, 0},
		{"too slow", func(ctx context.Context) (ownership.Reply, error) {
			<-ctx.Done()
			return ownership.Reply{}, ctx.Err()
		}, ErrTimeout, 0},
		{"panic", func(context.Context) (ownership.Reply, error) { panic("a bug") }, ErrReply, 0},
		{"redirect", func(context.Context) (ownership.Reply, error) { return ownership.Reply{Status: 302}, nil }, ErrReply, 0},
		{"no status", func(context.Context) (ownership.Reply, error) { return ownership.Reply{}, nil }, ErrReply, 0},
		{"500 passes through", func(context.Context) (ownership.Reply, error) { return ownership.Reply{Status: 500}, nil }, nil, 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByBot, nil)
				s.bot.script = func(ctx context.Context, n int, _ ownership.HandOver) (ownership.Reply, error) {
					if n == 1 {
						return tt.script(ctx)
					}
					return ownership.Reply{Status: 200}, nil
				}
				r, err := s.Incoming(t.Context(), incoming("m1"))
				if !errors.Is(err, tt.want) || r.Status != tt.status {
					t.Fatalf("%d, %v, want %d, %v", r.Status, err, tt.status, tt.want)
				}
				if r, err := s.Incoming(t.Context(), incoming("m1")); err != nil || r.Status != 200 {
					t.Errorf("the retry: %d, %v, want 200", r.Status, err)
				}
				if n := len(s.ledger.records()); n != 0 {
					t.Errorf("records %q, want none", s.ledger.records())
				}
			})
		})
	}
}

// With answer: router the 202 is out when the bot fails, so the dispatcher itself
// tries again, and later notifications stay behind.
func TestIncomingRouterTellsUntilTheBotTakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByRouter, nil)
		s.bot.script = func(_ context.Context, n int, h ownership.HandOver) (ownership.Reply, error) {
			switch {
			case h.Event == ownership.EventIncoming && n == 1:
				return ownership.Reply{}, errDown
			case h.Event == ownership.EventIncoming && n == 2:
				return ownership.Reply{Status: 503}, nil
			}
			return ownership.Reply{Status: 200}, nil
		}
		if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Update(t.Context(), update("m2")); err != nil {
			t.Fatal(err)
		}
		if got, want := s.bot.words(), []string{"incoming m1", "incoming m1", "incoming m1", "update m2"}; !slices.Equal(got, want) {
			t.Errorf("the bot was handed %q, want %q", got, want)
		}
		if n := len(s.graph.answered()); n != 1 {
			t.Errorf("%d answers, want 1", n)
		}
	})
}

func TestIncomingFence(t *testing.T) {
	t.Run("no lease: nothing is promised", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByRouter, nil)
			s.ledger.hold(0)
			if _, err := s.Incoming(t.Context(), incoming("m1")); !errors.Is(err, ownership.ErrFenced) {
				t.Errorf("%v, want ErrFenced", err)
			}
			synctest.Wait()
			if len(s.graph.answered())+len(s.bot.handed()) != 0 {
				t.Error("it acted without the lease")
			}
			s.ledger.hold(3) // the cloud's retry finds the lease again
			if r, err := s.Incoming(t.Context(), incoming("m1")); err != nil || r.Status != 202 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	})
	for name, back := range map[string]ownership.Epoch{"it comes back": 3, "the partition moves": 4} {
		t.Run("lost between two attempts, "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByRouter, nil)
				s.graph.answer = func(n int) error {
					if n == 1 { // Graph's client asks the permit again before its next attempt
						s.ledger.hold(0)
						return ownership.ErrFenced
					}
					return nil
				}
				if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Second)
				s.ledger.hold(back)
				time.Sleep(20 * time.Second)
				synctest.Wait()
				answers, records := len(s.graph.answered()), s.ledger.records()
				if back == 3 && (answers != 2 || !slices.Equal(records, []string{"answered 3"}) || len(s.bot.handed()) != 1) {
					t.Errorf("%d answers, records %q, want the second attempt to count", answers, records)
				}
				if back == 4 && (answers != 1 || len(records) != 0 || len(s.bot.handed()) != 0) {
					t.Errorf("%d answers, records %q, want it left to the new owner", answers, records)
				}
			})
		})
	}
}

func TestAnswerRefused(t *testing.T) {
	remote := func(state, uri string) func() (graph.Remote, error) {
		return func() (graph.Remote, error) { return graph.Remote{State: state, CallbackURI: uri}, nil }
	}
	gone := func() (graph.Remote, error) { return graph.Remote{}, refusal(graph.ErrGone, 404, false) }
	down := func() (graph.Remote, error) { return graph.Remote{}, refusal(graph.ErrRetryable, 503, false) }
	answered := []string{"answered 3"}
	tests := []struct {
		name    string
		err     error
		get     func() (graph.Remote, error)
		records []string // a release is compared by its start
		told    int
	}{
		{"ended before", refusal(graph.ErrGone, 404, false), nil, []string{"release 3 it had ended"}, 0},
		{"another region won", refusal(graph.ErrRefused, 409, false), remote("established", otherURI), []string{"release 3 lost"}, 0},
		{"another won, Graph does not say who", refusal(graph.ErrRefused, 409, false), remote("established", ""), []string{"release 3 lost"}, 0},
		{"our own first answer won", refusal(graph.ErrRefused, 409, true), remote("Established", ourURI), answered, 1},
		{"our own first answer won, Graph does not say", refusal(graph.ErrRefused, 409, true), remote("establishing", ""), answered, 1},
		{"an attempt of unknown fate, another region won", refusal(graph.ErrRefused, 409, true), remote("established", otherURI), []string{"release 3 lost"}, 0},
		{"bad request, still ringing", refusal(graph.ErrRefused, 400, false), remote("incoming", ""), []string{"release 3 not answered"}, 0},
		{"not in time, and over", refusal(graph.ErrRetryable, 503, true), gone, []string{"release 3 it had ended"}, 0},
		{"not in time, nobody knows", refusal(graph.ErrRetryable, 503, true), down, nil, 0},
		{"never got out, nobody knows", refusal(graph.ErrRetryable, 0, false), down, []string{"release 3 not answered"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByRouter, nil)
				s.graph.answer = func(int) error { return tt.err }
				s.graph.get = tt.get
				if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				got := s.ledger.records()
				if len(got) != len(tt.records) || (len(got) > 0 && !strings.HasPrefix(got[0], tt.records[0])) {
					t.Errorf("records %q, want %q", got, tt.records)
				}
				if n := len(s.bot.handed()); n != tt.told {
					t.Errorf("the bot was handed %d, want %d", n, tt.told)
				}
				// A repeat may not start a second answer.
				if r, err := s.Incoming(t.Context(), incoming("m9")); err != nil || r.Status != 202 {
					t.Errorf("a repeat: %+v, %v", r, err)
				}
				synctest.Wait()
				if n := len(s.graph.answered()); n != 1 {
					t.Errorf("%d answers, want 1", n)
				}
			})
		})
	}
}
