package graphsim

import (
	"context"
	"errors"
	"log/slog"
	"sync"
)

// Replies hears in the logs of nodes of this process about which calls a bot did not reply
// in time: GaveUp is for Config.GaveUp. The zero value is ready.
type Replies struct {
	mu   sync.Mutex
	late map[lateReply]bool
}

type lateReply struct{ node, call string }

// Hear returns a handler that passes on to next what that one takes. Each node's logger
// must say whose it is: With("node", name).
func (r *Replies) Hear(next slog.Handler) slog.Handler { return hearing{next, r, ""} }

// GaveUp reports whether a node noted that its bot did not reply in time about a call.
func (r *Replies) GaveUp(node, call string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.late[lateReply{node, call}]
}

// handOverFailed is what a node says of a hand-over that failed, with its call and why.
const handOverFailed = "hand-over failed"

type hearing struct {
	next    slog.Handler
	replies *Replies
	node    string
}

// Enabled implements slog.Handler.
func (h hearing) Enabled(ctx context.Context, l slog.Level) bool {
	return l == slog.LevelWarn || h.next.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h hearing) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == handOverFailed {
		var call string
		late := false // a node that stops gives up too, and is forgiven nothing
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "call":
				call = normal(a.Value.String())
			case "err":
				err, _ := a.Value.Any().(error)
				late = errors.Is(err, context.DeadlineExceeded)
			}
			return true
		})
		if late {
			h.replies.note(h.node, call)
		}
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

func (r *Replies) note(node, call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.late == nil {
		r.late = map[lateReply]bool{}
	}
	r.late[lateReply{node, call}] = true
}

// WithAttrs implements slog.Handler.
func (h hearing) WithAttrs(all []slog.Attr) slog.Handler {
	for _, a := range all {
		if a.Key == "node" {
			h.node = a.Value.String()
		}
	}
	h.next = h.next.WithAttrs(all)
	return h
}

// WithGroup implements slog.Handler.
func (h hearing) WithGroup(name string) slog.Handler {
	h.next = h.next.WithGroup(name)
	return h
}
