package node

import (
	"io"
	"log/slog"
	"os"
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
