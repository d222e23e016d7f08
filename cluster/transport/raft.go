package transport

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

// Raft is raft's transport over the cluster port. Raft's own transport
// dials; what comes in gets a transport of its own for each connection, so that
// every raft message can be held against the certificate of the connection that
// carried it. With raft's transport alone any node of the region could speak
// for any other, and three forged messages are enough to take a region over.
type Raft struct {
	*raft.NetworkTransport
	RaftConfig
	beats *heartbeats

	incoming  chan raft.RPC
	heartbeat atomic.Pointer[func(raft.RPC)]
	// NotAdmitted: no raft message is answered and no vote asked for. It is, until it is told otherwise.
	NotAdmitted atomic.Bool

	mu     sync.Mutex
	inner  map[*raft.NetworkTransport]struct{}
	closed bool
	done   chan struct{}
	wg     sync.WaitGroup
}

// MaxSnapshot bounds the snapshot that a peer may announce, in bytes.
const MaxSnapshot = 64 << 30

// raftIOTimeout bounds one raft message on the wire; snapshots get more by size.
const raftIOTimeout = 5 * time.Second

// unpiped turns raft's pipelines off. A follower that refuses an entry ends its
// pipeline's reader, and the sender may then wait for it without a bound, over an
// open connection; raft's shutdown waits for the sender (raft 1.8.0,
// netPipeline.decodeResponses, Raft.pipelineReplicate). With claims combined into
// large entries they win nothing that could be measured.
const unpiped = 1

// RaftConfig is what a raft transport asks others.
type RaftConfig struct {
	// Open opens a connection to a node, wherever it is.
	Open func(ctx context.Context, id ownership.NodeID) (net.Conn, error)
	// Welcome takes the word of whoever opened a connection, with the node in its
	// certificate, empty on a plain port. On an error it has closed the connection.
	Welcome func(conn net.Conn, node ownership.NodeID) (net.Conn, error)
	// NotMember reports whether a node's raft messages are not answered.
	NotMember func(ownership.NodeID) bool
	// Beyond reports whether this node has the entry of a term and an index, and more.
	Beyond func(term, index uint64) bool
	// Outgrown returns a voter of raft's configuration on this node if a log that ends with
	// the entry of a term and an index goes further than this node's, and "" if not.
	Outgrown func(term, index uint64) raft.ServerID
	Refused  func(why string) // counts what was refused
	Logger   hclog.Logger
}

// byID has raft's transport dial node ids: where a node is, is found out then.
type byID struct{}

// ServerAddr implements raft.ServerAddressProvider.
func (byID) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	return raft.ServerAddress(id), nil
}

// NewRaft returns a transport that gives addr for its own address; at first it takes no part.
func NewRaft(addr net.Addr, cfg RaftConfig) *Raft {
	t := &Raft{
		RaftConfig: cfg, beats: newHeartbeats(heldBackFor),
		incoming: make(chan raft.RPC),
		inner:    make(map[*raft.NetworkTransport]struct{}),
		done:     make(chan struct{}),
	}
	t.NotAdmitted.Store(true)
	t.NetworkTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                &dialStream{handedListener: newHandedListener(addr), open: cfg.Open},
		ServerAddressProvider: byID{},
		MaxPool:               3, MaxRPCsInFlight: unpiped, Timeout: raftIOTimeout, Logger: cfg.Logger,
	})
	return t
}

// Consumer implements raft.Transport.
func (t *Raft) Consumer() <-chan raft.RPC { return t.incoming }

// SetHeartbeatHandler implements raft.Transport.
func (t *Raft) SetHeartbeatHandler(cb func(raft.RPC)) { t.heartbeat.Store(&cb) }

// Close implements raft.WithClose: nothing comes in or goes out after it.
func (t *Raft) Close() error {
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
func (t *Raft) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte {
	return []byte(addr)
}

// RequestVote implements raft.Transport: a node that may give no vote asks for none.
func (t *Raft) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if t.NotAdmitted.Load() {
		return ErrNotAdmitted
	}
	return t.NetworkTransport.RequestVote(id, target, args, resp)
}

// RequestPreVote implements raft.WithPreVote, as RequestVote.
func (t *Raft) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if t.NotAdmitted.Load() {
		return ErrNotAdmitted
	}
	return t.NetworkTransport.RequestPreVote(id, target, args, resp)
}

