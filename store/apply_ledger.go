package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"tandem/ledger"
	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/record"
)

// keepsLedger reports whether the region's table has a ledger.
func (p *pen) keepsLedger() bool { return p.st.format >= ownership.FormatLedger }

// enter puts an entry at the end of the ledger. Its number and its time are the table's
// and the act's, so it is the same line on every node.
func (p *pen) enter(e ledger.Entry) {
	if !p.keepsLedger() || e.Kind == ledger.Ended && p.st.keep.Valid() && p.st.keep.EndedDays == 0 {
		return
	}
	led := &p.st.ledger
	e.N, e.At = led.tree.Size(), p.at
	line := ledger.Encode(e)
	if err := led.push(0, ledger.HashOf(line)); err != nil {
		return // it is full: 2^48 entries
	}
	led.note(e.N, p.at, e.Kind)
	p.putLeaf(e.N, record.SealEntry(e.N, line))
}

func (p *pen) putLeaf(n uint64, value []byte) {
	p.st.sum += record.Sum(record.KindLedger, record.LedgerKey(n), value)
	p.b.ledger[n] = value
}

func (p *pen) dropLeaf(n uint64, old []byte) {
	p.st.sum -= record.Sum(record.KindLedger, record.LedgerKey(n), old)
	p.b.ledger[n] = nil
}

// entryOf begins an entry about a call.
func entryOf(kind ledger.Kind, c *ownership.Call, node ownership.NodeID) ledger.Entry {
	return ledger.Entry{
		Kind: kind, Call: string(c.ID), App: string(c.App), Tenant: string(c.Tenant), Thread: c.Thread, Node: string(node), Partition: uint32(c.Partition),
		ClaimedAt: c.ClaimedAt, AnsweredAt: c.AnsweredAt, Chain: chainOf(c.Groups),
	}
}

// chainOf is the cloud's callChainId among the keys of a call's groups.
func chainOf(groups []ownership.GroupKey) string {
	for _, g := range groups {
		if chain, ok := g.Chain(); ok {
			return chain
		}
	}
	return ""
}

// enterEnd says what became of a call: c is its record as it was, with its end.
func (a *applier) enterEnd(c *ownership.Call, was ownership.Standing, act *ownership.Release) {
	kind := ledger.Kind(act.Fate)
	switch {
	case slices.Contains([]ownership.Fate{ownership.FateLost, ownership.FateLate, ownership.FateRejected}, act.Fate):
	case was.State == ownership.CallOrphaned:
		kind = ledger.Orphaned
	case c.AnsweredAt.IsZero() && !c.Deadline.IsZero() && a.at.After(c.Deadline):
		kind = ledger.Lost // it rang until the cloud's clock was over
	default:
		kind = ledger.Ended
	}
	e := entryOf(kind, c, was.Owner)
	e.Reason = act.Why
	a.enter(e)
}

// enterRefused says that nobody could take a call. The first ones of a run have each an
// entry, the others are counted.
func (a *applier) enterRefused(c *ownership.Claim, why error) {
	kind := ownership.ErrFull
	if errors.Is(why, ownership.ErrNoBot) {
		kind = ownership.ErrNoBot
	}
	if !errors.Is(why, kind) || !a.keepsLedger() {
		return
	}
	a.endRefusals()
	var singly bool
	a.st.refused, singly = a.st.refused.with(refusals{app: string(c.App), tenant: string(c.Tenant), reason: kind.Error(), first: a.at})
	if !singly {
		return
	}
	a.enter(ledger.Entry{
		Kind: ledger.Rejected, Call: string(c.Call), App: string(c.App), Tenant: string(c.Tenant), Thread: c.Thread, Chain: chainOf(c.Groups),
		Node: string(c.Via), Reason: why.Error(),
	})
}

// endRefusals enters how many calls were refused, where it is time to tell.
func (a *applier) endRefusals() {
	var told []refusals
	a.st.refused, told = a.st.refused.at(a.at)
	for _, r := range told {
		a.enter(ledger.Entry{
			Kind: ledger.Rejected, App: r.app, Tenant: r.tenant, Reason: r.reason, Count: r.more, First: r.first, Last: r.last,
		})
	}
}

