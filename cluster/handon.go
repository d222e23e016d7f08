package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"connectrpc.com/connect"

	"tandem/cluster/leader"
	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// Bounds of the memory that one partition takes along.
const (
	memoryChunk = 1 << 20   // bytes in one message
	maxMemory   = 256 << 20 // bytes that a node takes from another
)

// direct asks the leader which node is fittest to take a partition, but for some.
func (mv *moves) direct(ctx context.Context, id ownership.PartitionID, but []ownership.NodeID) (to ownership.NodeID, err error) {
	err = mv.persist(ctx, mv.cfg.Timings.Decide, "asking who takes partition "+id.String(), anytime, func(ctx context.Context, at ownership.NodeID, addr string) error {
		to, err = askLeader(mv.proposals, at, addr, func(l *leader.Leadership) (ownership.NodeID, error) {
			return l.Fittest(ctx, id, but)
		}, func(p *transport.Peer) (ownership.NodeID, error) {
			req := &peerpb.DirectRequest{Partition: uint32(id)}
			for _, n := range but {
				req.But = append(req.But, string(n))
			}
			res, err := p.Direct(ctx, req)
			return ownership.NodeID(res.GetNode()), err
		})
		return err
	})
	return to, err
}

func nodeIDs(names []string) []ownership.NodeID {
	ids := make([]ownership.NodeID, len(names))
	for i, n := range names {
		ids[i] = ownership.NodeID(n)
	}
	return ids
}

// handOn gives the next owner what this node knows of the partition's handled
// messages, so that a repeat that arrives there after the move finds its reply.
// Nothing is handed on before the partition rests: what is under way is not yet in
// the memory.
func (mv *moves) handOn(ctx context.Context, id ownership.PartitionID, to ownership.NodeID) error {
	return mv.send(ctx, id, mv.memory(id), to)
}

func (mv *moves) memory(id ownership.PartitionID) []byte {
	if mv.deps.Memory == nil {
		return nil
	}
	return mv.deps.Memory(id)
}

func (mv *moves) send(ctx context.Context, id ownership.PartitionID, memory []byte, to ownership.NodeID) error {
	if len(memory) == 0 {
		return nil
	}
	n, ok := mv.tb.Node(to)
	if !ok {
		return fmt.Errorf("handing on its memory to node %s: %w", to, ownership.ErrUnknown)
	}
	ctx, cancel := context.WithTimeout(ctx, mv.cfg.Timings.Relay)
	defer cancel()
	p := mv.links.To(n.ID, n.ClusterAddr)
	stream, err := p.Take(ctx)
	if err != nil {
		return fmt.Errorf("handing on its memory: %w", p.Said(err))
	}
	for part := range slices.Chunk(memory, memoryChunk) {
		if err := stream.Send(&peerpb.TakeRequest{Partition: uint32(id), Memory: part}); err != nil {
			break // the answer says why
		}
	}
	if _, err := stream.CloseAndReceive(); err != nil {
		return fmt.Errorf("handing on its memory: %w", p.Said(err))
	}
	return nil
}

// Take takes the memory of a partition that is about to be this node's. It is
// believed from its present owner only, and harmless if the move comes to nothing.
func (d *peerDoor) Take(ctx context.Context, stream *connect.ClientStream[peerpb.TakeRequest]) (*peerpb.TakeReply, error) {
	memory, id, err := d.readMemory(transport.SpeakerOf(ctx), stream)
	if err != nil {
		return nil, fmt.Errorf("taking the memory of partition %s: %w", id, err)
	}
	if d.deps.Recall != nil {
		d.deps.Recall(id, memory)
	}
	return &peerpb.TakeReply{}, nil
}

func (mv *moves) readMemory(from ownership.NodeID, stream *connect.ClientStream[peerpb.TakeRequest]) (memory []byte, id ownership.PartitionID, err error) {
	for stream.Receive() {
		m := stream.Msg()
		if id == 0 {
			id = ownership.PartitionID(m.GetPartition())
			if p, ok := mv.tb.Partition(id); !ok || p.Owner != from {
				return nil, id, fmt.Errorf("by this node's table it is not %s's: %w", from, ownership.ErrBehind)
			}
		}
		if ownership.PartitionID(m.GetPartition()) != id {
			return nil, id, fmt.Errorf("its messages speak of several: %w", ownership.ErrConflict)
		}
		if len(memory)+len(m.GetMemory()) > maxMemory {
			return nil, id, fmt.Errorf("it is longer than %d bytes: %w", maxMemory, ownership.ErrConflict)
		}
		memory = append(memory, m.GetMemory()...)
	}
	if err := stream.Err(); err != nil && !errors.Is(err, io.EOF) {
		return nil, id, err
	}
	return memory, id, nil
}