// Take serves one incoming connection of the node (empty on a plain port).
func (t *Raft) Take(conn net.Conn, node ownership.NodeID) {
	if node != "" && t.NotMember(node) { // before raft reads a length from it, and takes memory for that much
		t.Refused("not of the region")
		t.Logger.Warn("refusing a raft connection of a node that is not of the region, or was removed", "peer", string(node))
		_ = conn.Close()
		return
	}
	conn, err := t.Welcome(conn, node)
	if err != nil {
		t.Refused("process")
		t.Logger.Debug("refusing a raft connection", "peer", string(node), "err", err)
		return
	}
	over := make(chan struct{})
	c := &countedConn{Conn: conn, gone: func() { close(over) }}
	stream := newHandedListener(conn.LocalAddr())
	in := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: &dialStream{handedListener: stream}, Timeout: raftIOTimeout, Logger: t.Logger,
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

// ErrNotAdmitted is the answer of a node that has no vote to give.
var ErrNotAdmitted = errors.New("this node has just started, and its region has not admitted it yet")

// pass gives the message to raft.
func (t *Raft) pass(rpc raft.RPC, over <-chan struct{}) {
	select {
	case t.incoming <- rpc:
	case <-over:
	case <-t.done:
	}
}

// speaks reports whether the node may have sent the message, and answers it
// with an error when not.
func (t *Raft) speaks(rpc raft.RPC, node ownership.NodeID) bool {
	if in, ok := rpc.Command.(*raft.InstallSnapshotRequest); ok && (in.Size < 0 || in.Size > MaxSnapshot) {
		t.Refused("snapshot size")
		rpc.Respond(nil, fmt.Errorf("taking a snapshot: it announces %d bytes", in.Size))
		return false
	}
	if t.NotAdmitted.Load() {
		t.Refused("not admitted")
		rpc.Respond(nil, fmt.Errorf("taking a raft message: %w", ErrNotAdmitted))
		return false
	}
	if !t.speaksForItself(rpc, node) {
		return false
	}
	// Raft (1.8.0, installSnapshot) drops the whole log for any snapshot of a leader whose
	// term is not yet known to be over: with it acknowledged entries that came after.
	if in, ok := rpc.Command.(*raft.InstallSnapshotRequest); ok && t.Beyond(in.LastLogTerm, in.LastLogIndex) {
		t.Refused("snapshot of before")
		rpc.Respond(nil, fmt.Errorf("taking a snapshot up to entry %d: this node has it, and what came after", in.LastLogIndex))
		return false
	}
	t.weighByLog(rpc)
	return true
}

// weighByLog has raft judge a candidate by its log alone where that goes further than this
// node's. Raft (1.8.0, requestVote, requestPreVote) gives no vote to whom its own
// configuration does not call a voter. That configuration may be the older one: of three
// voters the leader made the third, told only that one, and is gone for good, and then the
// two that are left, a majority, would never elect. Only who votes by its own log asks for
// votes, and a node whose removal was decided has no log that goes further than a majority's.
func (t *Raft) weighByLog(rpc raft.RPC) {
	switch req := rpc.Command.(type) {
	case *raft.RequestVoteRequest:
		if voter := t.Outgrown(req.LastLogTerm, req.LastLogIndex); voter != "" {
			req.ID = []byte(voter) // that is all for which raft reads it; the vote goes to req.Addr
		}
	case *raft.RequestPreVoteRequest:
		if voter := t.Outgrown(req.LastLogTerm, req.LastLogIndex); voter != "" {
			req.ID = []byte(voter)
		}
	}
}

// speaksForItself reports whether a message names as its sender the member of the region
// that the certificate names, and answers it with an error when not.
func (t *Raft) speaksForItself(rpc raft.RPC, node ownership.NodeID) bool {
	if node == "" {
		return true
	}
	if h, ok := rpc.Command.(raft.WithRPCHeader); ok {
		if claimed := string(h.GetRPCHeader().ID); claimed == string(node) {
			if !t.NotMember(node) {
				return true
			}
			t.Refused("not of the region")
			t.Logger.Warn("refusing a raft message of a node that is not of the region, or was removed", "peer", string(node))
			rpc.Respond(nil, fmt.Errorf("taking a raft message from node %s: it is not of the region", node))
			return false
		}
	}
	t.Refused("speaks for another node")
	t.Logger.Warn("refusing a raft message: the certificate names another node", "peer", string(node))
	rpc.Respond(nil, fmt.Errorf("taking a raft message from node %s: it speaks for another node", node))
	return false
}

// Elect has raft on this node hold an election now, without a pre-vote and whoever leads:
// the caller has made sure before that it should. False: raft is busy, and what was made
// sure of may be old when it no longer is.
func (t *Raft) Elect(self raft.ServerID) bool {
	rpc := raft.RPC{
		Command:  &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: []byte(t.LocalAddr())}},
		RespChan: make(chan raft.RPCResponse, 1),
	}
	select {
	case t.incoming <- rpc:
		return true
	default:
		return false
	}
}

// LetGo sends at once what is held back for silent peers, and holds nothing back any more.
func (t *Raft) LetGo() { t.beats.end() }

// Wait returns when the goroutines of the transport have ended.
func (t *Raft) Wait() { t.wg.Wait() }

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
