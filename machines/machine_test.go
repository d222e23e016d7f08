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
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// deployment and capacity are what every machine is provisioned with.
const (
	deployment = "contoso-bots"
	capacity   = 200
)

// machine is one node's machine: its files lie below root, its process runs in
// its namespace.
type machine struct {
	t                  *testing.T
	net                *network
	name, region, zone string
	address            string
	admin              string // URL of its admin door; empty: the usual one
	root               string // the machine's files
	desk               string // where the secrets of all machines are made

	process *exec.Cmd
	ended   chan struct{} // closed when the process is over
	err     error         // how, once ended is closed
	killed  bool
}

// buildTandem builds the program as an operator would install it.
func buildTandem(t *testing.T) string {
	t.Helper()
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// built builds it once for all tests; builds is where, for TestMain to remove.
var (
	builds string
	built  = sync.OnceValues(func() (string, error) {
		var err error
		if builds, err = os.MkdirTemp("", "tandem-machines-"); err != nil {
			return "", err
		}
		binary := filepath.Join(builds, "tandem")
		c := exec.Command("go", "build", "-trimpath", "-o", binary, "../cmd/tandem")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("building tandem: %w\n%s", err, out)
		}
		return binary, nil
	})
)

// provision sets the machine up with the script that the Vagrantfile uses.
func (m *machine) provision(binary, apps string, more ...string) {
	m.t.Helper()
	secrets := filepath.Join(m.t.TempDir(), "secrets")
	must(m.t, exec.Command("bash", append([]string{"../scripts/sign", "--binary", binary, "--desk", m.desk, "--out", secrets,
		"--node", m.name, "--region", m.region, "--address", m.address, "--deployment", deployment}, publicURL(more)...)...))
	args := append([]string{
		"../scripts/provision", "--node", m.name, "--region", m.region, "--zone", m.zone, "--address", m.address,
		"--binary", binary, "--secrets", secrets, "--apps", apps, "--root", m.root,
		"--deployment", deployment, "--capacity", fmt.Sprint(capacity),
	}, more...)
	must(m.t, exec.Command("bash", args...))
}

// publicURL finds the option that the public door's certificate needs, too.
func publicURL(options []string) []string {
	at := slices.Index(options, "--region-url")
	return options[at : at+2]
}

// path returns a file of the machine.
func (m *machine) path(name string) string { return filepath.Join(m.root, name) }

