package federation

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// doorsOf answers by the host that is asked, and remembers who was.
type doorsOf struct {
	mu    sync.Mutex
	at    map[string]func(*http.Request) (*http.Response, error)
	asked map[string]int
}

func (d *doorsOf) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/stream") {
		return says(404, "")(r) // older software has none
	}
	d.mu.Lock()
	d.asked[r.URL.Host]++
	f := d.at[r.URL.Host]
	d.mu.Unlock()
	if f == nil {
		return refuses(r)
	}
	return f(r)
}

func (d *doorsOf) set(host string, f func(*http.Request) (*http.Response, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at[host] = f
}

func (d *doorsOf) times(host string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[host]
}

// tells is a summary of amer with the admin doors of its nodes.
func tells(version int, doors ...string) func(*http.Request) (*http.Response, error) {
	return says(200, fmt.Sprintf(`{"region":"amer","nodes":3,"live":%d,"capacity":150,"table_version":%d,"healthy":true,"doors":["%s"]}`, version, version, strings.Join(doors, `","`)))
}

func doorsWorld(t *testing.T, d *doorsOf, admin ...string) *Regions {
	t.Helper()
	w, err := Start(t.Context(), Config{Self: "emea", Transport: d, Regions: []Region{{Name: "amer", URL: amer.URL, AdminURLs: admin, Token: "canary-token"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	synctest.Wait()
	return w
}

func newDoors() *doorsOf {
	return &doorsOf{at: map[string]func(*http.Request) (*http.Response, error){}, asked: map[string]int{}}
}

// TestO21_OneDeadNodeIsNotItsRegion: the region tells of its nodes' doors, so it stays
// up while one of them answers, whichever the configuration names.
func TestO21_OneDeadNodeIsNotItsRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, all := newDoors(), []string{"https://10.1.0.1:8470", "https://10.1.0.2:8470", "https://10.1.0.3:8470"}
		for i, u := range all {
			d.set(u[len("https://"):], tells(70+i, all...))
		}
		w := doorsWorld(t, d, all[0])
		after(time.Second)
		if got := w.Regions()[0]; !got.Healthy || got.Partial || got.Error != "" || got.TableVersion != 72 {
			t.Fatalf("all well: %+v", got)
		}
		d.set("10.1.0.1:8470", hangs) // the node that the configuration names
		after(10 * time.Second)
		got := w.Regions()[0]
		if !got.Healthy || got.Partial || got.Live != 72 || !strings.Contains(got.Error, "1 of its 3 doors did not answer") || time.Since(got.AsOf) > 2*time.Second {
			t.Errorf("one dead: %+v", got)
		}
		d.set("10.1.0.2:8470", says(200, `{"region":"amer","nodes":3,"live":1,"table_version":99,"healthy":false,"doors":["https://10.1.0.2:8470"]}`)) // cut off from its region
		after(10 * time.Second)
		if got = w.Regions()[0]; !got.Healthy || got.Live != 72 {
			t.Errorf("one dead, one cut off: %+v", got)
		}
		d.set("10.1.0.3:8470", refuses)
		after(4 * time.Second)
		if got = w.Regions()[0]; got.Healthy {
			t.Errorf("nobody is well: %+v", got)
		}
		d.set("10.1.0.2:8470", refuses)
		after(4 * time.Second)
		if got = w.Regions()[0]; got.Healthy || !got.Partial || !strings.Contains(got.Error, "none of its 3 doors answered") {
			t.Errorf("all dead: %+v", got)
		}
		d.set("10.1.0.3:8470", tells(80, all...))
		after(2 * time.Second) // two others hang for a second of each round
		if got = w.Regions()[0]; !got.Healthy || got.Live != 80 {
			t.Errorf("one is back: %+v", got)
		}
	})
}

// TestLearntDoors: new nodes are asked, old ones no longer; what is there instead of
// an admin door is no sign of life.
func TestLearntDoors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoors()
		d.set("a.example", tells(1, "https://a.example", "https://b.example/"))
		d.set("b.example", says(404, "a bakery"))
		w := doorsWorld(t, d, "https://a.example/")
		after(30 * time.Second)
		a, b := d.times("a.example"), d.times("b.example")
		after(3 * time.Second)
		if d.times("b.example") != b+3 || d.times("a.example") != a+3 {
			t.Errorf("asked %v, before that %d and %d times", d.asked, a, b)
		}
		d.set("a.example", refuses)
		after(4 * time.Second)
		if got := w.Regions()[0]; got.Healthy {
			t.Errorf("a bakery counts as a region: %+v", got)
		}
		d.set("a.example", tells(1, "https://c.example"))
		after(3 * time.Second)
		b, c := d.times("b.example"), d.times("c.example")
		after(3 * time.Second)
		if d.times("b.example") != b || d.times("c.example") <= c {
			t.Errorf("asked %v", d.asked)
		}
		many := make([]string, 100)
		for i := range many {
			many[i] = fmt.Sprintf("https://n%d.example", i)
		}
		d.set("a.example", tells(1, many...))
		after(2 * time.Second)
		if len(d.asked) > 3+maxDoors {
			t.Errorf("%d doors were asked", len(d.asked))
		}
	})
}

