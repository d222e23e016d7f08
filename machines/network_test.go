package machines_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience bounds each command that should be done at once.
const patience = 20 * time.Second

// namesFolder holds the hosts file of each namespace (ip-netns(8)).
const namesFolder = "/etc/netns"

// network is a switch with machines on it. Its namespaces carry the number of
// this process, so that several tests may run and a later one can tell what a
// dead one left behind.
type network struct {
	t      *testing.T
	prefix string
	ports  int
}

var ours = regexp.MustCompile(`^tandem-([0-9]+)-`)

// needs skips the test where this machine cannot give it a network.
func needs(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("machines in network namespaces: not with -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("machines in network namespaces: only root can make them")
	}
	for _, tool := range []string{"ip", "nft", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("machines in network namespaces: %s is not installed", tool)
		}
	}
}

// newNetwork makes the switch. It skips where even root may not.
func newNetwork(t *testing.T) *network {
	t.Helper()
	needs(t)
	forgetTheDead(t)
	n := &network{t: t, prefix: fmt.Sprintf("tandem-%d-", os.Getpid())}
	t.Cleanup(func() {
		for _, name := range namespaces(t) {
			if strings.HasPrefix(name, n.prefix) {
				forget(t, name)
			}
		}
	})
	if out, err := run(exec.Command("ip", "netns", "add", n.namespace("switch"))); err != nil {
		t.Skipf("machines in network namespaces: this machine lets root make none: %v: %s", err, out)
	}
	n.ip("switch", "link", "add", "bridge", "type", "bridge")
	n.ip("switch", "link", "set", "bridge", "up")
	return n
}

// plug puts a machine with one address on the switch. It knows names by hosts,
// in the form of hosts(5).
func (n *network) plug(name, address, hosts string) {
	n.t.Helper()
	space := n.namespace(name)
	must(n.t, exec.Command("ip", "netns", "add", space))
	folder := filepath.Join(namesFolder, space)
	if err := errors.Join(
		os.MkdirAll(folder, 0o755),
		os.WriteFile(filepath.Join(folder, "hosts"), []byte("127.0.0.1 localhost\n"+hosts), 0o644),
	); err != nil {
		n.t.Fatal(err)
	}
	n.ports++
	port := "port" + strconv.Itoa(n.ports)
	// Both ends are born where they stay: none passes through this machine.
	n.ip("switch", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
	n.ip("switch", "link", "set", port, "master", "bridge", "up")
	n.ip(name, "address", "add", address+"/16", "dev", "eth0")
	n.ip(name, "link", "set", "lo", "up")
	n.ip(name, "link", "set", "eth0", "up")
}

// guard gives a machine the firewall that the documentation asks for: 8443 for
// everybody, 8470 and 8471 for the nodes of the deployment, nothing else. It counts what
// it drops.
func (n *network) guard(name, nodes string) {
	n.t.Helper()
	c := n.command(n.t.Context(), name, "nft", "-f", "-")
	c.Stdin = strings.NewReader(`
table inet firewall {
  counter dropped { }
  chain input {
    type filter hook input priority filter; policy accept
    iif lo accept
    tcp flags & (syn | ack) != syn accept
    tcp dport 8443 accept
    ip saddr { ` + nodes + ` } tcp dport { 8470, 8471 } accept
    counter name dropped drop
  }
}`)
	must(n.t, c)
}

// deafen drops all that comes to or from a port of a machine, connections that are open
// among it; undeafen ends that.
func (n *network) deafen(name string, port int) {
	n.t.Helper()
	c := n.command(n.t.Context(), name, "nft", "-f", "-")
	c.Stdin = strings.NewReader(fmt.Sprintf(`
table inet deaf {
  chain input {
    type filter hook input priority -10; policy accept
    iif lo accept
    tcp dport %[1]d drop
    tcp sport %[1]d drop
  }
}`, port))
	must(n.t, c)
}

func (n *network) undeafen(name string) {
	n.t.Helper()
	must(n.t, n.command(n.t.Context(), name, "nft", "delete", "table", "inet", "deaf"))
}

// dropped returns the number of packets that a machine's firewall dropped.
func (n *network) dropped(name string) int {
	n.t.Helper()
	var list struct {
		NFTables []struct {
			Counter struct {
				Packets int `json:"packets"`
			} `json:"counter"`
		} `json:"nftables"`
	}
	out := must(n.t, n.command(n.t.Context(), name, "nft", "-j", "list", "counter", "inet", "firewall", "dropped"))
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		n.t.Fatalf("reading the firewall of %s: %v", name, err)
	}
	count := 0
	for _, entry := range list.NFTables {
		count += entry.Counter.Packets
	}
	return count
}

