package cluster

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"tandem/ownership"
	"tandem/store"
)

// shared is what every part of a Cluster knows. Start and open fill it in; then
// only what is atomic or a signal changes.
type shared struct {
	cfg     Config
	doors   Doors
	self    ownership.NodeID
	addr    string        // advertised
	process string        // random, of this start
	born    time.Time     // when it began
	before  store.Lineage // of the disk, as this process found it
	log     *slog.Logger
	st      *store.Store
	tb      *store.Table
	m       *metrics
	raft    *raft.Raft

	applied signal      // fires after every act that the table applied
	entered atomic.Bool // the table holds this node's record as it is now
	renewAt signal      // fires when a renewal is due at once
	enterAt signal      // fires when the node must announce itself again

	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	stopping atomic.Bool
}
