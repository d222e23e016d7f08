package leader

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"

	"tandem/ownership"
)

// Servers returns raft's latest configuration. It comes from memory.
func Servers(r *raft.Raft) []raft.Server {
	f := r.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// Placed reports whether a node is among the servers.
func Placed(servers []raft.Server, id ownership.NodeID) bool {
	return slices.ContainsFunc(servers, func(s raft.Server) bool { return s.ID == raft.ServerID(id) })
}

// Voters returns those of raft's latest configuration that vote.
func Voters(r *raft.Raft) []raft.Server {
	return slices.DeleteFunc(slices.Clone(Servers(r)), func(s raft.Server) bool { return s.Suffrage != raft.Voter })
}

// Await waits for a raft future no longer than ctx. Raft's own waits know no
// context, and with a stalled disk even starting one can block for ever; the
// goroutine left behind then ends with the process, which the watchdog sees to.
func Await[F raft.Future](ctx context.Context, start func() F) error {
	done := make(chan error, 1)
	go func() { done <- start().Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Refusal tells what raft's errors mean to a caller here.
func Refusal(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrRaftShutdown):
		return fmt.Errorf("%w: %w", ownership.ErrNotLeader, err)
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrAbortedByRestore):
		return fmt.Errorf("%w: %w", ownership.ErrNoLeader, err)
	}
	return err
}
