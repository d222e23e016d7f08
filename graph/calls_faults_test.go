package graph

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Graph misbehaves; the answer is tried again inside the call's clock, always
// with the same bytes, and stops when the clock does.
func TestF41_GraphMisbehaves(t *testing.T) {
	ok := func() (*http.Response, error) { return reply(202, ""), nil }
	tests := []struct {
		name     string
		deadline time.Duration
		api      func(n int, r *http.Request) (*http.Response, error)
		want     error // nil: answered
		attempts [2]int
		maybe    bool
	}{
		{"slow 30 s once", 15 * time.Second, func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return hang(r)
			}
			return ok()
		}, nil, [2]int{2, 2}, false},
		{"slow 30 s always", 15 * time.Second, func(_ int, r *http.Request) (*http.Response, error) { return hang(r) },
			ErrRetryable, [2]int{3, 9}, true},
		{"slow once on the recording clock", 5 * time.Second, func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return hang(r)
			}
			return ok()
		}, nil, [2]int{2, 2}, false},
		{"429 with seconds", 15 * time.Second, func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return reply(429, "", "Retry-After", "3"), nil
			}
			return ok()
		}, nil, [2]int{2, 2}, false},
		{"429 with a date", 15 * time.Second, func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return reply(429, "", "Retry-After", time.Now().Add(4*time.Second).UTC().Format(http.TimeFormat)), nil
			}
			return ok()
		}, nil, [2]int{2, 2}, false},
		{"429 without a time", 15 * time.Second, func(n int, _ *http.Request) (*http.Response, error) {
			if n < 4 {
				return reply(429, ""), nil
			}
			return ok()
		}, nil, [2]int{4, 4}, false},
		{"429 with 1000000000 s", 15 * time.Second, func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return reply(429, "", "Retry-After", "1000000000"), nil
			}
			return ok()
		}, nil, [2]int{2, 2}, false},
		{"429 with 1000000000 s always", 15 * time.Second, always(429, "", "Retry-After", "1000000000"),
			ErrRetryable, [2]int{2, 9}, false},
		{"5xx thrice", 15 * time.Second, func(n int, _ *http.Request) (*http.Response, error) {
			if n < 4 {
				return reply(500+n, `{"error":{"code":"down"}}`), nil
			}
			return ok()
		}, nil, [2]int{4, 4}, false},
		{"5xx always", 15 * time.Second, always(500, ""), ErrRetryable, [2]int{5, 30}, true},
		{"reset once", 15 * time.Second, func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return nil, errors.New("connection reset by peer")
			}
			return ok()
		}, nil, [2]int{2, 2}, false},
		{"reset, then refused", 15 * time.Second, func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return nil, errors.New("connection reset by peer")
			}
			return reply(409, ""), nil
		}, ErrRefused, [2]int{2, 2}, true},
		{"half a body of a 202", 15 * time.Second, func(int, *http.Request) (*http.Response, error) {
			res := reply(202, "")
			res.Body = brokenBody{strings.NewReader(`{"ha`)}
			return res, nil
		}, nil, [2]int{1, 1}, false},
		{"401 once", 15 * time.Second, func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return reply(401, ""), nil
			}
			return ok()
		}, nil, [2]int{2, 2}, false},
		{"401 always", 15 * time.Second, always(401, ""), ErrRefused, [2]int{2, 2}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeGraph{api: tt.api}
				c, _, _ := newTestCalls(t, f)
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				start := time.Now()
				err := c.Answer(ctx, callID, AnswerPayload{CallbackURI: callbackURI}, Permit{})
				if !errors.Is(err, tt.want) {
					t.Fatalf("Answer: %v, want %v", err, tt.want)
				}
				var ce *CallError
				if errors.As(err, &ce) && ce.Maybe != tt.maybe {
					t.Errorf("Maybe is %t, want %t: %v", ce.Maybe, tt.maybe, err)
				}
				if took := time.Since(start); took > tt.deadline {
					t.Errorf("it took %v, the clock is %v", took, tt.deadline)
				}
				sent := f.requests()
				if n := len(sent); n < tt.attempts[0] || n > tt.attempts[1] {
					t.Errorf("%d attempts, want %v", n, tt.attempts)
				}
				for i, s := range sent {
					if s.body != sent[0].body || s.requestID != sent[0].requestID {
						t.Errorf("attempt %d differs: %q %s, the first was %q %s", i+1, s.body, s.requestID, sent[0].body, sent[0].requestID)
					}
				}
			})
		})
	}
}

func TestF41_RetryAfterIsHonouredWhereThereIsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeGraph{api: func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return reply(429, "", "Retry-After", "5"), nil
			}
			return reply(202, ""), nil
		}}
		c, _, _ := newTestCalls(t, f)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		if err := c.Answer(ctx, callID, AnswerPayload{CallbackURI: callbackURI}, Permit{}); err != nil {
			t.Fatal(err)
		}
		sent := f.requests()
		if gap := sent[1].at.Sub(sent[0].at); gap < 5*time.Second || gap > 5500*time.Millisecond {
			t.Errorf("tried again after %v, asked were 5 s", gap)
		}
	})
}

