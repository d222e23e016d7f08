package cluster

import (
	"context"

	"tandem/ownership"
)

// raiseFormat lets the region write a newer command format as soon as every node
// that may yet read the log can read it: a node that met a command it does not
// know would have to stop. There is no way back down: an older node is refused
// from then on (the table's join says so).
func (r *reign) raiseFormat() {
	now := r.c.tb.Format()
	next := commonFormat(r.c.tb.Nodes(), r.c.cfg.Node.Format)
	if next <= now {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.c.cfg.Timings.Decide)
	defer cancel()
	release, err := r.form(ctx)
	if err == nil {
		var out *ownership.Outcome
		if out, err = r.propose(ctx, ownership.SetFormat{Format: next}); err == nil {
			err = out.Err
		}
		release()
	}
	switch {
	case err == nil:
		r.c.log.Info("every node reads it: the region writes a newer command format", "from", now, "to", next)
	case r.ctx.Err() == nil:
		r.c.log.Warn("raising the command format", "from", now, "to", next, "err", err)
	}
}

// commonFormat gives the newest command format that all nodes of the region can
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
