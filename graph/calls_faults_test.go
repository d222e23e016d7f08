package graph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
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

// A far side that echoes all it gets must not carry secrets into our texts.
func TestB110_SecretsStayOutOfErrorsLogsAndMetrics(t *testing.T) {
	echo := func(status int) func(int, *http.Request) (*http.Response, error) {
		return func(_ int, r *http.Request) (*http.Response, error) {
			token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			return reply(status, `{"error":{"code":"`+token+`","message":"`+token+`"},"secret":"`+token+`"}`, "X-Token", token), nil
		}
	}
	var texts strings.Builder
	for _, status := range []int{400, 401, 403, 404, 429, 500, 302} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeGraph{api: echo(status)}
			c, l, reg := newTestCalls(t, f)
			err := c.Answer(t.Context(), callID, AnswerPayload{CallbackURI: callbackURI}, Permit{})
			fmt.Fprintf(&texts, "%v %+v %#v %s", err, err, err, l)
			families, _ := reg.Gather()
			for _, m := range families {
				fmt.Fprint(&texts, m.String())
			}
			if !strings.Contains(f.asked[0], secretCanary) {
				t.Error("the canary was never sent: the test proves nothing")
			}
		})
	}
	for _, status := range []int{200, 400, 401, 500} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeGraph{api: always(200, ""), token: func(int, *http.Request) (*http.Response, error) {
				return reply(status, `{"error":"`+secretCanary+`","error_description":"`+secretCanary+`"}`), nil
			}}
			c, l, _ := newTestCalls(t, f)
			err := c.KeepAlive(t.Context(), callID, Permit{})
			if err == nil {
				t.Error("no token and no error")
			}
			fmt.Fprintf(&texts, "%v %+v %s", err, err, l)
		})
	}
	for _, canary := range []string{secretCanary, tokenCanary} {
		if i := strings.Index(texts.String(), canary); i >= 0 {
			t.Errorf("%s in: …%s", canary, texts.String()[max(0, i-200):i+len(canary)])
		}
	}
}

func TestB111_WorldReadableSecret(t *testing.T) {
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true} {
		var l bytes.Buffer
		_, err := NewCalls(Config{BaseURL: "https://graph.example", TokenURL: "https://login.example/token", ClientID: "a",
			ClientSecretFile: secretFile(t, mode), Logger: slog.New(slog.NewTextHandler(&l, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(l.String(), "chmod"); got != want {
			t.Errorf("mode %o: warned is %t, want %t", mode, got, want)
		}
		if strings.Contains(l.String(), secretCanary) {
			t.Errorf("the warning holds the secret: %s", l.String())
		}
	}
}

// Neither the bearer token nor the client secret follows a redirect, and both
// go to addresses of the configuration only.
func TestB112_Outbound(t *testing.T) {
	t.Run("redirects are not followed", func(t *testing.T) {
		thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			t.Errorf("%s %s arrived at another server", r.Method, r.URL)
		}))
		defer thief.Close()
		for _, status := range []int{301, 302, 303, 307, 308} {
			redirectToken := false
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" && !redirectToken {
					w.Header().Set("Content-Type", "application/json")
					_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, tokenCanary)
					return
				}
				w.Header().Set("Location", thief.URL)
				w.WriteHeader(status)
			}))
			for _, redirectToken = range []bool{false, true} {
				c, err := NewCalls(Config{BaseURL: srv.URL, TokenURL: srv.URL + "/token", ClientID: "a", ClientSecretFile: secretFile(t, 0o600)})
				if err != nil {
					t.Fatal(err)
				}
				if err := c.KeepAlive(t.Context(), callID, Permit{}); !errors.Is(err, ErrRefused) {
					t.Errorf("%d, token endpoint %t: %v, want ErrRefused", status, redirectToken, err)
				}
				c.Close()
			}
			srv.Close()
		}
	})
	t.Run("addresses", func(t *testing.T) {
		for address, want := range map[string]bool{
			"https://graph.microsoft.com/v1.0":   true,
			"http://127.0.0.1:9000/v1.0":         true,
			"http://[::1]:9000":                  true,
			"http://localhost:9000":              true,
			"http://graph.microsoft.com":         false,
			"http://127.0.0.1.evil.example":      false,
			"http://10.0.0.1":                    false,
			"https://user:pw@graph.example":      false,
			"https://graph.example/?x=1":         false,
			"https://graph.example/#x":           false,
			"file:///etc/passwd":                 false,
			"graph.microsoft.com":                false,
			"":                                   false,
			"https://":                           false,
			"https:graph.example":                false,
			"https://graph.example/%zz" + "pw99": false,
		} {
			file := secretFile(t, 0o600)
			_, err := NewCalls(Config{BaseURL: address, TokenURL: "https://login.example/t", ClientID: "a", ClientSecretFile: file})
			if (err == nil) != want {
				t.Errorf("base_url %q: %v, want accepted %t", address, err, want)
			}
			if err != nil && strings.Contains(err.Error(), "pw") {
				t.Errorf("the refusal repeats the address: %v", err)
			}
			if _, err := NewCalls(Config{BaseURL: "https://graph.example", TokenURL: address, ClientID: "a", ClientSecretFile: file}); (err == nil) != want {
				t.Errorf("token_url %q: %v, want accepted %t", address, err, want)
			}
		}
	})
}

func TestSecretFileMustHoldASecret(t *testing.T) {
	empty := secretFile(t, 0o600)
	if err := os.WriteFile(empty, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := secretFile(t, 0o600)
	if err := os.WriteFile(large, []byte(strings.Repeat("x", maxSecret+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"", empty + "-missing", empty, large} {
		if _, err := NewCalls(Config{BaseURL: "https://graph.example", TokenURL: "https://login.example", ClientID: "a", ClientSecretFile: file}); err == nil {
			t.Errorf("client_secret_file %q was accepted", file)
		}
	}
}
