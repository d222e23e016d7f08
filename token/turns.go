package token

import (
	"container/list"
	"context"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Waiting for a signature check.
const (
	// turnWait is how long a token waits for its check. Waiting costs nothing, being
	// sent away costs a call; but the answer to an incoming call is due in 5 to 15 s.
	turnWait = 2 * time.Second
	// maxTurns bounds the tokens that wait, of all senders.
	maxTurns = 2048
)

// senderKey is the context's key of Sender.
type senderKey struct{}

// WithSender says which address a token came from. Signature checks are given out
// in turns among senders, so that one who sends many bad tokens waits for his own.
func WithSender(ctx context.Context, a netip.Addr) context.Context {
	return context.WithValue(ctx, senderKey{}, a)
}

// sender is who stands in one line: an address, and the app that the token is for.
// Where the address is not known the app alone keeps one bot's flood from another.
type sender struct {
	addr netip.Addr
	app  string
}

// SenderOf returns the address that WithSender said; the zero one: nobody knows it.
func SenderOf(ctx context.Context) netip.Addr {
	addr, _ := ctx.Value(senderKey{}).(netip.Addr)
	return addr
}

// turns gives out the right to check a signature: to so many at a time, and in
// turns among the lines of the senders. When too many wait, the longest line's last
// goes without.
type turns struct {
	mu    sync.Mutex
	free  int
	lines map[sender]*line
	round list.List // *line, in the order of their turns
	all   int       // who wait
}

// line is the waiting of one sender, the first one first.
type line struct {
	of      sender
	waiters []*waiter
	at      *list.Element
}

// waiter waits for its turn; go says whether it has come.
type waiter struct {
	turn chan bool
}

// newTurns lets the checks have half of the processors: leases, raft and the bots'
// calls want some, too.
func newTurns() *turns {
	return &turns{free: max(1, runtime.GOMAXPROCS(0)/2), lines: map[sender]*line{}}
}

// take waits for a turn. done must be called after true.
func (t *turns) take(ctx context.Context, of sender) bool {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return true
	}
	w := t.join(of)
	t.mu.Unlock()
	if w == nil {
		return false
	}
	patience := time.NewTimer(turnWait)
	defer patience.Stop()
	select {
	case ok := <-w.turn:
		return ok
	case <-patience.C:
	case <-ctx.Done():
	}
	return t.giveUp(of, w)
}

// join puts a waiter at the end of its sender's line; nil: there is no room.
func (t *turns) join(of sender) *waiter {
	l := t.lines[of]
	mine := 0
	if l != nil {
		mine = len(l.waiters)
	}
	if t.all >= maxTurns {
		long := t.longest()
		if len(long.waiters) <= mine+1 {
			return nil
		}
		last := len(long.waiters) - 1
		long.waiters[last].turn <- false
		t.drop(long, last)
	}
	if l == nil || l.at == nil {
		l = &line{of: of}
		l.at = t.round.PushBack(l)
		t.lines[of] = l
	}
	w := &waiter{turn: make(chan bool, 1)}
	l.waiters = append(l.waiters, w)
	t.all++
	return w
}

// longest returns the longest line. It looks at all, which is dear only where there
// are many lines, and then each is short.
func (t *turns) longest() *line {
	var long *line
	for _, l := range t.lines {
		if long == nil || len(l.waiters) > len(long.waiters) {
			long = l
		}
		if len(long.waiters) > maxTurns/8 {
			break
		}
	}
	return long
}

// drop takes one out of a line, and an empty line out of the round.
func (t *turns) drop(l *line, i int) {
	if i == 0 {
		l.waiters[0] = nil
		l.waiters = l.waiters[1:]
	} else {
		l.waiters = slices.Delete(l.waiters, i, i+1)
	}
	t.all--
	if len(l.waiters) == 0 {
		t.round.Remove(l.at)
		l.at = nil
		delete(t.lines, l.of)
	}
}

// giveUp takes a waiter out; it tells whether its turn came meanwhile.
func (t *turns) giveUp(of sender, w *waiter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case ok := <-w.turn:
		return ok
	default:
	}
	l := t.lines[of]
	for i := range l.waiters {
		if l.waiters[i] == w {
			t.drop(l, i)
			break
		}
	}
	return false
}

// done passes the turn to the first of the next line.
func (t *turns) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.round.Front()
	if first == nil {
		t.free++
		return
	}
	l := first.Value.(*line)
	w := l.waiters[0]
	t.round.MoveToBack(first)
	t.drop(l, 0)
	w.turn <- true
}
