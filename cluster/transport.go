package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"tandem/ownership"
)

// raftTransport is raft's transport over the cluster port. Raft's own transport
// dials; what comes in gets a transport of its own for each connection, so that
// every raft message can be held against the certificate of the connection that
// carried it. With raft's transport alone any node of the region could speak
// for any other, and three forged messages are enough to take a region over.
type raftTransport struct {
	*raft.NetworkTransport
	timeout time.Duration
	log     hclog.Logger
	refused func(why string)
	beats   *heartbeats

	incoming  chan raft.RPC
	heartbeat atomic.Pointer[func(raft.RPC)]
	deaf      atomic.Bool // no raft message is answered and no vote asked for, see Cluster.admitted
	welcome   welcome
	stranger  func(ownership.NodeID) bool // its raft messages are not answered, see Cluster.stranger

	mu     sync.Mutex
	inner  map[*raft.NetworkTransport]struct{}
	closed bool
	done   chan struct{}
	wg     sync.WaitGroup
}

// raftIOTimeout bounds one raft message on the wire; snapshots get more by size.
const raftIOTimeout = 5 * time.Second

// unpiped turns raft's pipelines off. A follower that refuses an entry ends its
// pipeline's reader, and the sender may then wait for it without a bound, over an
// open connection; raft's shutdown waits for the sender (raft 1.8.0,
// netPipeline.decodeResponses, Raft.pipelineReplicate). With claims combined into
// large entries they win nothing that could be measured.
const unpiped = 1

// welcome takes the word of whoever opened a connection, see Cluster.welcome.
type welcome func(conn net.Conn, node ownership.NodeID) (net.Conn, error)

// byID has raft's transport dial node ids: where a node is, is found out then.
type byID struct{}

// ServerAddr implements raft.ServerAddressProvider.
func (byID) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	return raft.ServerAddress(id), nil
}

func newRaftTransport(addr net.Addr, open func(ctx context.Context, id ownership.NodeID) (net.Conn, error), welcome welcome, log hclog.Logger, refused func(string)) *raftTransport {
	t := &raftTransport{
		welcome: welcome,
		timeout: raftIOTimeout, log: log, refused: refused, beats: newHeartbeats(heldBackFor),
		incoming: make(chan raft.RPC),
		inner:    make(map[*raft.NetworkTransport]struct{}),
		done:     make(chan struct{}),
	}
	t.NetworkTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                &dialStream{handedListener: newHandedListener(addr), open: open},
		ServerAddressProvider: byID{},
		MaxPool:               3, MaxRPCsInFlight: unpiped, Timeout: t.timeout, Logger: log,
	})
	return t
}

// Consumer implements raft.Transport.
func (t *raftTransport) Consumer() <-chan raft.RPC { return t.incoming }

// SetHeartbeatHandler implements raft.Transport.
func (t *raftTransport) SetHeartbeatHandler(cb func(raft.RPC)) { t.heartbeat.Store(&cb) }

// Close implements raft.WithClose: nothing comes in or goes out after it.
func (t *raftTransport) Close() error {
	t.mu.Lock()
	already := t.closed
	t.closed = true
	inner := make([]*raft.NetworkTransport, 0, len(t.inner))
	for in := range t.inner {
		inner = append(inner, in)
	}
	t.mu.Unlock()
	if already {
		return nil
	}
	close(t.done)
	t.beats.end()
	for _, in := range inner {
		_ = in.Close()
	}
	err := t.NetworkTransport.Close()
	t.NetworkTransport.CloseStreams()
	return err
}

