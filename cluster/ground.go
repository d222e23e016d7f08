package cluster

import (
	"context"
	"net"

	"github.com/hashicorp/raft"

	"tandem/cluster/transport"
)

// Ground is what the cluster stands on: the network and the disk. A field that is
// nil is the machine's own; a simulation puts in what can be cut, delayed and lost.
type Ground struct {
	Listen func(ctx context.Context, addr string) (net.Listener, error)
	Dial   func(ctx context.Context, addr string) (net.Conn, error)
	Lookup func(ctx context.Context, host string) ([]string, error) // all addresses of a name
	Log    func(raft.LogStore) raft.LogStore                        // between raft and the log on disk
	Table  func(raft.FSM) raft.FSM                                  // between raft and the table
}

func (g *Ground) fill() {
	if g.Listen == nil {
		g.Listen = listenTCP
	}
	if g.Dial == nil {
		g.Dial = transport.DialTCP
	}
	if g.Lookup == nil {
		g.Lookup = net.DefaultResolver.LookupHost
	}
	if g.Log == nil {
		g.Log = func(log raft.LogStore) raft.LogStore { return log }
	}
	if g.Table == nil {
		g.Table = func(table raft.FSM) raft.FSM { return table }
	}
}

func listenTCP(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", addr)
}
