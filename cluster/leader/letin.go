package leader

import (
	"context"
	"sync"
	"time"

	"tandem/ownership"
)

// auditEvery is how often the audit log tells the same of one node: it asks several
// times a second until it is in.
const auditEvery = time.Minute

// maxAudited bounds of how many it is remembered.
const maxAudited = 64

// letIn asks who wants a node in that the region does not know, and audits the answer.
// used is to be called when the node is in: it ends a token for one use.
func (l *Leadership) letIn(ctx context.Context, req JoinRequest) (used func(context.Context), err error) {
	n := req.Node
	used = func(context.Context) {}
	if n.ID == l.Self.ID || l.belongs(n.ID) {
		return used, nil
	}
	by := ownership.Operator(ctx)
	switch {
	case by != "":
	case l.Agreed(n.ID, n.Incarnation):
		by = "the agreement that founded the region (cluster.bootstrap_expect)"
	case l.JoinByCertificate:
		by = "its certificate alone (cluster.join_by_certificate)"
	case req.Token != "" && l.LetIn != nil:
		if by, err = l.LetIn(ctx, req.Token, n.ID, false); err != nil {
			break
		}
		used = func(ctx context.Context) {
			if _, err := l.LetIn(ctx, req.Token, n.ID, true); err != nil {
				l.Log.Warn("ending a join token for one use; it can bring in no other node, and ends by its time", "peer", string(n.ID), "err", err)
			}
		}
	default:
		err = ownership.ErrUninvited
	}
	l.auditJoin(n, by, err)
	return used, err
}

// auditJoin tells who let a node in, or that nobody has.
func (l *Leadership) auditJoin(n ownership.Node, by string, refused error) {
	subject := "node " + string(n.ID) + " at " + n.ClusterAddr
	switch {
	case !l.audited.due(audited{n.ID, n.Incarnation, refused == nil}, time.Now()):
	case refused != nil:
		l.Log.Warn("audit", "by", "nobody", "action", "join refused", "subject", subject, "err", refused)
	default:
		l.Log.Info("audit", "by", by, "action", "join", "subject", subject)
	}
}

// belongs reports whether a node comes back, rather than comes for the first time: it
// stands in the table, or, while the table does not know it, in raft's configuration.
func (n *Needs) belongs(id ownership.NodeID) bool {
	if have, ok := n.Table.Node(id); ok {
		return have.State != ownership.NodeGone
	}
	return Placed(Servers(n.Raft), id)
}

// audited is what the audit log told of a node.
type audited struct {
	node        ownership.NodeID
	incarnation string
	in          bool
}

// lately remembers when the audit log told what.
type lately struct {
	mu   sync.Mutex
	told map[audited]time.Time
}

func (l *lately) due(what audited, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, ok := l.told[what]; ok && now.Sub(last) < auditEvery {
		return false
	}
	if l.told == nil || len(l.told) >= maxAudited {
		l.told = make(map[audited]time.Time)
	}
	l.told[what] = now
	return true
}
