package store

import (
	"fmt"
	"math"
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
)

// applier carries out one act while the table's lock is held. All it knows is
// the act and the table, so every node reaches the same result.
type applier struct {
	reading
	st    *state
	b     *batch
	index uint64
	at    time.Time
	seq   uint64 // of the next event
}

func (a *applier) act(act ownership.Act, out *ownership.Outcome) {
	if since := formatOf(act); since >= ownership.FormatReservations && a.st.format < since {
		out.Err = fmt.Errorf("applying %T: the region writes command format %d, it needs %d: %w", act, a.st.format, since, ownership.ErrConflict)
		return
	}
	switch act := act.(type) {
	case ownership.Claims:
		a.at = act.At
		a.claims(act, out)
	case ownership.Records:
		a.at = act.At
		out.Errors = make([]error, len(act.Acts))
		for i, rec := range act.Acts {
			out.Errors[i] = a.record(rec, out)
		}
	case ownership.Answered:
		a.at = act.At
		out.Err = a.record(act, out)
	case ownership.Seen:
		a.at = act.At
		out.Err = a.record(act, out)
	case ownership.Release:
		a.at = act.At
		out.Err = a.record(act, out)
	case ownership.TakeUp:
		a.at = act.At
		out.Err = a.record(act, out)
	case ownership.Forget:
		a.at = act.At
		a.forget(act)
	case ownership.Join:
		a.at = act.At
		out.Err = a.join(act)
	case ownership.Drain:
		a.at = act.At
		out.Err = a.drain(act)
	case ownership.Undrain:
		a.at = act.At
		out.Err = a.undrain(act)
	case ownership.Depart:
		a.at = act.At
		out.Moves, out.Err = a.depart(act)
	case ownership.Failover:
		a.at = act.At
		out.Moves, out.Err = a.failover(act)
	case ownership.Lapse:
		a.at = act.At
		out.Err = a.lapse(act)
	case ownership.Reclaim:
		a.at = act.At
		out.Err = a.reclaim(act)
	case ownership.Move:
		a.at = act.At
		out.Moves, out.Err = a.move(act)
	case ownership.SetFormat:
		a.at = act.At
		out.Err = a.setFormat(act)
	case ownership.Found:
		a.at = act.At
		out.Err = a.found(act)
	case ownership.SetLease:
		a.at = act.At
		out.Err = a.setLease(act)
	case ownership.GrantToken:
		a.at = act.At
		out.Err = a.grantToken(act)
	case ownership.RevokeToken:
		a.at = act.At
		out.Err = a.revokeToken(act)
	case ownership.UseToken:
		a.at = act.At
		out.Err = a.useToken(act)
	}
}

// record carries out what an owner reports of its calls, alone or in a batch.
func (a *applier) record(act ownership.Act, out *ownership.Outcome) error {
	switch act := act.(type) {
	case ownership.Answered:
		return a.answered(act, out)
	case ownership.Release:
		return a.release(act)
	case ownership.Seen:
		a.seen(act)
	case ownership.TakeUp:
		return a.takeUp(act)
	}
	return nil
}

// reserves reports whether the region keeps the calls of silent nodes for them, and
// with that follows all rules of command format 3. A region of an older format must
// do what software of that time does, to the byte.
func (a *applier) reserves() bool { return a.st.format >= ownership.FormatReservations }

// setFormat raises the command format that the region writes. Every node that
// may yet read the log must be able to read it.
func (a *applier) setFormat(act ownership.SetFormat) error {
	if act.Format < a.st.format {
		return fmt.Errorf("setting the command format to %d: the region already writes %d: %w", act.Format, a.st.format, ownership.ErrConflict)
	}
	for _, n := range a.st.nodeList {
		if n.State != ownership.NodeGone && n.Format < act.Format {
			return fmt.Errorf("setting the command format to %d: node %s reads only up to %d: %w", act.Format, n.ID, n.Format, ownership.ErrConflict)
		}
	}
	if act.Format == a.st.format {
		return nil
	}
	a.st.format, a.st.changed = act.Format, true
	a.emit(history.Event{Kind: history.Format, Text: fmt.Sprintf("the region writes command format %d", act.Format)})
	return nil
}

// emit adds an event to the history.
func (a *applier) emit(e history.Event) {
	e.At = a.at
	id := a.index<<eventIDShift | a.seq
	a.seq++
	a.b.events = append(a.b.events, pendingEvent{id: id, value: seal(eventKey(id), eventOut(&e))})
}

// putCall writes a call's record; old is the sum of the record it replaces, 0
// for a new call.
func (a *applier) putCall(c *ownership.Call, old uint64) {
	key := []byte(c.ID)
	value := seal(key, callOut(c))
	a.st.sum += recordSum(kindCall, key, value) - old
	a.b.calls[c.ID] = value
}

// putNode writes a node's record.
func (a *applier) putNode(n ownership.Node) {
	var w timeWriter
	key := nodeKey(n.ID)
	if have, ok := a.st.nodes[n.ID]; ok {
		a.st.sum -= recordSum(kindNode, key, seal(key, nodeOut(&have.rec, &w)))
	}
	value := seal(key, nodeOut(&n, &w))
	a.st.sum += recordSum(kindNode, key, value)
	a.b.nodes[n.ID] = value
	a.st.setNode(n)
}

// dropNode takes a node's record out.
func (a *applier) dropNode(n *ownership.Node) {
	var w timeWriter
	key := nodeKey(n.ID)
	a.st.sum -= recordSum(kindNode, key, seal(key, nodeOut(n, &w)))
	a.b.nodes[n.ID] = nil
	a.st.dropNode(n.ID)
}

// putPartition writes a partition's record.
func (a *applier) putPartition(p ownership.Partition) {
	key := partitionKey(p.ID)
	if have, ok := a.st.parts[p.ID]; ok {
		a.st.sum -= recordSum(kindPartition, key, seal(key, partitionOut(&have.rec)))
	}
	value := seal(key, partitionOut(&p))
	a.st.sum += recordSum(kindPartition, key, value)
	a.b.parts[p.ID] = value
	a.st.setPartition(p)
}

// dropPartition takes a partition's record out.
func (a *applier) dropPartition(p *ownership.Partition) {
	key := partitionKey(p.ID)
	a.st.sum -= recordSum(kindPartition, key, seal(key, partitionOut(p)))
	a.b.parts[p.ID] = nil
	a.st.dropPartition(p.ID)
}

// seconds is a time as the index keeps it: enough to pass over most calls.
func seconds(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), math.MaxUint32))
}

func readSeconds(s uint32) time.Time { return time.Unix(int64(s), 0).UTC() }
