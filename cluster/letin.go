package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/transport"
	"tandem/ownership"
)

// A certificate says which node speaks. That the region wants it says an operator at a
// node of the region, a token with the role join, the agreement by which the region was
// founded, or a setting of the region.

// auditEvery is how often the audit log tells the same of one node: it asks several
// times a second until it is in.
const auditEvery = time.Minute

// maxAudited bounds of how many it is remembered.
const maxAudited = 64

// letIn asks who wants a node in that the region does not know, and audits the answer.
// used is to be called when the node is in: it ends a token for one use.
func (r *reign) letIn(ctx context.Context, req JoinRequest) (used func(context.Context), err error) {
	c, n := r.c, req.Node
	used = func(context.Context) {}
	if n.ID == c.self || r.belongs(n.ID) {
		return used, nil
	}
	by := ownership.Operator(ctx)
	switch {
	case by != "":
	case c.found.agreed(n.ID, n.Incarnation):
		by = "the agreement that founded the region (cluster.bootstrap_expect)"
	case c.cfg.JoinByCertificate:
		by = "its certificate alone (cluster.join_by_certificate)"
	case req.Token != "" && c.doors.LetIn != nil:
		if by, err = c.doors.LetIn(ctx, req.Token, n.ID, false); err != nil {
			break
		}
		used = func(ctx context.Context) {
			if _, err := c.doors.LetIn(ctx, req.Token, n.ID, true); err != nil {
				c.log.Warn("ending a join token for one use; it can bring in no other node, and ends by its time", "node", string(n.ID), "err", err)
			}
		}
	default:
		err = ownership.ErrUninvited
	}
	r.auditJoin(n, by, err)
	return used, err
}

// auditJoin tells who let a node in, or that nobody has.
func (r *reign) auditJoin(n ownership.Node, by string, refused error) {
	subject := "node " + string(n.ID) + " at " + n.ClusterAddr
	switch {
	case !r.audited.due(audited{n.ID, n.Incarnation, refused == nil}, time.Now()):
	case refused != nil:
		r.c.log.Warn("audit", "by", "nobody", "action", "join refused", "subject", subject, "err", refused)
	default:
		r.c.log.Info("audit", "by", by, "action", "join", "subject", subject)
	}
}

// belongs reports whether a node comes back, rather than comes for the first time: it
// stands in the table, or, while the table does not know it, in raft's configuration.
func (r *reign) belongs(id ownership.NodeID) bool {
	if have, ok := r.c.tb.Node(id); ok {
		return have.State != ownership.NodeGone
	}
	return slices.ContainsFunc(r.c.servers(), func(s raft.Server) bool { return s.ID == raft.ServerID(id) })
}

// vouching gives the context in which a request to join is passed on: with the name of
// the operator who has the node met here, or of the one whom another member names. A
// newcomer names nobody.
func (c *entry) vouching(ctx context.Context, newcomer ownership.Node) context.Context {
	by := c.invites.wantedBy(newcomer.ID, newcomer.Incarnation)
	if by == "" && c.member(transport.SpeakerOf(ctx)) == nil {
		by = ownership.Operator(ctx)
	}
	return ownership.By(ctx, by)
}

// token gives what this node shows for itself when it asks to be taken in: the token
// of the operator who had it enter, else the one of its configuration. Empty: none.
func (c *entry) token() (string, error) {
	if t := c.invites.shown(); t != "" || c.cfg.JoinToken == nil {
		return t, nil
	}
	t, err := c.cfg.JoinToken()
	if err != nil {
		return "", fmt.Errorf("reading the token to join with: %w", err)
	}
	return t, nil
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
