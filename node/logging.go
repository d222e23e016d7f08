package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
)

// newLogger writes to standard error, where supervisors look, or to what it is told.
func newLogger(c Log, to io.Writer, level *slog.LevelVar) *slog.Logger {
	setLevel(level, c.Level)
	if to == nil {
		to = os.Stderr
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(to, o))
	}
	return slog.New(slog.NewTextHandler(to, o))
}

// setLevel takes a checked word; anything else leaves the level as it is.
func setLevel(level *slog.LevelVar, word string) {
	var l slog.Level
	if l.UnmarshalText([]byte(word)) == nil {
		level.Set(l)
	}
}

// logs is the level of a node's log, which can be set as it runs, and the log's end.
type logs struct {
	level *slog.LevelVar
	last  lastLines
}

// keptLog is how many bytes of its log a node remembers, for who asks from far away.
const keptLog = 1 << 20

// lastLines are the last lines of a log. Each Write is a line.
type lastLines struct {
	mu    sync.Mutex
	lines [][]byte
	size  int // bytes
}

// Write implements io.Writer.
func (l *lastLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, bytes.Clone(line))
	l.size += len(line)
	for l.size > keptLog {
		l.size -= len(l.lines[0])
		l.lines = l.lines[1:]
	}
	return len(line), nil
}

// text is all that is kept, oldest first.
func (l *lastLines) text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Join(l.lines, nil)
}

// beside has what a log tells kept here, too, as JSON.
func (l *lastLines) beside(log *slog.Logger, level slog.Leveler) *slog.Logger {
	return slog.New(both{log.Handler(), slog.NewJSONHandler(l, &slog.HandlerOptions{Level: level})})
}

// both are two handlers of one log. A record that is below the level of each was handed over
// all the same, for somebody follows it: both get it.
type both [2]slog.Handler

// Enabled implements slog.Handler.
func (b both) Enabled(ctx context.Context, level slog.Level) bool {
	return b[0].Enabled(ctx, level) || b[1].Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (b both) Handle(ctx context.Context, r slog.Record) (err error) {
	asked := b.Enabled(ctx, r.Level)
	for _, h := range b {
		if !asked || h.Enabled(ctx, r.Level) {
			err = errors.Join(err, h.Handle(ctx, r.Clone()))
		}
	}
	return err
}

// WithAttrs implements slog.Handler.
func (b both) WithAttrs(attrs []slog.Attr) slog.Handler {
	return both{b[0].WithAttrs(attrs), b[1].WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (b both) WithGroup(name string) slog.Handler {
	return both{b[0].WithGroup(name), b[1].WithGroup(name)}
}
