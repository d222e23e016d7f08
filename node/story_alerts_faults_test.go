package node

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/graphsim"
	"tandem/ownership"
)

// mediaApp is an app whose media are with its bot, beside the one of the stories.
const mediaApp = "5d1b7f2c-60a9-4b0e-9d1e-0a1c6f0d7b11"

// mediaBots is the bot of that app beside every node: it takes its calls, and takes none up
// again that another one lost.
func mediaBots(t *testing.T) string {
	t.Helper()
	bots := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet:
			_, _ = w.Write([]byte(`{"load":0,"capacity":500}`))
		case r.Header.Get("Tandem-Event") == string(ownership.EventRejoin):
			w.WriteHeader(http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	t.Cleanup(bots.Close)
	return bots.URL
}

// media posts a notification of a call of that app to a node.
func (s *stage) media(x *seat, file string, call ownership.CallID) answer {
	s.t.Helper()
	token, err := s.cloud.Mint(graphsim.TokenOptions{Audience: mediaApp, Tenant: testTenant})
	must(s.t, err)
	return s.post(x.webhook(), token, sample(s.t, file, call))
}

// fills posts new calls to a node, and answers them, until it acts for one more.
func (s *stage) fills(x *seat) {
	s.t.Helper()
	had := s.live(x, x.id(), ownership.CallAnswered)
	eventually(s.t, "an answered call at "+x.name, func() error {
		call := newCall()
		if a := s.media(x, incoming, call); a.status != http.StatusAccepted {
			return fmt.Errorf("a new call: %d %s", a.status, a.body)
		}
		s.media(x, established, call)
		return not(s.live(x, x.id(), ownership.CallAnswered) > had, "%d", had)
	})
}

// crowd posts new calls to a node, wherever they go.
func (s *stage) crowd(x *seat, calls int) {
	s.t.Helper()
	for range calls {
		call := newCall()
		if a := s.media(x, incoming, call); a.status != http.StatusServiceUnavailable {
			s.media(x, established, call)
		}
	}
}

// release ends all calls.
func (s *stage) release(x *seat) {
	s.t.Helper()
	page, err := x.api().Calls(s.t.Context(), ownership.CallFilter{State: ownership.CallAnswered}, "", 1000)
	must(s.t, err)
	for _, c := range page.Items {
		must(s.t, x.api().Release(s.t.Context(), string(c.ID)))
	}
}

// slowAnswer has the cloud refuse answers until one has taken more than 4 s.
func (s *stage) slowAnswer(at ...*seat) {
	s.t.Helper()
	s.aim(at...)
	s.cloud.SetFault(graphsim.EndpointCalls, graphsim.Fault{Status: http.StatusServiceUnavailable})
	s.runAll(graphsim.Load{Rate: 50, MaxCalls: 1})
	time.Sleep(4500 * time.Millisecond) // what is tested is that time
	s.cloud.SetFault(graphsim.EndpointCalls, graphsim.Fault{})
}

// noKeys has the keys' endpoints fail, or heals them.
func (s *stage) noKeys(fault graphsim.Fault) {
	for _, e := range []graphsim.Endpoint{graphsim.EndpointOpenID, graphsim.EndpointKeys} {
		s.cloud.SetFault(e, fault)
	}
}

// goesBy lets time pass at a node, which has a notification to check at its end.
func (w *alarms) goesBy(x *seat, ahead time.Duration) {
	t := w.s.t
	t.Helper()
	must(t, os.WriteFile(w.s.path("ahead-"+x.name), []byte(ahead.String()), 0o600))
	w.ahead[x] = ahead
	token, err := w.s.cloud.Mint(graphsim.TokenOptions{Tenant: testTenant, Age: -ahead})
	must(t, err)
	w.s.postOnce(x.webhook(), token, sample(t, "legacy-skype-incoming.json", newCall()))
}

// slowDisk makes each sync of a node's disk last for two seconds, until the end.
func (x *seat) slowDisk() (end func()) {
	t := x.s.t
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "strace", "-f", "-q", "-o", os.DevNull, "-p", strconv.Itoa(x.child.cmd.Process.Pid),
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_exit=2000000")
	must(t, cmd.Start())
	return sync.OnceFunc(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it lets go of the node
		_ = cmd.Wait()                       // its exit status says nothing
	})
}

