package node

import (
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
)

// promise returns one of the guarantees as a node's admin door tells it.
func (x *seat) promise(name string) api.Promise {
	x.s.t.Helper()
	all, err := x.api().Guarantees(x.s.t.Context())
	must(x.s.t, err)
	for _, p := range all {
		if p.Name == name {
			return p
		}
	}
	x.s.t.Fatalf("there is no guarantee %q among %+v", name, all)
	return api.Promise{}
}

// TestALostQuorumHealsByItself: two of three nodes stop. The one that is left
// lives, says which promises do not hold and why, refuses new calls at once, and
// routes again within ten seconds of their return, with no operator.
func TestALostQuorumHealsByItself(t *testing.T) {
	long(t, "it takes 10 s")
	t.Parallel()
	s := deploy(t, plan{})
	left, lost := s.seats[0], s.seats[1:]
	for _, x := range lost {
		x.stop()
	}
	broken := []string{"claims", "fenced", "known-calls-routed", "calls-survive-their-node", "survives-one-node"}
	eventually(t, "the promises that no longer hold", func() error {
		for _, name := range broken {
			if p := left.promise(name); p.Holds || p.Why == "" {
				return not(false, "%+v", p)
			}
		}
		return nil
	})
	for _, name := range []string{"calls-answered", "claims-durable", "history-durable"} {
		if p := left.promise(name); !p.Holds {
			t.Errorf("the loss of others broke %+v", p)
		}
	}
	for path, want := range map[string]int{"/livez": http.StatusOK, "/readyz": http.StatusServiceUnavailable} {
		if a := s.send(http.MethodGet, "http://"+left.admin+path, "", nil); a.status != want {
			t.Errorf("%s without a quorum: %d, want %d", path, a.status, want)
		}
	}
	begun := time.Now()
	a := s.postOnce(left.webhook(), s.token(testTenant), sample(t, incoming, newCall()))
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || time.Since(begun) > 3*time.Second {
		t.Errorf("I8: a new call without a quorum: %d, Retry-After %q, after %s", a.status, a.header.Get("Retry-After"), time.Since(begun))
	}

	for _, x := range lost {
		x.start()
	}
	healed := time.Now()
	eventually(t, "a new call placed", func() error {
		a := s.postOnce(left.webhook(), s.token(testTenant), sample(t, incoming, newCall()))
		return not(a.status == http.StatusAccepted || a.status == http.StatusFound, "%d", a.status)
	})
	if took := time.Since(healed); took > 10*time.Second {
		t.Errorf("new calls were placed again %s after the others came back", took)
	}
	for _, name := range broken[:4] {
		eventually(t, name+" again", func() error { p := left.promise(name); return not(p.Holds, "%s", p.Why) })
	}
}

// refused starts a seat's node that the region will not take, and gives why it
// ended.
func (x *seat) refused(shape func(*Config)) string {
	t := x.s.t
	t.Helper()
	if x.publicLn == nil {
		x.open()
	}
	c := x.config()
	c.PublicListener, c.AdminListener = x.publicLn, x.adminLn
	x.publicLn, x.adminLn = nil, nil
	shape(&c)
	why := make(chan error, 1)
	c.Logger = slog.New(slog.NewJSONHandler(x.s.log, nil)).With("node", x.name)
	c.Fatal = func(err error) {
		select {
		case why <- err:
		default:
		}
	}
	n, err := Start(t.Context(), c)
	if err != nil {
		return err.Error()
	}
	x.node = n
	defer x.stop()
	select {
	case err := <-why:
		return err.Error()
	case <-time.After(patience):
		t.Fatalf("nobody refused %s", x.name)
		return ""
	}
}

func says(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: it says %q, want it to say %q", what, text, w)
		}
	}
}

// TestWhoIsNotLetIn: the node ends with a sentence that says what to do.
func TestWhoIsNotLetIn(t *testing.T) {
	long(t, "it takes 5 s")
	t.Parallel()
	s := deploy(t, plan{})
	two, three := s.seats[1], s.seats[2]
	two.stop()
	t.Run("F29 data of another deployment", func(t *testing.T) {
		text := two.refused(func(c *Config) { c.Deployment = "others" })
		says(t, "F29", text, `the data are of deployment "stories"`, `configured for deployment "others"`)
	})
	t.Run("F29 a node of another deployment", func(t *testing.T) {
		text := two.refused(func(c *Config) {
			c.Deployment, c.Node.ID, c.Node.DataDir = "others", "emea-9", t.TempDir()
			c.Cluster.Join, c.Cluster.Listen = []string{s.seats[0].cluster}, "127.0.0.1:0"
		})
		says(t, "F29", text, "tandem://others/emea/emea-9", "tandem://stories/emea", "another deployment or region")
	})
	t.Run("F28 a wiped node under its old id", func(t *testing.T) {
		must(t, os.RemoveAll(s.path(two.name)))
		text := two.refused(func(*Config) {})
		says(t, "F28", text, "its disk was lost or swapped", "remove the node, then join it anew")
		must(t, three.api().Remove(t.Context(), two.id()))
		must(t, os.RemoveAll(s.path(two.name)))
		two.start()
		s.ready(two)
		if owned := len(two.node.table.PartitionsOf(two.id())); owned == 0 {
			t.Error("F28: joined anew, it owns no partition")
		}
	})
}
