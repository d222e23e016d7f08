package federation

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// awaitLook returns the first state of the only region that passes, within 10 s.
func awaitLook(t *testing.T, w *Regions, what string, passes func(Summary) bool) Summary {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		if s := w.Regions()[0]; passes(s) {
			return s
		}
	}
	t.Fatalf("waiting until %s: it is %+v", what, w.Regions()[0])
	return Summary{}
}

// TestTokenAndCertificateFiles asks over TLS with a private authority and a
// token that is exchanged while the region is followed.
func TestTokenAndCertificateFiles(t *testing.T) {
	var want atomic.Value
	want.Store("Bearer first")
	door := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != want.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"region":"amer","nodes":3,"healthy":true}`)
	}))
	defer door.Close()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := file("ca", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: door.Certificate().Raw})))
	r := Region{Name: "amer", URL: door.URL, AdminURL: door.URL, TokenFile: file("token", "first\n"), CAFile: ca}
	w, err := Start(t.Context(), Config{Self: "emea", Interval: time.Millisecond, Timeout: 10 * time.Second, Regions: []Region{r}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	awaitLook(t, w, "it gives a summary", func(s Summary) bool { return s.Healthy && !s.Partial && s.Nodes == 3 })
	want.Store("Bearer second")
	awaitLook(t, w, "the old token is refused", func(s Summary) bool { return s.Healthy && strings.Contains(s.Error, "401") })
	file("token", "second\n")
	awaitLook(t, w, "the new token is read", func(s Summary) bool { return s.Healthy && !s.Partial })

	if err := os.Remove(r.TokenFile); err != nil {
		t.Fatal(err)
	}
	awaitLook(t, w, "F48 the missing token is told, and the region is up", func(s Summary) bool {
		return s.Healthy && s.Partial && strings.Contains(s.Error, "reading the token")
	})
	r.TokenFile, r.Token = "", "second"

	for name, bad := range map[string]Region{
		"no token file":       {Name: "amer", URL: door.URL, AdminURL: door.URL, TokenFile: filepath.Join(dir, "none")},
		"no certificate file": {Name: "amer", URL: door.URL, AdminURL: door.URL, CAFile: filepath.Join(dir, "none")},
		"no certificate":      {Name: "amer", URL: door.URL, AdminURL: door.URL, CAFile: file("empty", "")},
	} {
		if _, err := Start(t.Context(), Config{Self: "emea", Regions: []Region{bad}}); err == nil || !strings.Contains(err.Error(), `reading region "amer": reading the `) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	r.CAFile = ""
	stranger, err := Start(t.Context(), Config{Self: "emea", Interval: time.Millisecond, Timeout: 10 * time.Second, Regions: []Region{r}})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if s := awaitLook(t, stranger, "it was asked", func(s Summary) bool { return s.Error != "it was not asked yet" }); s.Healthy || !strings.Contains(s.Error, "certificate") {
		t.Errorf("an unknown authority gave %+v", s)
	}
}

// TestB112_TokenFollowsNoRedirect asks a real server over the room's own
// transport: the redirect's target must never hear from us.
func TestB112_TokenFollowsNoRedirect(t *testing.T) {
	var leaked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Add(1) }))
	defer elsewhere.Close()
	asked := make(chan string, 100)
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Authorization")
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}))
	defer door.Close()
	w, err := Start(t.Context(), Config{
		Self: "emea", Interval: time.Millisecond,
		Regions: []Region{{Name: "amer", URL: elsewhere.URL, AdminURL: door.URL, Token: "t"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := <-asked; got != "Bearer t" {
			t.Errorf("the door was asked with %q", got)
		}
	}
	w.Close()
	if leaked.Load() != 0 {
		t.Errorf("the redirect was followed %d times", leaked.Load())
	}
}

// TestEndlessAnswer: a door that never stops talking is read up to the limit.
func TestEndlessAnswer(t *testing.T) {
	finished := make(chan int, 1)
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent := 0
		for r.Context().Err() == nil {
			n, err := fmt.Fprint(w, "{\"region\":\"amer\",                                                   ")
			if sent += n; err != nil {
				break
			}
		}
		select {
		case finished <- sent:
		default:
		}
	}))
	defer door.Close()
	w, err := Start(t.Context(), Config{Self: "emea", Interval: time.Millisecond, Timeout: 2 * time.Second,
		Regions: []Region{{Name: "amer", URL: door.URL, AdminURL: door.URL}}})
	if err != nil {
		t.Fatal(err)
	}
	// What is on its way when we hung up lies in the kernel's buffers.
	if sent := <-finished; sent > 32<<20 {
		t.Errorf("%d bytes were taken of an answer of at most %d", sent, maxAnswer)
	}
	w.Close()
	if w.Healthy("amer") {
		t.Error("a region that talks without end is healthy")
	}
}

// TestCloseLeavesNoConnection: the door sees the connection end.
func TestCloseLeavesNoConnection(t *testing.T) {
	closed := make(chan struct{}, 100)
	door := httptest.NewUnstartedServer(http.NotFoundHandler())
	door.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
	door.Start()
	defer door.Close()
	w, err := Start(t.Context(), Config{Self: "emea", Interval: time.Hour, Timeout: 10 * time.Second, Regions: []Region{{Name: "amer", URL: door.URL}}})
	if err != nil {
		t.Fatal(err)
	}
	awaitLook(t, w, "the public door answers", func(s Summary) bool { return s.Healthy })
	w.Close()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection is still open 10 s after Close")
	}
}