func (n *network) namespace(name string) string { return n.prefix + name }

// ip configures the network of a machine or of the switch.
func (n *network) ip(name string, args ...string) {
	n.t.Helper()
	must(n.t, exec.Command("ip", append([]string{"-n", n.namespace(name)}, args...)...))
}

// command runs in a machine. ip(8) replaces itself by the program, so that the
// process id is the program's.
func (n *network) command(ctx context.Context, name string, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.namespace(name)}, argv...)...)
}

// forgetTheDead removes what tests left behind that could not clean up.
func forgetTheDead(t *testing.T) {
	t.Helper()
	for _, name := range namespaces(t) {
		found := ours.FindStringSubmatch(name)
		if found == nil || testRuns(found[1]) {
			continue
		}
		t.Logf("removing %s of a test that is over", name)
		forget(t, name)
	}
}

// testRuns reports whether the process is a test of this package.
func testRuns(pid string) bool {
	argv, err := os.ReadFile("/proc/" + pid + "/cmdline")
	program, _, _ := strings.Cut(string(argv), "\x00")
	return err == nil && strings.HasSuffix(program, ".test")
}

// namespaces lists those that have a network or only a hosts file left.
func namespaces(t *testing.T) []string {
	t.Helper()
	var all []string
	seen := map[string]bool{}
	for _, folder := range []string{"/run/netns", "/var/run/netns", namesFolder} {
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !seen[e.Name()] {
				seen[e.Name()] = true
				all = append(all, e.Name())
			}
		}
	}
	return all
}

func forget(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Stat("/run/netns/" + name); err == nil {
		if out, err := run(exec.Command("ip", "netns", "delete", name)); err != nil {
			t.Errorf("removing %s: %v: %s", name, err, out)
		}
	}
	if err := os.RemoveAll(filepath.Join(namesFolder, name)); err != nil {
		t.Errorf("removing the names of %s: %v", name, err)
	}
}

// run returns what a command printed, on both streams.
func run(c *exec.Cmd) (string, error) { return runFor(c, patience) }

func runFor(c *exec.Cmd, most time.Duration) (string, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	c.WaitDelay = time.Second
	if err := c.Start(); err != nil {
		return "", err
	}
	tooLong := time.AfterFunc(most, func() { _ = c.Process.Kill() }) // it may just have ended
	defer tooLong.Stop()
	err := c.Wait()
	return out.String(), err
}

// must runs a command that has to succeed.
func must(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	out, err := run(c)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(c.Args, " "), err, out)
	}
	return out
}

// eventually waits for a condition, which says what is still missing. What took more than
// half of its time is told: a slower machine would be too slow for it.
func eventually(t *testing.T, within time.Duration, what string, missing func() string) time.Duration {
	t.Helper()
	begun := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		why := missing()
		if why == "" {
			took := time.Since(begun)
			if took > within/2 {
				t.Logf("NEARLY LATE, %s of %s: %s", took.Round(time.Millisecond), within, what)
			}
			return took
		}
		if time.Since(begun) > within {
			t.Fatalf("waiting %s for %s: %s", within, what, why)
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("waiting for %s: the test is over: %s", what, why)
		}
	}
}
