package store

import (
	"fmt"
	"io"
	"os"
	"time"

	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/pages"
	"tandem/store/record"
	"tandem/store/tablepb"
)

// loader builds the state out of a file, and proves on the way that the file is
// whole: every record carries a checksum, and the sum over all records must be
// the one that was written with them, so none is missing, doubled or old.
type loader struct {
	st        *state
	meta      *tablepb.Meta
	sum       uint64
	events    uint64
	eventsSum uint64
}

// load reads table.db, or a file that is to become it.
func load(path string) (*state, *tablepb.Meta, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	st, meta, err := loadFrom(f, info.Size())
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return st, meta, nil
}

func loadFrom(r io.ReaderAt, size int64) (*state, *tablepb.Meta, error) {
	l := &loader{st: newState()}
	if err := pages.Walk(r, size, l.visit); err != nil {
		return nil, nil, err
	}
	if err := l.check(); err != nil {
		return nil, nil, err
	}
	return l.st, l.meta, nil
}

func (l *loader) visit(bucket string, key, value []byte) error {
	switch bucket {
	case string(bucketMeta):
		return l.readMeta(key, value)
	case string(bucketNodes):
		l.sum += record.Sum(record.KindNode, key, value)
		return loaded(key, value, record.ReadNode, l.st.setNode)
	case string(bucketPartitions):
		l.sum += record.Sum(record.KindPartition, key, value)
		return l.partition(key, value)
	case string(bucketCalls):
		l.sum += record.Sum(record.KindCall, key, value)
		return l.call(key, value)
	case string(bucketEvents):
		l.events++
		l.eventsSum += record.Sum(record.KindEvent, key, value)
		_, err := record.Unseal(key, value)
		return err
	case string(bucketTokens):
		l.sum += record.Sum(record.KindToken, key, value)
		return loaded(key, value, record.ReadToken, l.st.setToken)
	case string(bucketLedger):
		l.sum += record.Sum(record.KindLedger, key, value)
		return l.st.ledger.load(key, value)
	case string(bucketDeposits):
		l.sum += record.Sum(record.KindDeposit, key, value)
		return loaded(key, value, record.ReadDeposit, func(d ownership.Deposit) { l.st.deposits = append(l.st.deposits, d) }) // by name
	case string(bucketRules):
		l.sum += record.Sum(record.KindRules, key, value)
		return loaded(key, value, record.ReadRules, func(v ownership.Rules) { l.st.rules = append(l.st.rules, v) }) // in their order
	default:
		return files.Damage("the file has a bucket %q", bucket)
	}
}

func (l *loader) readMeta(key, value []byte) error {
	if string(key) != string(metaKey) {
		return files.Damage("the file has a record %q", key)
	}
	m, err := readMeta(value)
	if err != nil {
		return err
	}
	if m.GetLayout() > LayoutFormat {
		return fmt.Errorf("its layout is %d, this software reads up to %d; upgrade it: %w", m.GetLayout(), LayoutFormat, ErrNewerLayout)
	}
	if m.GetFormat() > record.CommandFormat {
		return fmt.Errorf("its region writes command format %d, this software reads up to %d; upgrade it: %w", m.GetFormat(), record.CommandFormat, ErrNewerLayout)
	}
	l.meta = m
	return nil
}

// loaded reads one record and puts it into the state.
func loaded[T any](key, value []byte, read func(key, value []byte) (T, error), put func(T)) error {
	x, err := read(key, value)
	if err == nil {
		put(x)
	}
	return err
}

func (l *loader) partition(key, value []byte) error {
	p, err := record.ReadPartition(key, value)
	if err != nil {
		return err
	}
	if _, ok := l.st.nodes[p.Owner]; !ok || string(record.PartitionKey(p.ID)) != string(key) {
		return files.Damage("partition %d under the key %x belongs to node %q, which is not there", p.ID, key, p.Owner)
	}
	last := ownership.Epoch(0)
	for _, r := range p.Reserved {
		if _, ok := l.st.nodes[r.Node]; !ok || r.Epoch <= last || r.Epoch >= p.Epoch {
			return files.Damage("partition %d at epoch %d is reserved for node %q at epoch %d", p.ID, p.Epoch, r.Node, r.Epoch)
		}
		last = r.Epoch
	}
	l.st.setPartition(p)
	return nil
}

func (l *loader) call(key, value []byte) error {
	content, err := record.Unseal(key, value)
	if err != nil {
		return err
	}
	h, err := record.HeadOf(content)
	if err != nil {
		return files.Damage("call %s: %w", key, err)
	}
	if _, ok := l.st.parts[h.Partition]; !ok || h.State < ownership.CallClaimed || h.State > ownership.CallEnded {
		return files.Damage("call %s is %s in partition %d, which is not there", key, h.State, h.Partition)
	}
	active := h.SeenAt
	if h.State == ownership.CallEnded {
		active = h.EndedAt
	}
	ref := l.st.addCall(ownership.CallID(key), ownership.Known{
		App: ownership.AppID(h.App), Partition: h.Partition, Epoch: h.Epoch, State: h.State, Pinned: h.Pinned,
	}, seconds(time.Unix(0, active)))
	if h.State.Live() {
		l.st.enterGroups(ref, h.Groups, string(h.Observed), h.Paired, time.Unix(0, h.Deadline))
	}
	return nil
}

// check compares what was read with what was written.
func (l *loader) check() error {
	m := l.meta
	switch {
	case m == nil:
		return files.Damage("the file does not say how far it is")
	case m.GetSum() != l.sum:
		return files.Damage("the sum over its records is %016x, written was %016x", l.sum, m.GetSum())
	case m.GetEvents() != l.events || m.GetEventsSum() != l.eventsSum:
		return files.Damage("its history has %d events, or others than the %d written", l.events, m.GetEvents())
	case ownership.PartitionID(m.GetNextPartition()) < l.st.next:
		return files.Damage("it holds partition %d, but says that %d is the next to be born", l.st.next-1, m.GetNextPartition())
	}
	l.st.sum, l.st.format, l.st.next = l.sum, m.GetFormat(), ownership.PartitionID(m.GetNextPartition())
	l.st.applied, l.st.term = m.GetApplied(), m.GetTerm()
	l.st.facts = facts{
		m.GetIdentity(), time.Duration(m.GetLease()), time.Duration(m.GetLeaseBefore()),
		ownership.Keep{Days: int(m.GetKeepDays()), EndedDays: int(m.GetKeepEndedDays())}, readRefused(m.GetRefused()), readRollouts(m.GetRollouts()),
	}
	return nil
}
