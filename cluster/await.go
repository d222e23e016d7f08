package cluster

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"
)

// await waits for a raft future no longer than ctx. Raft's own waits know no
// context, and with a stalled disk even starting one can block for ever; the
// goroutine left behind then ends with the process, which the watchdog sees to.
func await[F raft.Future](ctx context.Context, start func() F) error {
	done := make(chan error, 1)
	go func() { done <- start().Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// handLead hands on the lead, as start asks raft to.
func (c *Cluster) handLead(ctx context.Context, start func() raft.Future) error {
	select {
	case c.handing <- struct{}{}:
	default:
		return raft.ErrLeadershipTransferInProgress
	}
	return await(ctx, func() raft.Future { return handed{start(), c.handing} })
}

type handed struct {
	raft.Future
	done chan struct{}
}

// Error implements raft.Future.
func (h handed) Error() error {
	defer func() { <-h.done }()
	return h.Future.Error()
}

// leadHanded waits until raft has answered whoever has it hand on the lead: when
// it is shut down meanwhile it never does (1.8.0, leaderLoop). It takes an election's
// time at most, unless the disk stalls.
func (c *Cluster) leadHanded(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, transferLimit)
	defer cancel()
	select {
	case c.handing <- struct{}{}: // for good
	case <-ctx.Done():
	}
}

// signal wakes everybody who waits for the next thing to happen. The zero value
// is ready.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// next gives a channel that is closed by the next fire. Take it before looking
// at what it announces.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

// fire wakes the waiting.
func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
