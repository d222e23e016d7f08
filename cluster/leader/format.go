package leader

import (
	"cmp"
	"context"
	"crypto/rand"

	"tandem/ownership"
)

// RaiseFormat lets the region write a newer command format as soon as every node
// that may yet read the log can read it: a node that met a command it does not
// know would have to stop. There is no way back down: an older node is refused
// from then on (the table's join says so).
func (l *Leadership) RaiseFormat() {
	now := l.Table.Format()
	next := commonFormat(l.Table.Nodes(), l.Self.Format)
	if next <= now {
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.Timings.Decide)
	defer cancel()
	release, err := l.Form(ctx)
	if err == nil {
		_, err = l.carry(ctx, ownership.SetFormat{Format: next})
		release()
	}
	switch {
	case err == nil:
		l.Log.Info("every node reads it: the region writes a newer command format", "from", now, "to", next)
	case l.ctx.Err() == nil:
		l.Log.Warn("raising the command format", "from", now, "to", next, "err", err)
	}
}

// commonFormat returns the newest command format that all nodes of the region can
// read, this leader's own limit counted. A node that is silent counts too: it
// may come back with its log.
func commonFormat(nodes []ownership.Node, own uint32) uint32 {
	for _, n := range nodes {
		if n.State != ownership.NodeGone {
			own = min(own, n.Format)
		}
	}
	return own
}

// begin gives a region its newest format and its identity before anything else is
// in its table, or as soon as every node reads the format that has one.
func (l *Leadership) begin() {
	if len(l.Table.Nodes()) == 0 {
		l.RaiseFormat()
	}
	if l.Table.Identity() != "" || l.Table.Format() < ownership.FormatReservations {
		return
	}
	_, err := l.own(ownership.Found{Identity: cmp.Or(l.Identity(), rand.Text())})
	if err != nil && l.ctx.Err() == nil {
		l.Log.Warn("giving the region its identity", "err", err)
	}
}