// setKeep changes how long entries are kept.
func (a *applier) setKeep(act ownership.SetKeep) error {
	if !act.Keep.Valid() {
		return fmt.Errorf("keeping the ledger for %d days, and ended calls for %d: at least 1 and 0, at most %d: %w",
			act.Keep.Days, act.Keep.EndedDays, ownership.MaxKeepDays, ownership.ErrConflict)
	}
	if act.Keep != a.st.keep {
		a.st.keep, a.st.changed = act.Keep, true
	}
	return nil
}

// expire deletes the entries that are older than the region keeps them, in whole days, and
// says so in the ledger. It deletes no more at once than tombstones are dropped.
func (a *applier) expire() {
	keep := a.st.keep
	if !a.keepsLedger() {
		return
	}
	a.endRefusals()
	if !keep.Valid() {
		return
	}
	others, ended := a.dayBefore(keep.Days), a.dayBefore(min(keep.EndedDays, keep.Days))
	deleted := a.expireFrom(&a.st.ledger.others, others, forgetAtOnce)
	deleted += a.expireFrom(&a.st.ledger.ended, ended, forgetAtOnce-deleted)
	if deleted > 0 {
		a.enter(ledger.Entry{
			Kind: ledger.Deleted, Count: uint64(deleted), Total: a.st.ledger.gone,
			Reason: fmt.Sprintf("older than %s, and those of ended calls than %s", others.Format(time.DateOnly), ended.Format(time.DateOnly)),
		})
	}
}

// dayBefore is the beginning of the day, in UTC, so many days before the act.
func (a *applier) dayBefore(days int) time.Time {
	return a.at.UTC().AddDate(0, 0, -days).Truncate(24 * time.Hour)
}

func (a *applier) expireFrom(list *[]dated, before time.Time, most int) (deleted int) {
	for deleted < most && len(*list) > 0 && (*list)[0].at < nanoseconds(before) {
		n := (*list)[0].n
		*list = (*list)[1:]
		if !a.erase(n) {
			return deleted // the table has stopped
		}
		deleted++
	}
	return deleted
}

// erase puts an entry's hash in its place; of two halves of a subtree that are gone both, one
// hash stays.
func (a *applier) erase(n uint64) bool {
	leaf, value, ok := a.leaf(n)
	if !ok {
		return false
	}
	led := &a.st.ledger
	led.gone++
	a.dropLeaf(n, value)
	at, root := ledger.Subtree{Index: n}, leaf.Root
	for {
		other := at.Sibling()
		if !led.dead(other) || !led.dead(at.Parent()) {
			break
		}
		half, value, ok := a.leaf(other.First())
		if !ok {
			return false
		}
		a.dropLeaf(other.First(), value)
		delete(led.upper, at)
		delete(led.upper, other)
		if other.Index < at.Index {
			root = ledger.NodeHash(half.Root, root)
		} else {
			root = ledger.NodeHash(root, half.Root)
		}
		at = at.Parent()
	}
	a.putLeaf(at.First(), record.SealGone(at, root))
	return true
}

// leaf reads a record of the ledger that must be there, newest first: what is not yet
// written, then the file. false: it cannot be read, and the table has said so.
func (r *reading) leaf(n uint64) (record.Leaf, []byte, bool) {
	value, pending := r.t.pendingLeaf(n)
	if !pending {
		if value = r.stored(bucketLedger, record.LedgerKey(n)); value == nil && r.t.stopped.Load() != nil {
			return record.Leaf{}, nil, false
		}
	}
	leaf, err := record.ReadLeaf(record.LedgerKey(n), value)
	if err != nil {
		r.t.fatal(files.Damage("reading entry %d of the ledger: %w", n, err))
		return leaf, nil, false
	}
	return leaf, value, true
}

// pendingLeaf returns a record that waits for the file; the lock is held.
func (t *Table) pendingLeaf(n uint64) ([]byte, bool) {
	if v, ok := t.dirty.ledger[n]; ok {
		return v, true
	}
	for _, b := range slices.Backward(t.sealed) {
		if v, ok := b.ledger[n]; ok {
			return v, true
		}
	}
	return nil, false
}

// putLedger writes the records of the ledger; their bucket is made with the first.
func putLedger(tx *bbolt.Tx, records map[uint64][]byte) error {
	if len(records) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(bucketLedger)
	if err != nil {
		return err
	}
	b.FillPercent = 1 // numbers only grow
	return putAll(b, records, record.LedgerKey)
}
