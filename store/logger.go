package store

import (
	"context"
	"io"
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// RaftLogger gives hashicorp's libraries a logger whose lines go to slog: an
// hclog.InterceptLogger that writes nowhere itself and has one sink.
func RaftLogger(to *slog.Logger) hclog.InterceptLogger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Debug, Output: io.Discard})
	l.RegisterSink(slogSink{to})
	return l
}

// repeated are raft's lines about a node that does not answer: several a second,
// for as long as it does not. Whoever runs raft tells of such a node once.
var repeated = map[string]bool{
	"failed to heartbeat to": true, "failed to appendEntries to": true, "failed to contact": true,
	"failed to make requestVote RPC": true, "failed to pipeline appendEntries": true,
}

// taken are the keys that a line has already.
var taken = map[string]bool{"time": true, "level": true, "msg": true, "part": true, "node": true}

type slogSink struct{ to *slog.Logger }

// Accept implements hclog.SinkAdapter.
func (s slogSink) Accept(name string, level hclog.Level, msg string, args ...any) {
	lvl := slog.LevelDebug
	switch level {
	case hclog.Info:
		lvl = slog.LevelInfo
	case hclog.Warn:
		lvl = slog.LevelWarn
	case hclog.Error:
		lvl = slog.LevelError
	}
	if repeated[msg] {
		lvl = slog.LevelDebug
	}
	if !s.to.Enabled(context.Background(), lvl) {
		return
	}
	args = slices.Clone(args)
	for i, a := range args {
		if key, ok := a.(string); ok && i%2 == 0 && taken[key] {
			args[i] = "raft_" + key
		}
		// hclog's formats (Fmt, Hex, …) are its own types; slog prints them as numbers.
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = f[1:]
		}
	}
	s.to.With("part", name).Log(context.Background(), lvl, msg, args...)
}