// TestARegionThatIsBeingBuilt: its nodes come one after the other, and the one that
// the configuration names goes soon afterwards.
func TestARegionThatIsBeingBuilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoors()
		d.set("a.example", tells(1, "https://a.example"))
		w := doorsWorld(t, d, "https://a.example")
		after(300 * time.Millisecond)
		d.set("b.example", tells(2, "https://a.example", "https://b.example"))
		d.set("a.example", tells(2, "https://a.example", "https://b.example"))
		after(250 * time.Millisecond)
		d.set("a.example", refuses)
		for range 20 {
			after(time.Second)
			if !w.Healthy("amer") {
				t.Fatalf("%+v", w.Regions()[0])
			}
		}
		// Questions in between count no misses.
		d.set("b.example", tells(3, "https://a.example", "https://b.example", "https://c.example"))
		after(1050 * time.Millisecond)
		d.set("b.example", refuses)
		after(1500 * time.Millisecond)
		if !w.Healthy("amer") {
			t.Error("down after two rounds")
		}
		after(2 * time.Second)
		if w.Healthy("amer") {
			t.Error("up after four bad rounds")
		}
	})
}

// TestToldAddressesThatAreNotAsked: the token goes only where the configuration's
// own doors would be taken, too.
func TestToldAddressesThatAreNotAsked(t *testing.T) {
	for _, c := range []struct {
		teller, told string
		want         bool
	}{
		{"https://10.1.0.1:8470", "https://10.1.0.2:8470", true},
		{"https://amer.example", "https://node.example/", true},
		{"http://127.0.0.1:8470", "http://127.0.0.1:9470", true},
		{"http://127.0.0.1:8470", "http://[::1]:9470", true},
		{"http://localhost:8470", "http://a.localhost:9470", false}, // a name that DNS may give to anybody,
		{"https://10.1.0.1:8470", "http://10.1.0.2:8470", false},
		{"https://10.1.0.1:8470", "http://127.0.0.1:8470", false},
		{"https://10.1.0.1:8470", "https://127.0.0.1:8470", false}, // would be ourselves
		{"https://10.1.0.1:8470", "https://localhost:8470", false},
		{"https://10.1.0.1:8470", "https://0.0.0.0:8470", false},
		{"https://10.1.0.1:8470", "https://[::]:8470", false},
		{"https://10.1.0.1:8470", "https://169.254.169.254", false},
		{"http://127.0.0.1:8470", "http://10.1.0.2:8470", false},
		{"http://10.1.0.1:8470", "http://10.1.0.2:8470", false},
		{"https://10.1.0.1:8470", "https://user@10.1.0.2", false},
		{"https://10.1.0.1:8470", "https://10.1.0.2/?x=1", false},
		{"https://10.1.0.1:8470", "https://10.1.0.2/path", false},
		{"https://10.1.0.1:8470", "file:///etc/passwd", false},
		{"https://10.1.0.1:8470", "", false},
	} {
		if got := mayAsk(c.teller, c.told); got != c.want {
			t.Errorf("%s tells of %q: asked is %v", c.teller, c.told, got)
		}
	}
}

// TestANameWithSeveralAddresses: each is a door of its own.
func TestANameWithSeveralAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoors()
		d.set("amer-admin.example", summary(7, true))
		var failing atomic.Bool
		w, err := Start(t.Context(), Config{
			Self: "emea", Transport: d, Regions: []Region{amer},
			Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
				if host != "amer-admin.example" || failing.Load() {
					return nil, errors.New("no such host")
				}
				return []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("::ffff:10.1.0.1")}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		synctest.Wait()
		if d.times("amer-admin.example") != 2 {
			t.Errorf("asked %v", d.asked)
		}
		failing.Store(true)
		after(20 * time.Second)
		if n := d.times("amer-admin.example"); n != 42 || !w.Healthy("amer") {
			t.Errorf("asked %d times; without a resolver the addresses are gone", n)
		}
	})
}

// TestEachAddressIsDialled takes real servers behind one name.
func TestEachAddressIsDialled(t *testing.T) {
	hosts := make(chan string, 100)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts <- r.Host
		fmt.Fprint(w, `{"region":"amer","nodes":3,"healthy":true}`)
	}))
	srv.Listener = ln
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Start(t.Context(), Config{
		Self: "emea", Interval: time.Millisecond,
		Regions: []Region{{Name: "amer", URL: "https://amer.example", AdminURL: "https://amer.example.com:" + port, CAFile: ca}},
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.9")}, nil // nobody listens at the second
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := awaitLook(t, w, "one of two answers", func(s Summary) bool { return s.Healthy })
	if !strings.Contains(s.Error, "1 of its 2 doors did not answer") || s.Nodes != 3 {
		t.Errorf("%+v", s)
	}
	if h := <-hosts; h != "amer.example.com:"+port {
		t.Errorf("asked as %s", h)
	}
}
