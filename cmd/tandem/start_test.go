package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/cmd/tandem/service"
	"tandem/node"
)

const startedYAML = `
deployment: d
node: {id: solo-1, region: solo}
public: {listen: "127.0.0.1:0", url: "http://127.0.0.1:1", tls: {off: true}}
cluster: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
auth: {profiles: [{name: own, openid_url: "http://127.0.0.1:1/none", issuers: [i]}]}
apps: [{id: 0efc74f7-41c3-47a4-8775-7259bfef4241, profile: own, bot: {url: "http://127.0.0.1:1/"}}]
`

// heard is a log that tells when a line with a text has come.
type heard struct {
	mu    sync.Mutex
	lines bytes.Buffer
	text  string
	came  chan struct{}
}

func (h *heard) Write(line []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.text != "" && strings.Contains(string(line), h.text) {
		close(h.came)
		h.text = ""
	}
	return h.lines.Write(line)
}

// await returns the log once the text stands in it; first is done before waiting.
func (h *heard) await(t *testing.T, text string, first func()) string {
	t.Helper()
	h.mu.Lock()
	came := make(chan struct{})
	h.text, h.came = text, came
	h.mu.Unlock()
	first()
	select {
	case <-came:
	case <-time.After(20 * time.Second):
		t.Errorf("nothing said %q", text)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lines.String()
}

// TestF48_ReloadBySignalAndByCommand: a SIGHUP has nobody to answer, so what went wrong
// stands where the node's other words do, in their form; 'tandem reload' tells it to who
// asked. A good file comes into force, and what waits for a restart is named.
func TestF48_ReloadBySignalAndByCommand(t *testing.T) {
	dir := t.TempDir()
	file, keys := filepath.Join(dir, "node.yaml"), filepath.Join(dir, "handle-keys")
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, startedYAML)
	write(keys, newHandleKey())
	load := func() (node.Config, error) {
		cfg, err := loadConfig(file, nil, []string{"node.data_dir=" + dir, "handle_keys_file=" + keys})
		if err != nil {
			return node.Config{}, err
		}
		return cfg.Config, nil
	}
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	log := &heard{}
	cfg.Logger = slog.New(slog.NewJSONHandler(log, nil)).With("node", "solo-1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan error, 1)
	a := &app{out: io.Discard, err: io.Discard}
	up := log.await(t, "the node is up", func() {
		go func() {
			over <- service.Run(ctx, func(ctx context.Context, c service.Controls) error { return a.start(ctx, cfg, load, c) })
		}()
	})
	admin := regexp.MustCompile(`"admin":"([^"]+)"`).FindStringSubmatch(up)[1]

	write(file, "odd: 1\n"+startedYAML)
	said := log.await(t, "field odd not found", func() { _ = syscall.Kill(os.Getpid(), syscall.SIGHUP) })
	if !strings.Contains(said, `"msg":"reloading: what was in force stays","node":"solo-1","err":"reading the configuration `) {
		t.Errorf("the node's log says %s", said)
	}
	reload := func() (int, string) {
		var told bytes.Buffer
		return run([]string{"reload", "--addr", "http://" + admin}, &told, &told), told.String()
	}
	if code, told := reload(); code != exitFailure || !strings.Contains(told, "what was in force stays: reading the configuration") || !strings.Contains(told, "line 1: field odd not found") {
		t.Errorf("a bad file: exit code %d: %s", code, told)
	}
	write(file, startedYAML+"log: {level: debug}\n")
	if code, told := reload(); code != exitOK || strings.Contains(told, "waits") {
		t.Errorf("a new log level: exit code %d: %s", code, told)
	}
	write(file, strings.Replace(startedYAML, "region: solo}", "region: solo, capacity: 7}", 1))
	if code, told := reload(); code != exitOK || !strings.Contains(told, "waits for a restart") {
		t.Errorf("a new capacity: exit code %d: %s", code, told)
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
