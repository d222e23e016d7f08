package admin

import (
	"context"
	"log/slog"
	"sync"
	"unicode/utf8"

	"tandem/admin/api"
)

// auditKept is how many changes the door remembers for GET /v1/audit; the log
// has them all.
const auditKept = 1000

// auditLog writes every change, tried or done, to the log and keeps the last.
type auditLog struct {
	log *slog.Logger

	mu   sync.Mutex
	ring []api.Change
	next int
}

func newAuditLog(log *slog.Logger) *auditLog { return &auditLog{log: log} }

// record writes one change down. Texts from the outside are cut to a length
// that no line suffers from; escaping them is the log handler's part.
func (a *auditLog) record(ctx context.Context, c api.Change) {
	c.Subject, c.Detail = cut(c.Subject, 256), cut(c.Detail, 256)
	a.log.LogAttrs(ctx, slog.LevelInfo, "audit",
		slog.String("by", c.By), slog.String("from", c.From), slog.String("action", c.Action),
		slog.String("subject", c.Subject), slog.Int("status", c.Status), slog.String("detail", c.Detail))
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ring) < auditKept {
		a.ring = append(a.ring, c)
		return
	}
	a.ring[a.next] = c
	a.next = (a.next + 1) % auditKept
}

// list returns the remembered changes, newest first, at most limit.
func (a *auditLog) list(limit int) []api.Change {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := min(limit, len(a.ring))
	out := make([]api.Change, 0, n)
	for i := range n {
		out = append(out, a.ring[(a.next+len(a.ring)-1-i)%len(a.ring)])
	}
	return out
}

// cut shortens a text to n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