// start starts the node as the unit of systemd does.
func (m *machine) start() {
	m.t.Helper()
	m.killed = false
	log, err := os.OpenFile(m.path("tandem.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	m.process = m.net.command(context.Background(), m.name, m.path("usr/local/bin/tandem"), "start", "--config", m.path("etc/tandem/tandem.yaml"))
	m.process.Env = []string{"PATH=" + os.Getenv("PATH"), "SSL_CERT_FILE=" + filepath.Join(m.desk, "trial/ca.pem")}
	m.process.Stdout, m.process.Stderr = log, log
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that dies leaves no node behind
	if err := m.process.Start(); err != nil {
		m.t.Fatal(err)
	}
	again := m.ended != nil
	m.ended = make(chan struct{})
	go func() {
		m.err = m.process.Wait()
		_ = log.Close()
		close(m.ended)
	}()
	if again {
		return
	}
	m.t.Cleanup(func() {
		m.stop()
		if m.t.Failed() {
			m.t.Logf("the end of the log of %s:\n%s", m.name, m.tail())
		}
	})
}

// kill takes the process away without a word, as a loss of power does, and
// waits until it is gone.
func (m *machine) kill() {
	m.t.Helper()
	m.killed = true
	if err := m.process.Process.Kill(); err != nil {
		m.t.Fatalf("killing %s: %v", m.name, err)
	}
	<-m.ended
}

// freeze stops the process where it stands; thaw lets it go on.
func (m *machine) freeze() { m.signal(syscall.SIGSTOP) }
func (m *machine) thaw()   { m.signal(syscall.SIGCONT) }

func (m *machine) signal(what syscall.Signal) {
	m.t.Helper()
	if err := m.process.Process.Signal(what); err != nil {
		m.t.Fatalf("sending %s to %s: %v", what, m.name, err)
	}
}

// terminate asks the node to stop.
func (m *machine) terminate() {
	_ = m.process.Process.Signal(syscall.SIGTERM) // whether it was there shows in stop
}

// stop ends the process with SIGTERM and looks how it went.
func (m *machine) stop() {
	m.terminate()
	late := time.AfterFunc(patience, func() { _ = m.process.Process.Kill() })
	defer late.Stop()
	<-m.ended
	if m.err != nil && !m.killed {
		m.t.Errorf("%s ended with %v", m.name, m.err)
	}
	m.err = nil // told
}

func (m *machine) tail() string {
	text, err := os.ReadFile(m.path("tandem.log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// tandem runs a command on the machine, as an operator logged in there, and
// gives its standard output.
func (m *machine) tandem(args ...string) (string, error) {
	c := m.net.command(context.Background(), m.name, append([]string{m.path("usr/local/bin/tandem")}, args...)...)
	token, err := os.ReadFile(filepath.Join(m.desk, "operator.token"))
	if err != nil {
		return "", err
	}
	c.Env = append(os.Environ(), "TANDEM_TOKEN="+strings.TrimSpace(string(token)))
	if m.admin != "" {
		c.Env = append(c.Env, "TANDEM_ADDR="+m.admin, "TANDEM_CACERT="+filepath.Join(m.desk, "trial/ca.pem"))
	}
	var out, messages bytes.Buffer
	c.Stdout, c.Stderr = &out, &messages
	if err := c.Start(); err != nil {
		return "", err
	}
	tooLong := time.AfterFunc(70*time.Second, func() { _ = c.Process.Kill() }) // join has 60 s
	defer tooLong.Stop()
	if err := c.Wait(); err != nil {
		return "", fmt.Errorf("on %s: tandem %s: %w: %s", m.name, strings.Join(args, " "), err, strings.TrimSpace(messages.String()))
	}
	return out.String(), nil
}

// read decodes what a reading command prints as JSON.
func read[T any](m *machine, args ...string) (T, error) {
	var v T
	out, err := m.tandem(append(args, "--format", "json")...)
	if err == nil {
		err = json.Unmarshal([]byte(out), &v)
	}
	return v, err
}

// sight is what one node tells of its region's table.
type sight struct {
	status     api.Status
	nodes      []api.Node
	partitions []ownership.Partition
	calls      []ownership.Call
}

// inspect reads the whole table from a machine.
func (m *machine) inspect() (sight, error) {
	var s sight
	var errs [4]error
	s.status, errs[0] = read[api.Status](m, "status")
	s.nodes, errs[1] = read[[]api.Node](m, "nodes")
	s.partitions, errs[2] = read[[]ownership.Partition](m, "partitions")
	for cursor := ""; ; {
		args := []string{"calls", "--limit", "500"}
		if cursor != "" {
			args = append(args, "--cursor", cursor)
		}
		page, err := read[api.CallPage](m, args...)
		for _, c := range page.Items {
			s.calls = append(s.calls, c.Call)
		}
		if cursor = page.Next; err != nil || cursor == "" {
			errs[3] = err
			break
		}
	}
	return s, errors.Join(errs[:]...)
}

// owners returns the owner and the epoch of each partition.
func (s sight) owners() map[ownership.PartitionID]ownership.Partition {
	all := map[ownership.PartitionID]ownership.Partition{}
	for _, p := range s.partitions {
		p.Live = 0 // counts calls, which come and go
		all[p.ID] = p
	}
	return all
}

// owned returns where each call lives and how far it is.
func (s sight) owned() map[ownership.CallID]string {
	all := map[ownership.CallID]string{}
	for _, c := range s.calls {
		if c.ClaimedAt.IsZero() {
			continue // only its end came to this region, and is remembered
		}
		all[c.ID] = fmt.Sprintf("partition %s, claimed in epoch %s, %s", c.Partition, c.Epoch, c.State)
	}
	return all
}

// placed returns the node that each call was first placed on.
func (s sight) placed() map[ownership.CallID]ownership.NodeID {
	all := map[ownership.CallID]ownership.NodeID{}
	for _, c := range s.calls {
		if c.ClaimedAt.IsZero() {
			continue
		}
		all[c.ID] = c.Placement.Owner
	}
	return all
}

// leader is the leader's id, as this node knows it.
func (s sight) leader() string { return string(s.status.Cluster.Leader) }
