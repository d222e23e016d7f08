package node

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"
)

// TestTheLastLinesOfTheLogAreKept: bounded, whole lines, the newest, at the level in force,
// whatever form the log itself has.
func TestTheLastLinesOfTheLogAreKept(t *testing.T) {
	t.Parallel()
	var kept lastLines
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := kept.beside(slog.New(slog.NewTextHandler(io.MultiWriter(&out, io.Discard), &slog.HandlerOptions{Level: level})), level).With("node", "emea-1")
	log.Debug("nobody wants it")
	setLevel(level, "debug")
	log.Debug("somebody wants it")
	if text := string(kept.text()); strings.Contains(text, "nobody") || !strings.Contains(text, `"level":"DEBUG","msg":"somebody wants it","node":"emea-1"`) || !strings.Contains(out.String(), "somebody") {
		t.Errorf("kept is %q, the log %q", text, &out)
	}
	for i := range 3 * keptLog / 100 {
		log.Info("a line", "i", i, "text", strings.Repeat("x", 50))
	}
	log.Warn("the last one")
	text := kept.text()
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(text) > keptLog || len(text) < keptLog*9/10 || !strings.Contains(lines[len(lines)-1], "the last one") {
		t.Errorf("%d bytes are kept, the last line is %s", len(text), lines[len(lines)-1])
	}
	for _, l := range lines {
		if !json.Valid([]byte(l)) {
			t.Fatalf("a line is %q", l)
		}
	}
}
