package node

import (
	"log/slog"
	"os"
)

// newLogger writes to standard error, where supervisors look.
func newLogger(c Log, level *slog.LevelVar) *slog.Logger {
	setLevel(level, c.Level)
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

// setLevel takes a checked word; anything else leaves the level as it is.
func setLevel(level *slog.LevelVar, word string) {
	var l slog.Level
	if l.UnmarshalText([]byte(word)) == nil {
		level.Set(l)
	}
}
