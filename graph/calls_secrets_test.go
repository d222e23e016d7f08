package graph

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
)

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
	if err := os.WriteFile(large, []byte(strings.Repeat("x", (4<<10)+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"", empty + "-missing", empty, large} {
		if _, err := NewCalls(Config{BaseURL: "https://graph.example", TokenURL: "https://login.example", ClientID: "a", ClientSecretFile: file}); err == nil {
			t.Errorf("client_secret_file %q was accepted", file)
		}
	}
}
