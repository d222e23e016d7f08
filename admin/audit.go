package admin

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"tandem/admin/api"
	"tandem/ownership"
)

// auditKept is how many changes the door remembers for GET /v1/audit; the log
// has them all.
const auditKept = 1000

// auditLog writes every change, tried or done, to the log and to the region's ledger, and
// keeps the last.
type auditLog struct {
	log   *slog.Logger
	enter func(context.Context, api.Change) error // into the ledger; nil: nowhere

	mu      sync.Mutex
	ring    []api.Change
	next    int
	waiting []api.Change // to be entered, oldest first
	refused struct {     // attempts without the right, of the minute that began then
		since time.Time
		n     int
	}
}

// Bounds of what reaches the ledger.
const (
	enterTime      = time.Second // one change waits for its entry at most
	auditWaiting   = auditKept   // changes that wait for a leader; the log has more
	refusedAMinute = 60          // attempts without the right: they cost nothing to make
)

func newAuditLog(log *slog.Logger) *auditLog { return &auditLog{log: log} }

// record writes one change down. Texts from the outside are cut to a length
// that no line suffers from; escaping them is the log handler's part.
func (a *auditLog) record(ctx context.Context, c api.Change) {
	c.Subject, c.Detail = cut(c.Subject, 256), cut(c.Detail, 256)
	a.log.LogAttrs(ctx, slog.LevelInfo, "audit",
		slog.String("by", c.By), slog.String("from", c.From), slog.String("action", c.Action),
		slog.String("subject", c.Subject), slog.Int("status", c.Status), slog.String("detail", c.Detail))
	if a.keep(c) {
		a.flush(context.WithoutCancel(ctx)) // who asked may have gone; that he asked has not
	}
}

// keep remembers a change, and reports whether it is one for the ledger.
func (a *auditLog) keep(c api.Change) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ring) < auditKept {
		a.ring = append(a.ring, c)
	} else {
		a.ring[a.next] = c
		a.next = (a.next + 1) % auditKept
	}
	if c.Status == http.StatusForbidden {
		if a.refused.n++; c.At.Sub(a.refused.since) >= time.Minute {
			a.refused.since, a.refused.n = c.At, 1
		}
		if a.refused.n > refusedAMinute {
			return false
		}
	}
	if a.enter == nil || len(a.waiting) >= auditWaiting {
		return false
	}
	a.waiting = append(a.waiting, c)
	return true
}

// flush enters what waits into the ledger, in the order in which it happened. Without a
// leader it stays for the next time.
func (a *auditLog) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, enterTime)
	defer cancel()
	for {
		a.mu.Lock()
		if len(a.waiting) == 0 {
			a.mu.Unlock()
			return
		}
		c := a.waiting[0]
		a.waiting = a.waiting[1:] // taken: nobody else enters it meanwhile
		a.mu.Unlock()
		if err := a.enter(ctx, c); err != nil {
			a.mu.Lock()
			a.waiting = append([]api.Change{c}, a.waiting...)
			a.mu.Unlock()
			a.log.Warn("a change is not in the ledger yet; it is tried again", "action", c.Action, "err", err)
			return
		}
	}
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

// enterNote puts a change into the ledger, in the name of who asked for it.
func (d *Door) enterNote(ctx context.Context, c api.Change) error {
	if d.deps.Table.Format() < ownership.FormatLedger {
		return nil // the region has none yet
	}
	out, err := d.deps.Cluster.Do(ownership.By(ctx, c.By), ownership.Note{
		At: c.At, By: c.By, From: c.From, Action: c.Action, Subject: c.Subject, Status: c.Status, Detail: c.Detail,
	})
	if err != nil {
		return err
	}
	return out.Err
}

// FlushAudit enters the changes into the ledger that found no leader when they were asked
// for. Whoever looks after the node calls it now and then.
func (d *Door) FlushAudit(ctx context.Context) { d.audit.flush(ctx) }
