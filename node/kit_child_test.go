package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	linux "golang.org/x/sys/unix"

	"tandem/admin/client"
)

// childEnv names the configuration of a node that runs in this process instead
// of the tests: only another process can be killed without a last word.
const childEnv = "TANDEM_NODE_TEST_CONFIG"

// pendingEnv is how many records may wait for the table's file before the table waits; with
// aheadEnv a child's clock is ahead by what a file beside its configuration says (see alarms.goesBy).
const (
	pendingEnv = "TANDEM_NODE_TEST_PENDING"
	aheadEnv   = "TANDEM_NODE_TEST_AHEAD"
)

// runChild runs one node until its standard input ends. Its listeners are the
// file descriptors 3 (public) and 4 (admin).
func runChild(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c Config
	if err := yaml.Unmarshal(text, &c); err != nil {
		return err
	}
	for fd, ln := range map[uintptr]*net.Listener{3: &c.PublicListener, 4: &c.AdminListener} {
		if *ln, err = net.FileListener(os.NewFile(fd, "listener")); err != nil {
			return err
		}
	}
	c.Public.TLS.ACME.Pace = acmePace
	c.Logger = slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("node", c.Node.ID)
	c.Pending, _ = strconv.Atoi(os.Getenv(pendingEnv)) // absent: 0
	if ahead := filepath.Join(filepath.Dir(file), "ahead-"+c.Node.ID); os.Getenv(aheadEnv) != "" {
		c.Now = func() time.Time {
			text, _ := os.ReadFile(ahead) // absent: by nothing
			d, _ := time.ParseDuration(string(text))
			return time.Now().Add(d)
		}
	}
	ctx := context.Background()
	n, err := Start(ctx, c)
	if err != nil {
		return err
	}
	fmt.Println(n.ClusterAddr())
	ready, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := n.Ready(ready); err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop, cancelStop := context.WithTimeout(ctx, 15*time.Second)
	defer cancelStop()
	return n.Stop(stop)
}

// child is a node in a process of its own.
type child struct {
	cmd   *exec.Cmd
	lines chan string // what it says on its standard output
	stdin io.Closer
}

// startChild starts the seat's node in a process of its own.
func (x *seat) startChild(c Config) {
	t := x.s.t
	t.Helper()
	text, err := yaml.Marshal(c)
	must(t, err)
	file := x.s.path(x.name + ".yaml")
	must(t, os.WriteFile(file, text, 0o600))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+file)
	cmd.Stderr = x.s.log
	for _, ln := range []net.Listener{x.publicLn, x.adminLn} {
		f, err := ln.(*net.TCPListener).File()
		must(t, err)
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	// From now on the ports are the child's alone, so that they close with it.
	must(t, errors.Join(x.publicLn.Close(), x.adminLn.Close()))
	x.publicLn, x.adminLn = nil, nil
	x.child = &child{cmd: cmd, lines: make(chan string, 8), stdin: stdin}
	go func(lines chan<- string) {
		defer close(lines)
		for sc := bufio.NewScanner(stdout); sc.Scan(); {
			lines <- sc.Text()
		}
	}(x.child.lines)
	select {
	case x.cluster = <-x.child.lines:
	case <-time.After(patience):
	}
	if !strings.Contains(x.cluster, ":") {
		t.Fatalf("node %s did not start in its process", x.name)
	}
	if x.founds() {
		door, err := client.New(x.admin, x.s.plan.token, "")
		must(t, err)
		eventually(t, "founding the region at "+x.name, func() error {
			err := door.Found(t.Context())
			if client.Unavailable(err) {
				return err
			}
			must(t, err)
			return nil
		})
	}
}

func (c *child) awaitReady(ctx context.Context, t *testing.T) {
	t.Helper()
	select {
	case line := <-c.lines:
		if line != "ready" {
			t.Fatalf("a node in a process of its own ended before it was ready: %q", line)
		}
	case <-ctx.Done():
		t.Fatal("a node in a process of its own is not ready")
	}
}

// kill ends the seat's process without a last word, as a power cut would.
func (x *seat) kill() {
	x.s.t.Helper()
	x.end(os.Kill)
}

// crash ends the seat's process with the last words of a crash: the stacks of all
// goroutines, on its standard error.
func (x *seat) crash() {
	x.s.t.Helper()
	x.end(syscall.SIGQUIT)
}

// end sends the seat's process a signal that it does not outlive.
func (x *seat) end(with os.Signal) {
	c := x.child
	x.child = nil
	if c == nil {
		return
	}
	_ = c.cmd.Process.Signal(with) // it may have ended by itself
	for range c.lines {
	}
	_ = c.cmd.Wait() // killed: that is the point
	_ = c.stdin.Close()
}

// pause has the process of the seat's node stand still. It returns when each thread does: on
// a busy machine one that waits for a processor runs on for a while, and so do the others.
func (x *seat) pause() {
	x.s.t.Helper()
	must(x.s.t, x.child.cmd.Process.Signal(syscall.SIGSTOP))
	must(x.s.t, linux.Waitid(linux.P_PID, x.child.cmd.Process.Pid, nil, linux.WSTOPPED|linux.WNOWAIT, nil))
}

// resume lets it go on.
func (x *seat) resume() {
	x.s.t.Helper()
	must(x.s.t, x.child.cmd.Process.Signal(syscall.SIGCONT))
}
