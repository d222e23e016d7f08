package admin

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
	"tandem/pass"
)

// TestTheSummaryIsStreamed: all of it first; then figures, twice a second and a quarter
// of a second after a change; and all of it again when a node or partition changes.
func TestTheSummaryIsStreamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		d, err := New(Config{Loopback: true}, Deps{Table: f, Journal: f, Cluster: f})
		if err != nil {
			t.Fatal(err)
		}
		s := follow(t, d, "/v1/summary/stream", "Accept: text/event-stream")
		seen := 0
		next := func(within time.Duration) string {
			t.Helper()
			time.Sleep(within) // of the bubble
			synctest.Wait()
			all := s.got()
			got := all[seen:]
			seen = len(all)
			return got
		}
		if got := next(0); strings.Count(got, "event:") != 1 || !strings.HasPrefix(got, "event: summary\ndata: {") || !strings.Contains(got, `"emea-3":[[7,1]`) {
			t.Fatalf("first comes %q", got)
		}
		quiet := next(10 * time.Second)
		if n := strings.Count(quiet, "event: figures\n"); n < 16 || n > 21 || strings.Contains(quiet, "partitions") || strings.Contains(quiet, "nodes_list") {
			t.Errorf("in ten quiet seconds come %d figures: %.200q", n, quiet)
		}
		f.mu.Lock()
		f.fitness = ownership.RegionFitness{Rooms: []ownership.AppRoom{{App: "app-1", Room: 3, Healthy: true}}}
		f.mu.Unlock()
		if got := next(250 * time.Millisecond); !strings.Contains(got, "event: figures\n") || !strings.Contains(got, `"id":"app-1"`) {
			t.Errorf("after a change of the figures comes %q", got)
		}
		f.mu.Lock()
		p := f.partitions[7]
		p.Owner, p.Epoch = "emea-1", 2
		f.partitions[7] = p
		f.mu.Unlock()
		if got := next(250 * time.Millisecond); !strings.Contains(got, "event: summary\n") || !strings.Contains(got, `[7,2]`) {
			t.Errorf("after a change of the partitions comes %q", got)
		}
		d.Close()
		if !s.ended() || d.watchers.open != 0 {
			t.Error("the stream goes on after the door's end")
		}
	})
}

// TestAPassedStreamEndsWithTheKey: not with the pass, which is good for a minute; and one
// region's listeners have a quarter of the places.
func TestAPassedStreamEndsWithTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := t.TempDir() + "/tokens.yaml"
		if err := os.WriteFile(file, []byte(tokensYAML()), 0o600); err != nil {
			t.Fatal(err)
		}
		f := newFake()
		var keys atomic.Value
		keys.Store([][]byte{passKey})
		cfg := Config{TokensFile: file, Loopback: true}
		cfg.Deployment, cfg.Region = "contoso-bots", "emea"
		d, err := New(cfg, Deps{Table: f, Journal: f, Cluster: f, PassKeys: func() [][]byte { return keys.Load().([][]byte) }})
		if err != nil {
			t.Fatal(err)
		}
		p := amerPass("/v1/summary/stream")
		p.Expires = time.Now().Add(pass.Life)
		show := "Authorization: Bearer " + pass.Sign(passKey, p)
		s := follow(t, d, "/v1/summary/stream", show)
		time.Sleep(10 * time.Minute)
		if s.ended() {
			t.Fatalf("it ended: %.300q", s.got())
		}
		if late := follow(t, d, "/v1/summary/stream", show); !late.ended() || !strings.Contains(late.got(), "has expired") {
			t.Error("the pass of ten minutes ago opened another stream")
		}
		keys.Store([][]byte{[]byte("another")})
		time.Sleep(time.Second)
		if !s.ended() {
			t.Error("it goes on with a pass of a key that is no longer one")
		}
		for range watchers / 4 {
			if !d.watchers.enter(caller(withCaller(t.Context(), visitor{hash: [32]byte{1}})).hash) {
				t.Fatal("a region got less than a quarter of the places")
			}
		}
		if d.watchers.enter([32]byte{1}) || !d.watchers.enter([32]byte{2}) {
			t.Error("one region takes the places of another")
		}
	})
}
