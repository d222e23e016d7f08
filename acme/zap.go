package acme

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// core writes certmagic's log into the node's: its steps at debug, its warnings and errors
// as warnings.
type core struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func zapOf(log *slog.Logger) *zap.Logger { return zap.New(core{log: log}) }

// level is what a line is worth here. What a stranger can cause by a handshake is for
// debugging only.
func level(e zapcore.Entry) slog.Level {
	if e.Level < zapcore.WarnLevel || e.LoggerName == "handshake" || e.Message == "tls-alpn challenge" {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// Enabled implements zapcore.Core. Certmagic's own debug lines are left out: they hold
// more than a log may.
func (c core) Enabled(l zapcore.Level) bool { return l >= zapcore.InfoLevel }

// With implements zapcore.Core.
func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.log, append(append([]zapcore.Field(nil), c.fields...), fields...)}
}

// Check implements zapcore.Core.
func (c core) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) && c.log.Enabled(context.Background(), level(e)) {
		return to.AddCore(e, c)
	}
	return to
}

// Write implements zapcore.Core.
func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(append([]zapcore.Field(nil), c.fields...), fields...) {
		f.AddTo(enc)
	}
	c.log.Log(context.Background(), level(e), "certificates: "+e.Message, "certmagic", enc.Fields)
	return nil
}

// Sync implements zapcore.Core.
func (c core) Sync() error { return nil }
