package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	"tandem/cluster/peerpb"
	"tandem/cluster/presence"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// A raft connection begins with a word from each side: who it is and which
// process. Raft's own messages name the node only.

// maxPreface bounds such a word: the ancestors are the most of it.
const maxPreface = 1<<16 - 1

func writePreface(w io.Writer, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	if len(b) > maxPreface {
		return fmt.Errorf("its word has %d bytes", len(b))
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

func readWord(r io.Reader, m proto.Message) error {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return proto.Unmarshal(b, m)
}

// openRaftTo opens a raft connection to a node, wherever it is.
func (en *entry) openRaftTo(ctx context.Context, id ownership.NodeID) (net.Conn, error) {
	err := fmt.Errorf("connecting to node %s: nobody knows where it is", id)
	for _, addr := range en.dial.Resolved(ctx, en.where(id)) {
		var conn net.Conn
		if conn, err = en.dial.Dial(ctx, addr, true, id); err != nil {
			continue
		}
		if conn, err = en.introduce(conn, id); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// introduce gives this process's word on a raft connection that it opened, and
// takes the other's, who must be the node.
func (en *entry) introduce(conn net.Conn, want ownership.NodeID) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		_ = conn.Close()
		return nil, fmt.Errorf("opening a raft connection to node %s: %w", want, err)
	}
	if transport.NamesNoProcess(conn) {
		return en.unnamed(conn, want)
	}
	_ = conn.SetDeadline(time.Now().Add(en.cfg.Timings.Handshake))
	if err := writePreface(conn, en.me()); err != nil {
		return fail(err)
	}
	reply := &peerpb.HelloReply{}
	if err := readWord(conn, reply); err != nil {
		return fail(err)
	}
	switch b := presence.ReplyOf(reply); {
	case reply.GetRefused() != "":
		return fail(errors.New(reply.GetRefused()))
	case b.Node != want:
		return fail(fmt.Errorf("node %s answers there", b.Node))
	default:
		if err := en.meet(b); err != nil {
			return fail(err)
		}
		_ = conn.SetDeadline(time.Time{})
		return &boundConn{Conn: conn, present: en.present, node: b.Node, process: b.Process}, nil
	}
}

// welcome takes the word of whoever opened a raft connection here and gives its
// own. node is the one in its certificate, empty on a plain port.
func (en *entry) welcome(conn net.Conn, node ownership.NodeID) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		_ = conn.Close()
		return nil, fmt.Errorf("taking a raft connection: %w", err)
	}
	if transport.NamesNoProcess(conn) {
		return en.unnamed(conn, node)
	}
	_ = conn.SetDeadline(time.Now().Add(en.cfg.Timings.Handshake))
	hello := &peerpb.HelloRequest{}
	if err := readWord(conn, hello); err != nil {
		return fail(err)
	}
	b := presence.Of(hello)
	if node != "" && b.Node != node {
		return fail(fmt.Errorf("node %s speaks for node %s", node, b.Node))
	}
	refusal := en.meet(b)
	reply := en.replyAs()
	if refusal != nil {
		reply.Refused = refusal.Error()
	}
	if err := errors.Join(writePreface(conn, reply), refusal); err != nil {
		return fail(err)
	}
	_ = conn.SetDeadline(time.Time{})
	return &boundConn{Conn: conn, present: en.present, node: b.Node, process: b.Process, over: en.deaths.Begins(b.Node)}, nil
}

// unnamed lets older software speak raft, for as long as the region knows no
// process of that node.
func (en *entry) unnamed(conn net.Conn, node ownership.NodeID) (net.Conn, error) {
	if err := en.meet(presence.Bearer{Node: node}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &boundConn{Conn: conn, present: en.present, node: node}, nil
}

// boundConn is a raft connection with one process. It ends when this node listens
// to another process of that id.
type boundConn struct {
	net.Conn
	present *presence.Book
	node    ownership.NodeID
	process string
	over    func() // may be nil
}

// Close implements net.Conn.
func (b *boundConn) Close() error {
	err := b.Conn.Close()
	if b.over != nil {
		b.over()
	}
	return err
}

// Read implements net.Conn.
func (b *boundConn) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if n > 0 && !b.present.Hears(b.node, b.process, time.Now()) {
		_ = b.Close()
		return 0, fmt.Errorf("reading from node %s: %w", b.node, ownership.ErrTwin)
	}
	return n, err
}
