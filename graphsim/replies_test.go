package graphsim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestRepliesAreHeardInTheLog: of the nodes that say so, and of no other failure; and what the
// log is for still gets into it.
func TestRepliesAreHeardInTheLog(t *testing.T) {
	var out bytes.Buffer
	replies := new(Replies)
	log := slog.New(replies.Hear(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})))
	one, two := log.With("node", "n1").With("room", "bot"), log.With("node", "n2")
	one.Warn("hand-over failed", "call", "AB-1", "err", fmt.Errorf("handing over: %w", context.DeadlineExceeded))
	one.Warn("hand-over failed", "call", "ab2", "err", fmt.Errorf("handing over: %w", context.Canceled))
	one.Warn("something else", "call", "ab3", "err", context.DeadlineExceeded)
	two.Warn("hand-over failed", "call", "ab4", "err", errors.New("refused"))
	two.Error("heard")
	for _, id := range []string{"ab1", "ab2", "ab3", "ab4"} {
		for _, node := range []string{"n1", "n2"} {
			if got, want := replies.GaveUp(node, id), id == "ab1" && node == "n1"; got != want {
				t.Errorf("%s gave up on %s: %t, want %t", node, id, got, want)
			}
		}
	}
	if text := out.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "msg=heard node=n2") {
		t.Errorf("the log holds %q", text)
	}
}
