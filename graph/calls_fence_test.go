package graph

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// F13: a lease that ends between the first question and the wire (a dial, a
// handshake, a paused process) keeps the answer at home.
func TestF13_ThePermitIsAskedOnceMoreBeforeTheWire(t *testing.T) {
	var answers atomic.Int32
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"access_token":"t","token_type":"Bearer","expires_in":3600}`))
			return
		}
		if _, err := io.ReadAll(r.Body); err != nil {
			return // half a request is no action
		}
		answers.Add(1)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer far.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	calls, err := NewCalls(Config{BaseURL: far.URL, TokenURL: far.URL + "/token", ClientID: "app", ClientSecretFile: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer calls.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	lost := errors.New("the lease is over")
	asked := 0
	err = calls.Answer(ctx, "abc", AnswerPayload{CallbackURI: "https://bot.example.com/x", With: []byte(`{}`)}, Permit{Check: func() error {
		if asked++; asked > 1 {
			return lost
		}
		return nil
	}})
	if !errors.Is(err, lost) {
		t.Errorf("an answer whose permit was withdrawn ended with %v", err)
	}
	if n := answers.Load(); n != 0 {
		t.Errorf("%d answers reached Graph after the permit was withdrawn", n)
	}
	if err := calls.Answer(ctx, "abc", AnswerPayload{CallbackURI: "https://bot.example.com/x", With: []byte(`{}`)}, Permit{Check: func() error { return nil }}); err != nil {
		t.Errorf("with its permit the answer failed: %v", err)
	}
	if n := answers.Load(); n != 1 {
		t.Errorf("Graph saw %d answers, want one", n)
	}
}
