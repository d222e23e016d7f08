package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tandem/graphsim"
)

const issuer = graphsim.IssuerBotFramework

// door is one that is measured, a process of its own.
type door struct {
	name  string
	addr  string
	cmd   *exec.Cmd
	alive io.Closer // closed: a door in Go ends
	// Of a door that is not in Go: it ends by a signal, and has a directory with its files.
	foreign bool
	dir     string
}

// open starts all doors that are wanted.
func open(ctx context.Context, cloud *graphsim.Cloud, p plan) (doors []*door, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	wanted := func(name string) bool { return p.only == "" || p.only == name }
	for _, name := range []string{"constant", "tandem"} {
		if !wanted(name) {
			continue
		}
		args := []string{"-serve", name, "-openid", cloud.OpenIDURL()}
		if p.profile != "" {
			args = append(args, "-cpu", p.profile)
		}
		cmd := exec.CommandContext(ctx, self, args...)
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
		d, err := start(ctx, name, cmd)
		if err != nil {
			return doors, err
		}
		doors = append(doors, d)
	}
	for _, f := range foreign {
		if _, err := exec.LookPath(f.name); err != nil || !wanted(f.name) {
			continue
		}
		d, err := f.open(ctx, cloud)
		if err != nil {
			return doors, err
		}
		doors = append(doors, d)
	}
	return doors, nil
}

// start runs a door in Go, and waits until it is ready.
func start(ctx context.Context, name string, cmd *exec.Cmd) (*door, error) {
	l, err := listen(ctx)
	if err != nil {
		return nil, err
	}
	d, out, err := startAt(name, l, cmd)
	if err != nil {
		return nil, err
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" { // why, it has said itself
		d.close()
		return nil, fmt.Errorf("starting %s: it said %q in place of ready", name, line)
	}
	return d, nil
}

func listen(ctx context.Context) (*net.TCPListener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for a door: %w", err)
	}
	return l.(*net.TCPListener), nil
}

// startAt runs a door at a listener of this process, which it has as descriptor 3, and
// returns what it says. The listener is closed here.
func startAt(name string, l *net.TCPListener, cmd *exec.Cmd) (*door, io.Reader, error) {
	fail := func(err error) (*door, io.Reader, error) { return nil, nil, fmt.Errorf("starting %s: %w", name, err) }
	defer l.Close() //nolint:errcheck // the door has its own
	file, err := l.File()
	if err != nil {
		return fail(err)
	}
	defer file.Close() //nolint:errcheck // as above
	cmd.ExtraFiles, cmd.Stderr = []*os.File{file}, os.Stderr
	alive, err := cmd.StdinPipe()
	if err != nil {
		return fail(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	return &door{name: name, addr: l.Addr().String(), cmd: cmd, alive: alive}, out, nil
}

// close ends the door's process.
func (d *door) close() {
	_ = d.alive.Close()
	if d.foreign {
		_ = d.cmd.Process.Signal(syscall.SIGTERM) // nginx ends its worker
	}
	_ = d.cmd.Wait()
	if d.dir != "" {
		_ = os.RemoveAll(d.dir)
	}
}

// cpu returns what all threads of the door have run, those of its worker too, as the
// kernel counted it.
func (d *door) cpu() (all time.Duration) {
	of := []string{strconv.Itoa(d.cmd.Process.Pid)}
	workers, _ := os.ReadFile("/proc/" + of[0] + "/task/" + of[0] + "/children") // most have none
	var tasks []string
	for _, pid := range append(of, strings.Fields(string(workers))...) {
		threads, _ := filepath.Glob("/proc/" + pid + "/task/*/schedstat") // the pattern is good
		tasks = append(tasks, threads...)
	}
	for _, t := range tasks {
		text, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, _ := strconv.ParseInt(first, 10, 64)
		all += time.Duration(ns)
	}
	return all
}
