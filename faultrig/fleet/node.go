package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

// Node is one real process, its files, and what the rig knows of it.
type Node struct {
	ID      ownership.NodeID
	Region  ownership.Region
	Zone    string
	IP      string
	Public  string // base URL of the public door
	AdminAt string // host:port of the admin door
	PeerAt  string // host:port of the cluster port
	DataDir string
	Config  string // file
	LogFile string
	Disk    *Disk  // nil: no file system of its own
	Space   string // network namespace; empty: the rig's own

	fleet  *Fleet
	Binary string
	env    []string
	API    *client.Client

	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan struct{}
	wanted bool // it should run: a supervisor starts it again when it ends
	paused bool
	exits  []string
}

// errDown: the node does not run.
var errDown = errors.New("the node does not run")

// Start starts the process; it does not wait until the node is ready.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted = true
	return n.startLocked()
}

func (n *Node) startLocked() error {
	if n.cmd != nil {
		return nil
	}
	log, err := os.OpenFile(n.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("starting node %s: %w", n.ID, err)
	}
	defer log.Close()
	args := []string{n.Binary, "start", "--config", n.Config}
	if n.Space != "" {
		args = append([]string{LookTool("ip"), "netns", "exec", n.Space}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // the scenario ends it, by pid
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), n.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	fmt.Fprintf(log, "--- rig: start at %s\n", time.Now().Format(time.RFC3339Nano))
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting node %s: %w", n.ID, err)
	}
	_ = os.WriteFile(n.pidFile(), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600) // only Clean misses it
	n.cmd, n.ended, n.paused = cmd, make(chan struct{}), false
	go n.wait(cmd, n.ended)
	return nil
}

func (n *Node) pidFile() string { return filepath.Join(n.fleet.Dir, string(n.ID)+".pid") }

// restartAfter is the pause of a supervisor, as in the unit of the product.
const restartAfter = time.Second

// wait takes the end of the process and, as systemd does, starts it again.
func (n *Node) wait(cmd *exec.Cmd, ended chan struct{}) {
	err := cmd.Wait()
	n.mu.Lock()
	n.cmd = nil
	n.exits = append(n.exits, fmt.Sprint(time.Now().Format(time.TimeOnly), " ", cmd.ProcessState, " ", err))
	again := n.wanted
	if !cmd.ProcessState.Success() { // one that stops in order keeps what it knows
		n.fleet.Cloud.NodeDied(string(n.ID))
	}
	close(ended)
	n.mu.Unlock()
	if !again {
		return
	}
	select {
	case <-time.After(restartAfter):
	case <-n.fleet.ctx.Done():
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wanted && n.fleet.ctx.Err() == nil {
		if err := n.startLocked(); err != nil {
			n.exits = append(n.exits, err.Error())
		}
	}
}

// Kill ends the process as a power cut would and waits for its end.
func (n *Node) Kill() { n.end(syscall.SIGKILL) }

// Stop asks the process to end and waits until it has, at most for limit.
func (n *Node) Stop(limit time.Duration) error {
	n.mu.Lock()
	n.wanted = false
	cmd, ended := n.cmd, n.ended
	n.mu.Unlock()
	if cmd == nil {
		return nil
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // an ended process is waited for below
	select {
	case <-ended:
		return nil
	case <-time.After(limit):
		n.Kill()
		return fmt.Errorf("stopping node %s: it had not ended after %s", n.ID, limit)
	}
}

// Ends asks the process to end and reports whether it has within the limit; else it
// makes it write what it waits for into its log.
func (n *Node) Ends(limit time.Duration) bool {
	n.mu.Lock()
	n.wanted = false
	cmd, ended := n.cmd, n.ended
	n.mu.Unlock()
	if cmd == nil {
		return true
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // an ended process is waited for below
	select {
	case <-ended:
		return true
	case <-time.After(limit):
		n.end(syscall.SIGQUIT)
		return false
	}
}

func (n *Node) end(sig syscall.Signal) {
	n.mu.Lock()
	n.wanted = false
	cmd, ended := n.cmd, n.ended
	if cmd != nil {
		_ = cmd.Process.Signal(sig) // an ended process is waited for below
	}
	n.mu.Unlock()
	if cmd == nil {
		return
	}
	// A process that hangs in a frozen file system ends once it is thawed.
	select {
	case <-ended:
	case <-time.After(3 * time.Second):
	}
}

// Pause stops the process where it is (SIGSTOP); Continue lets it go on.
func (n *Node) Pause() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paused = true
	n.fleet.fenced.Store(true)
	n.fleet.forget()
	n.fleet.Cloud.NodePaused(string(n.ID))
	return n.signalLocked(syscall.SIGSTOP)
}

// Continue lets a paused process go on.
func (n *Node) Continue() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paused = false
	n.fleet.Desk.Woke(n.ID)
	n.fleet.Cloud.NodeWoke(string(n.ID))
	n.fleet.forget()
	n.fleet.fenced.Store(false)
	return n.signalLocked(syscall.SIGCONT)
}

func (n *Node) signalLocked(sig syscall.Signal) error {
	if n.cmd == nil {
		return fmt.Errorf("signalling node %s: %w", n.ID, errDown)
	}
	return n.cmd.Process.Signal(sig)
}

// Up reports whether the process runs and is not paused.
func (n *Node) Up() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd != nil && !n.paused
}

// Pid returns the process id; 0: it does not run.
func (n *Node) Pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return 0
	}
	return n.cmd.Process.Pid
}

// Exits tells how the process ended so far.
func (n *Node) Exits() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.exits...)
}

// Status asks the node's admin door how it is.
func (n *Node) Status(ctx context.Context) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return n.API.Status(ctx)
}

// Ready waits until the node may act as an owner and knows a leader.
func (n *Node) Ready(ctx context.Context, limit time.Duration) error {
	return n.Await(ctx, limit, "be ready", func(s api.Status) bool {
		return s.Leased && s.Cluster.Leader != ""
	})
}

// Await asks until the node's status is as wanted.
func (n *Node) Await(ctx context.Context, limit time.Duration, what string, good func(api.Status) bool) error {
	var last error
	ok := Until(ctx, limit, 25*time.Millisecond, func() bool {
		s, err := n.Status(ctx)
		last = err
		return err == nil && good(s)
	})
	if !ok {
		return fmt.Errorf("waiting for node %s to %s: not within %s (last answer: %v; ends: %v)", n.ID, what, limit, last, n.Exits()) //nolint:errorlint // either may be nil
	}
	return nil
}

// Until asks again and again; false when the limit passed first.
func Until(ctx context.Context, limit, every time.Duration, good func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if good() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(every):
		}
	}
}

// Pause waits; false when ctx ended first.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// HealWithin is how long a node may take to be well after the last fault is healed,
// processes started again included.
const HealWithin = 25 * time.Second

// Insist repeats what an operator would repeat: the region has no leader right now,
// or the machine is too busy to answer.
func Insist(ctx context.Context, do func() error) error {
	var err error
	Until(ctx, HealWithin, 200*time.Millisecond, func() bool {
		err = do()
		return err == nil
	})
	return err
}
