package store

import (
	"context"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// RaftLogger gives hashicorp's libraries a logger whose lines go to slog: an
// hclog.InterceptLogger that writes nowhere itself and has one sink.
func RaftLogger(to *slog.Logger) hclog.InterceptLogger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Debug, Output: io.Discard})
	l.RegisterSink(slogSink{to})
	return l
}

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
	if !s.to.Enabled(context.Background(), lvl) {
		return
	}
	for i, a := range args {
		// hclog's formats (Fmt, Hex, …) are its own types; slog prints them as numbers.
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = f[1:]
		}
	}
	s.to.With("part", name).Log(context.Background(), lvl, msg, args...)
}