// EncodePeer implements raft.Transport: the address that a leader gives of itself.
func (t *raftTransport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte {
	return []byte(addr)
}

// RequestVote implements raft.Transport: a node that may give no vote asks for none.
func (t *raftTransport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if t.deaf.Load() {
		return errNotAdmitted
	}
	return t.NetworkTransport.RequestVote(id, target, args, resp)
}

// RequestPreVote implements raft.WithPreVote, as RequestVote.
func (t *raftTransport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if t.deaf.Load() {
		return errNotAdmitted
	}
	return t.NetworkTransport.RequestPreVote(id, target, args, resp)
}

// take serves one incoming connection of the node (empty on a plain port).
func (t *raftTransport) take(conn net.Conn, node ownership.NodeID) {
	if node != "" && t.stranger(node) { // before raft reads a length from it, and takes memory for that much
		t.refused("not of the region")
		t.log.Warn("refusing a raft connection of a node that is not of the region, or was removed", "node", string(node))
		_ = conn.Close()
		return
	}
	conn, err := t.welcome(conn, node)
	if err != nil {
		t.refused("process")
		t.log.Debug("refusing a raft connection", "node", string(node), "err", err)
		return
	}
	over := make(chan struct{})
	c := &countedConn{Conn: conn, gone: func() { close(over) }}
	stream := newHandedListener(conn.LocalAddr())
	in := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: &dialStream{handedListener: stream}, Timeout: t.timeout, Logger: t.log,
	})
	in.SetHeartbeatHandler(func(rpc raft.RPC) {
		if !t.speaks(rpc, node) {
			return
		}
		if cb := t.heartbeat.Load(); cb != nil && *cb != nil {
			(*cb)(rpc)
			return
		}
		t.pass(rpc, over)
	})
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		_ = conn.Close()
		_ = in.Close()
		return
	}
	t.inner[in] = struct{}{}
	t.wg.Add(1)
	t.mu.Unlock()

	go func() {
		defer t.wg.Done()
		for {
			select {
			case rpc := <-in.Consumer():
				if t.speaks(rpc, node) {
					t.pass(rpc, over)
				}
			case <-over:
			case <-t.done:
				_ = c.Close()
			}
			select {
			case <-over:
				_ = in.Close()
				t.mu.Lock()
				delete(t.inner, in)
				t.mu.Unlock()
				return
			default:
			}
		}
	}()
	stream.hand(c)
}

// errNotAdmitted is the answer of a node that has no vote to give.
var errNotAdmitted = errors.New("this node has just started, and its region has not admitted it yet")

// pass gives the message to raft.
func (t *raftTransport) pass(rpc raft.RPC, over <-chan struct{}) {
	select {
	case t.incoming <- rpc:
	case <-over:
	case <-t.done:
	}
}

// speaks reports whether the node may have sent the message, and answers it
// with an error when not.
func (t *raftTransport) speaks(rpc raft.RPC, node ownership.NodeID) bool {
	if in, ok := rpc.Command.(*raft.InstallSnapshotRequest); ok && (in.Size < 0 || in.Size > maxSnapshotSize) {
		t.refused("snapshot size")
		rpc.Respond(nil, fmt.Errorf("taking a snapshot: it announces %d bytes", in.Size))
		return false
	}
	if t.deaf.Load() {
		t.refused("not admitted")
		rpc.Respond(nil, fmt.Errorf("taking a raft message: %w", errNotAdmitted))
		return false
	}
	if node == "" {
		return true
	}
	if h, ok := rpc.Command.(raft.WithRPCHeader); ok {
		if claimed := string(h.GetRPCHeader().ID); claimed == string(node) {
			if !t.stranger(node) {
				return true
			}
			t.refused("not of the region")
			t.log.Warn("refusing a raft message of a node that is not of the region, or was removed", "node", string(node))
			rpc.Respond(nil, fmt.Errorf("taking a raft message from node %s: it is not of the region", node))
			return false
		}
	}
	t.refused("speaks for another node")
	t.log.Warn("refusing a raft message: the certificate names another node", "node", string(node))
	rpc.Respond(nil, fmt.Errorf("taking a raft message from node %s: it speaks for another node", node))
	return false
}

// wait returns when the goroutines of the transport have ended.
func (t *raftTransport) wait() { t.wg.Wait() }

// dialStream is the stream layer of one raft.NetworkTransport: it accepts what
// it is handed and opens connections to nodes by id, if it can.
type dialStream struct {
	*handedListener
	open func(ctx context.Context, id ownership.NodeID) (net.Conn, error)
}

// Dial implements raft.StreamLayer.
func (s *dialStream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if s.open == nil {
		return nil, net.ErrClosed
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.open(ctx, ownership.NodeID(addr))
}
