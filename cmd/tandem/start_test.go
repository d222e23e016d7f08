package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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

// TestF48_FailedReloadIsInTheNodesLog: a SIGHUP has nobody to answer, so what
// went wrong must stand where the node's other words do, in their form.
func TestF48_FailedReloadIsInTheNodesLog(t *testing.T) {
	dir := t.TempDir()
	file, keys := filepath.Join(dir, "node.yaml"), filepath.Join(dir, "handle-keys")
	if err := errors.Join(os.WriteFile(file, []byte(startedYAML), 0o600), os.WriteFile(keys, []byte(newHandleKey()), 0o600)); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(file, nil, []string{"node.data_dir=" + dir, "handle_keys_file=" + keys})
	if err != nil {
		t.Fatal(err)
	}
	log := &heard{}
	cfg.Logger = slog.New(slog.NewJSONHandler(log, nil)).With("node", "solo-1")
	reread := func() (node.Config, error) { return node.Config{}, errors.New("line 3 is odd") }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan error, 1)
	a := &app{out: io.Discard, err: io.Discard}
	log.await(t, "the node is up", func() { go func() { over <- a.start(ctx, cfg.Config, reread) }() })
	said := log.await(t, "line 3 is odd", func() { _ = syscall.Kill(os.Getpid(), syscall.SIGHUP) })
	if !strings.Contains(said, `"msg":"reloading: what was in force stays","node":"solo-1","err":"line 3 is odd"`) {
		t.Errorf("the node's log says %s", said)
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
