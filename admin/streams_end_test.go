package admin

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// follower is the connection of one stream: what came through, and whether the
// door has broken it off.
type follower struct {
	http.ResponseWriter
	mu     sync.Mutex
	text   strings.Builder
	broken chan struct{}
}

func (f *follower) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.Write(p)
}
func (f *follower) Flush()                           {}
func (f *follower) SetWriteDeadline(time.Time) error { return nil }
func (f *follower) got() string                      { f.mu.Lock(); defer f.mu.Unlock(); return f.text.String() }

// ended reports whether the stream is over.
func (f *follower) ended() bool {
	synctest.Wait()
	select {
	case <-f.broken:
		return true
	default:
		return false
	}
}

// follow opens a stream at the door, through no network, so that time is the
// test's.
func follow(t *testing.T, d *Door, path, header string) *follower {
	t.Helper()
	f := &follower{ResponseWriter: httptest.NewRecorder(), broken: make(chan struct{})}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, nil)
	name, value, _ := strings.Cut(header, ": ")
	r.Header.Set(name, value)
	go func() {
		defer close(f.broken)
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
		}()
		d.ServeHTTP(f, r)
	}()
	return f
}

// TestStreamsEndWithTheirToken: whether a token is revoked, expires or leaves the
// file, the streams that it opened tell nothing more and end with the next beat,
// at the API as in the console.
func TestStreamsEndWithTheirToken(t *testing.T) {
	t.Parallel()
	const secret = "canary-of-a-follower"
	for how, end := range map[string]func(*testing.T, *fake, *Door, string){
		"revoked": func(_ *testing.T, f *fake, _ *Door, _ string) {
			_ = f.applyToken(ownership.RevokeToken{Name: "ci"}) // it is there
		},
		"expired": func(*testing.T, *fake, *Door, string) { time.Sleep(time.Hour) },
		"taken out of the file": func(t *testing.T, _ *fake, d *Door, file string) {
			if err := os.WriteFile(file, []byte(tokensYAML()), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := d.ReloadTokens(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, busy := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				file := t.TempDir() + "/tokens.yaml"
				text, hash := tokensYAML(), HashToken(secret)
				f := newFake()
				if strings.Contains(how, "file") {
					text += "  - {name: ci, roles: [operate], sha256: " + hash + "}\n"
				} else {
					token := ownership.DoorToken{Name: "ci", Hash: sha256.Sum256([]byte(secret)), Roles: []string{"read"}, Expires: time.Now().Add(time.Hour)}
					if err := f.applyToken(ownership.GrantToken{Token: token}); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				d, err := New(Config{TokensFile: file, Loopback: true}, Deps{Table: f, Journal: f, Cluster: f})
				if err != nil {
					t.Fatal(err)
				}
				streams := map[string]*follower{
					"the API's":     follow(t, d, "/v1/events", "Authorization: Bearer "+secret),
					"the console's": follow(t, d, "/console/stream", "Cookie: tandem_session="+d.sessions.begin(visitor{Whoami: api.Whoami{Name: "ci"}, hash: sha256.Sum256([]byte(secret))})),
				}
				f.tell(history.Event{Kind: "claimed", Text: "before"})
				time.Sleep(3 * eventBeat)
				for name, s := range streams {
					if s.ended() || !strings.Contains(s.got(), "before") || !strings.Contains(s.got(), ":\n\n") {
						t.Fatalf("%s stream before its token is %s: %q", name, how, s.got())
					}
				}
				end(t, f, d, file)
				if busy {
					f.tell(history.Event{Kind: "claimed", Text: "after"})
				} else {
					time.Sleep(eventBeat)
				}
				for name, s := range streams {
					if !s.ended() || strings.Contains(s.got(), "after") {
						t.Errorf("%s stream after its token was %s (an event comes: %v): ended %v, %q", name, how, busy, s.ended(), s.got())
					}
				}
				d.Close()
				if n := d.streams.open; n != 0 {
					t.Errorf("%d places of ended streams are taken", n)
				}
			})
		}
	}
}
