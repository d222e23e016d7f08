package cluster

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"unicode/utf8"

	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// A certificate says who speaks on the peer link, and membership whether there is
// anything to say: a certificate may have been made for a node that never came, and
// it outlives the removal of its node. What a member may ask for is in rights.

// maxOperator bounds such a name, in bytes.
const maxOperator = 256

// openToAll are the procedures by which a node becomes a member.
var openToAll = map[string]bool{peerpb.PeerHelloProcedure: true, peerpb.PeerJoinProcedure: true}

// membersOnly answers for the table before a byte of a request's body is read.
func (d *peerDoor) membersOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if !openToAll[r.URL.Path] {
			if err := d.member(transport.SpeakerOf(ctx)); err != nil {
				d.m.refuse("not of the region")
				transport.Refuse(w, r, fmt.Errorf("taking a peer's request: %w", err))
				return
			}
		}
		by, err := url.QueryUnescape(r.Header.Get(transport.HeaderOperator))
		if err != nil || len(by) > maxOperator || !utf8.ValidString(by) {
			d.m.refuse("operator's name")
			transport.Refuse(w, r, fmt.Errorf("taking a peer's request: its %s header is no name", transport.HeaderOperator))
			return
		}
		next.ServeHTTP(w, r.WithContext(ownership.By(ctx, by)))
	})
}

// member reports whether a node belongs to the region: by the table, or by raft's
// configuration, which a node without state has before it has a table. The error
// is ownership.ErrGone for one that was removed, and ownership.ErrNotLeader where another node may know
// better, so that a newcomer asks on.
func (pr *proposals) member(id ownership.NodeID) error {
	n, ok := pr.tb.Node(id)
	switch {
	case ok && n.State != ownership.NodeGone, pr.inRaft(id):
		return nil
	case ok:
		return fmt.Errorf("node %s: %w", id, ownership.ErrGone)
	case pr.leading.Load() == nil:
		return fmt.Errorf("node %s is not known here: %w", id, ownership.ErrNotLeader)
	}
	return fmt.Errorf("node %s is %w: it has to join first", id, ownership.ErrUnknown)
}

// mayPropose refuses acts that are not a peer's to propose: what leaders do by
// their own judgement, what belongs to another node, and what only an operator may
// want, unless one is named. What an operator wants is audited.
func (d *peerDoor) mayPropose(ctx context.Context, act ownership.Act) error {
	speaker := transport.SpeakerOf(ctx)
	var subject string
	switch a := act.(type) {
	case ownership.Records:
		for _, act := range a.Acts {
			if err := d.mayPropose(ctx, act); err != nil {
				return err
			}
		}
		return nil
	case ownership.Claims, ownership.Answered, ownership.Seen, ownership.TakeUp:
		return nil // the table holds their epochs against its own
	case ownership.Release:
		if a.Epoch != 0 || a.Told {
			return nil
		}
		subject = "call " + string(a.Call)
	case ownership.Move:
		if p, ok := d.tb.Partition(a.Partition); ok && p.Owner == speaker {
			return nil
		}
		return fmt.Errorf("node %s proposes to move partition %s: only its owner may: %w", speaker, a.Partition, ownership.ErrConflict)
	case ownership.Drain:
		if a.Node == speaker {
			return nil
		}
		subject = "node " + string(a.Node)
	case ownership.Undrain:
		if a.Node == speaker {
			return nil
		}
		subject = "node " + string(a.Node)
	case ownership.UseToken:
		subject = "token " + a.Name
	case ownership.GrantToken:
		subject = "token " + a.Token.Name
	case ownership.RevokeToken:
		subject = "token " + a.Name
	case ownership.SetRules:
		if a.Taken {
			return fmt.Errorf("node %s proposes rules of another region: its leader takes them: %w", speaker, ownership.ErrConflict)
		}
		subject = fmt.Sprintf("rules %d", a.Rules.Number)
	case ownership.Note:
		if a.By == "" {
			return fmt.Errorf("node %s tells of a change that nobody asked for: %w", speaker, ownership.ErrConflict)
		}
		return nil // what it is about was asked for by itself
	case ownership.SetDeposit:
		return nil // what nodes share is any node's to change
	case ownership.SetKeep:
		subject = fmt.Sprintf("%d days, ended calls %d", a.Keep.Days, a.Keep.EndedDays)
	case ownership.SetRollout:
		if a.Auto {
			return fmt.Errorf("node %s judges a version: the leader does: %w", speaker, ownership.ErrConflict)
		}
		subject = fmt.Sprintf("version %s of app %s", a.Rollout.Version, a.Rollout.App)
	case ownership.EndRollout:
		subject = fmt.Sprintf("version %s of app %s", a.Version, a.App)
	case ownership.SetLease:
		subject = a.Length.String()
	default:
		return fmt.Errorf("node %s proposes what its leader does (%s): %w", speaker, ownership.Doing(act), ownership.ErrConflict)
	}
	return d.operators(ctx, fmt.Sprintf("%T", act), subject)
}

// operators refuses what a peer asks for in nobody's name, and audits the rest.
func (d *peerDoor) operators(ctx context.Context, action, subject string) error {
	speaker, by := transport.SpeakerOf(ctx), ownership.Operator(ctx)
	if by == "" {
		return fmt.Errorf("node %s asks for %s (%s) in no operator's name: %w", speaker, action, subject, ownership.ErrConflict)
	}
	d.log.Info("audit", "by", by, "from", "node "+string(speaker), "action", action, "subject", subject)
	return nil
}