func TestF42_TokenEndpointDownOrSlow(t *testing.T) {
	ctx := context.Background()
	get := func(c *Calls) error { return c.KeepAlive(ctx, callID, Permit{}) }

	t.Run("one fetch for many callers, cached until 5 min before its end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeGraph{api: always(200, ""), token: func(n int, _ *http.Request) (*http.Response, error) {
				time.Sleep(2 * time.Second)
				return tokenReply(fmt.Sprint("token", n), 3600), nil
			}}
			c, _, _ := newTestCalls(t, f)
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if err := get(c); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if n := f.fetches(); n != 1 {
				t.Errorf("%d fetches for 50 callers, want 1", n)
			}
			time.Sleep(54 * time.Minute)
			_ = get(c)
			if n := f.fetches(); n != 1 {
				t.Errorf("%d fetches before its last 5 min, want 1", n)
			}
			time.Sleep(2 * time.Minute)
			start := time.Now()
			_ = get(c) // renewal goes on behind: this caller does not wait
			if took := time.Since(start); took != 0 {
				t.Errorf("a caller waited %v for the renewal of a valid token", took)
			}
			time.Sleep(3 * time.Second)
			_ = get(c)
			sent := f.requests()
			if last := sent[len(sent)-1].authorization; f.fetches() != 2 || last != "Bearer token2" {
				t.Errorf("%d fetches, last token %q, want 2 and token2", f.fetches(), last)
			}
		})
	})

	t.Run("down during renewal: the old token serves to its end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeGraph{api: always(200, ""), token: func(n int, _ *http.Request) (*http.Response, error) {
				if n == 1 {
					return tokenReply(tokenCanary, 3600), nil
				}
				return nil, errors.New("no route to the endpoint")
			}}
			c, _, _ := newTestCalls(t, f)
			_ = get(c)
			time.Sleep(59*time.Minute + 50*time.Second)
			if err := get(c); err != nil {
				t.Errorf("with 10 s of life left: %v", err)
			}
			time.Sleep(11 * time.Second)
			short, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			before := f.fetches()
			err := c.KeepAlive(short, callID, Permit{})
			if !errors.Is(err, ErrRetryable) {
				t.Errorf("after its end: %v, want ErrRetryable", err)
			}
			var ce *CallError
			if errors.As(err, &ce) && ce.Maybe {
				t.Error("no request left, so nothing may have been carried out")
			}
			if n := f.fetches() - before; n > 7 {
				t.Errorf("%d fetches in 3 s, want no more than one each %v", n, fetchPause)
			}
		})
	})

	t.Run("slow for ever: the caller's deadline holds, and Close ends the fetch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeGraph{api: always(200, ""), token: func(_ int, r *http.Request) (*http.Response, error) { return hang(r) }}
			c, _, _ := newTestCalls(t, f)
			short, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			start := time.Now()
			if err := c.KeepAlive(short, callID, Permit{}); !errors.Is(err, ErrRetryable) {
				t.Errorf("%v, want ErrRetryable", err)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("it took %v, the deadline was 3 s", took)
			}
			if f.fetches() != 1 {
				t.Errorf("%d fetches, want 1", f.fetches())
			}
		})
	})

	t.Run("wrong credentials are not tried again", func(t *testing.T) {
		f := &fakeGraph{api: always(200, ""), token: func(int, *http.Request) (*http.Response, error) {
			return reply(401, `{"error":"invalid_client","error_description":"`+secretCanary+`"}`), nil
		}}
		c, l, _ := newTestCalls(t, f)
		err := get(c)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "invalid_client") || f.fetches() != 1 {
			t.Errorf("%v after %d fetches, want a refusal after one", err, f.fetches())
		}
		if strings.Contains(err.Error()+l.String(), secretCanary) {
			t.Errorf("the endpoint's words came through: %v", err)
		}
	})

	t.Run("a life shorter than 10 min is renewed at half of it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeGraph{api: always(200, ""), token: func(int, *http.Request) (*http.Response, error) { return tokenReply(tokenCanary, 60), nil }}
			c, _, _ := newTestCalls(t, f)
			_ = get(c)
			time.Sleep(29 * time.Second)
			_ = get(c)
			if f.fetches() != 1 {
				t.Errorf("%d fetches in the first half, want 1", f.fetches())
			}
			time.Sleep(2 * time.Second)
			_ = get(c)
			synctest.Wait()
			if f.fetches() != 2 {
				t.Errorf("%d fetches in the second half, want 2", f.fetches())
			}
		})
	})
}