// changes makes so many changes of the region, each of which is an entry of the log.
func (s *stage) changes(x *seat, n int) {
	s.t.Helper()
	for i := range n {
		must(s.t, x.api().SetLedgerKeep(s.t.Context(), ownership.Keep{Days: 30 + i%2, EndedDays: 3}))
	}
}

// outgoing gives a callback URI of a partition that has moved away from a node and back.
func (x *seat) outgoing(by *seat) (uri string) {
	t := x.s.t
	t.Helper()
	eventually(t, "a callback URI of a later epoch", func() error {
		made, err := x.api().CallbackURI(t.Context(), mediaApp, "")
		if err != nil {
			return err
		}
		if uri = made.URI; made.Epoch > 8 { // a restore over other machines raises each by one or two
			return nil
		}
		for _, to := range []*seat{by, x, by, x, by, x, by, x} {
			if err := x.api().Move(t.Context(), made.Partition, to.id()); err != nil {
				return err // on a busy machine
			}
		}
		return fmt.Errorf("it is of epoch %d", made.Epoch)
	})
	return uri
}

// restore brings a region back by a snapshot.
func (x *seat) restore(saved []byte) {
	x.s.t.Helper()
	eventually(x.s.t, "a restore", func() error {
		return x.api().RestoreSnapshot(x.s.t.Context(), bytes.NewReader(saved), ownership.RestoreTerms{Anyhow: true})
	})
}

// ahead posts what the cloud has to say on a callback URI until the node finds it ahead of
// its table.
func (x *seat) ahead(uri string) {
	s := x.s
	s.t.Helper()
	token, err := s.cloud.Mint(graphsim.TokenOptions{Audience: mediaApp, Tenant: testTenant})
	must(s.t, err)
	eventually(s.t, "a callback URI of the future", func() error {
		a := s.postOnce(x.follow(uri), token, sample(s.t, established, newCall()))
		return not(strings.Contains(a.body, "future_epoch"), "%d %s", a.status, a.body)
	})
}

// anew founds a region on empty disks, which sees no other.
func (s *stage) anew(seats []*seat, change map[string]func(*Config)) {
	s.t.Helper()
	for _, x := range seats {
		inside, err := filepath.Glob(filepath.Join(s.path(x.name), "*"))
		must(s.t, err)
		for _, f := range inside {
			must(s.t, os.RemoveAll(f))
		}
	}
	s.founded[seats[0].region] = false
	for _, x := range seats {
		change[x.name] = func(c *Config) { c.Regions[0].AdminURL = "http://127.0.0.1:1" }
		x.start()
	}
}

// setRules gives a region rules that the other one is to take over.
func (x *seat) setRules() {
	x.s.t.Helper()
	_, err := x.api().Rules().Set(x.s.t.Context(), api.RulesAsk{Text: "rules: []", Note: "a test"})
	must(x.s.t, err)
}

// badVersion gives a node's bot a version that ends every call, and has the region called.
func (s *stage) badVersion(x *seat, all []*seat) {
	s.t.Helper()
	for _, other := range all {
		s.cloud.Bot(other.name).SetVersion("2.4.1")
	}
	s.told(x, "2.4.1", len(all))
	of := api.RolloutOf{App: testApp, Version: "2.5.0"}
	must(s.t, x.api().Rollouts().Set(s.t.Context(), api.RolloutAsk{RolloutOf: of, Percent: 20}))
	s.cloud.Bot(x.name).SetFailing(1, "408/8544")
	s.cloud.Bot(x.name).SetVersion("2.5.0")
	s.told(x, "2.5.0", 1)
	s.runAll(graphsim.Load{Rate: 30, MaxCalls: 100})
}

// versionBefore takes it back.
func (s *stage) versionBefore(x *seat, all []*seat) {
	s.t.Helper()
	s.cloud.Bot(x.name).SetFailing(0, "")
	s.cloud.Bot(x.name).SetVersion("2.4.1")
	s.told(x, "2.4.1", len(all))
	must(s.t, x.api().Rollouts().End(s.t.Context(), api.RolloutNote{RolloutOf: api.RolloutOf{App: testApp, Version: "2.5.0"}}))
}

// told waits until a node is told that so many bots are of a version.
func (s *stage) told(x *seat, version string, nodes int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d bots of version %s", nodes, version), func() error {
		list, err := x.api().Rollouts().List(s.t.Context())
		for _, v := range list {
			if v.App == testApp && v.Version == version && len(v.Nodes) == nodes {
				return nil
			}
		}
		return fmt.Errorf("the versions are %+v (%v)", list, err)
	})
}
