package transport

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/ownership"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come; a machine may be slow.
const patience = 30 * time.Second

const testDeployment = "contoso"

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain for: %s", patience, what)
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// named is an address.
type named string

func (named) Network() string  { return "tcp" }
func (n named) String() string { return string(n) }

// quietListener is a listener that nobody calls.
type quietListener struct{ net.Listener }

func (quietListener) Addr() net.Addr { return named("quiet:1") }

// cutOff tells when the far side has closed the connection.
func cutOff(conn net.Conn) <-chan struct{} {
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
		close(end)
	}()
	return end
}

func mustBeCut(t *testing.T, what string, end <-chan struct{}) {
	t.Helper()
	select {
	case <-end:
	case <-time.After(patience):
		t.Errorf("%s was not cut", what)
	}
}

// authority makes certificates for tests, in a folder of its own.
type authority struct {
	t       *testing.T
	dir, ca string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.ca = a.make("ca")
	return a
}

// make makes an authority and returns its folder.
func (a *authority) make(name string) string {
	a.t.Helper()
	dir := filepath.Join(a.dir, name)
	if _, _, err := MakeCA(dir, "test", time.Hour); err != nil {
		a.t.Fatal(err)
	}
	return dir
}

// credsOf makes the certificate of a node of emea and reads it as the node would.
func (a *authority) credsOf(node ownership.NodeID, lifetime time.Duration) *Credentials {
	a.t.Helper()
	return a.creds(Identity{testDeployment, "emea", node}, lifetime)
}

// creds makes the certificate of any node.
func (a *authority) creds(who Identity, lifetime time.Duration) *Credentials {
	a.t.Helper()
	dir, err := os.MkdirTemp(a.dir, "creds")
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key, err := MakeCert(dir, a.ca, who.Deployment, who.Region, who.Node, nil, lifetime)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := Load(Files{cert, key, filepath.Join(a.ca, CACertFile)}, who)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}
