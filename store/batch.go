package store

import (
	"maps"
	"slices"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/record"
	"tandem/store/tablepb"
)

// The buckets of table.db. Loading reads them in the order of their names, and
// each needs what the ones before it hold.
var (
	bucketMeta       = []byte("1-meta")
	bucketNodes      = []byte("2-nodes")
	bucketPartitions = []byte("3-partitions")
	bucketCalls      = []byte("4-calls")
	bucketEvents     = []byte("5-events")
	bucketTokens     = []byte("6-tokens")   // made with the first token, so not before ownership.FormatTokens
	bucketRules      = []byte("7-rules")    // made with the first version that is set, so not before ownership.FormatRules
	bucketLedger     = []byte("8-ledger")   // made with the first entry, so not before ownership.FormatLedger
	bucketDeposits   = []byte("9-deposits") // made with the first one, so not before ownership.FormatDeposits

	allBuckets = [][]byte{bucketMeta, bucketNodes, bucketPartitions, bucketCalls, bucketEvents}
	metaKey    = []byte("table")
)

// pendingEvent is an event on its way to the file.
type pendingEvent struct {
	id    uint64
	value []byte // sealed
}

// batch collects the changes that go to the file in one transaction, together
// with the raft index that they reach.
type batch struct {
	calls    map[ownership.CallID][]byte // sealed; nil: forgotten
	nodes    map[ownership.NodeID][]byte
	parts    map[ownership.PartitionID][]byte
	tokens   map[string][]byte // sealed; nil: revoked
	rules    map[string][]byte // sealed, by key; nil: no longer kept
	ledger   map[uint64][]byte // sealed, by number; nil: deleted
	deposits map[string][]byte // sealed; nil: taken out
	events   []pendingEvent

	applied, term uint64 // 0: nothing happened
	sum           uint64
	format        uint32
	next          ownership.PartitionID
	facts

	snapshots []*snapshot // each gets a view of the file as it is after this batch
}

func newBatch() *batch {
	return &batch{
		calls:    map[ownership.CallID][]byte{},
		nodes:    map[ownership.NodeID][]byte{},
		parts:    map[ownership.PartitionID][]byte{},
		tokens:   map[string][]byte{},
		rules:    map[string][]byte{},
		ledger:   map[uint64][]byte{},
		deposits: map[string][]byte{},
	}
}

func (b *batch) size() int {
	return len(b.calls) + len(b.nodes) + len(b.parts) + len(b.tokens) + len(b.rules) + len(b.ledger) + len(b.deposits) + len(b.events)
}

// seal notes how far the table is after the batch's changes.
func (b *batch) seal(s *state) {
	b.applied, b.term, b.sum, b.format, b.next, b.facts = s.applied, s.term, s.sum, s.format, s.next, s.facts
}

func (t *Table) meta(b *batch, events, eventsSum uint64) *tablepb.Meta {
	return &tablepb.Meta{
		Layout: LayoutFormat, Deployment: t.deployment, Region: string(t.region),
		Applied: b.applied, Term: b.term, Format: b.format, NextPartition: uint32(b.next), Sum: b.sum,
		Events: events, EventsSum: eventsSum,
		Identity: b.identity, Lease: int64(b.lease), LeaseBefore: int64(b.leaseBefore),
		KeepDays: int64(b.keep.Days), KeepEndedDays: int64(b.keep.EndedDays),
		Refused: b.refused.out(), Rollouts: rolloutsOut(b.rollouts),
	}
}

// write commits the batch with fsync and gives what the file then holds.
func (t *Table) write(db *bbolt.DB, b *batch, disk diskState) (diskState, error) {
	err := db.Update(func(tx *bbolt.Tx) error {
		if err := putAll(tx.Bucket(bucketNodes), b.nodes, record.NodeKey); err != nil {
			return err
		}
		if err := putAll(tx.Bucket(bucketPartitions), b.parts, record.PartitionKey); err != nil {
			return err
		}
		if err := putAll(tx.Bucket(bucketCalls), b.calls, textKey); err != nil {
			return err
		}
		if err := putMade(tx, bucketTokens, b.tokens); err != nil {
			return err
		}
		if err := putMade(tx, bucketRules, b.rules); err != nil {
			return err
		}
		if err := putLedger(tx, b.ledger); err != nil {
			return err
		}
		if err := putMade(tx, bucketDeposits, b.deposits); err != nil {
			return err
		}
		if err := t.writeEvents(tx.Bucket(bucketEvents), b.events, &disk); err != nil {
			return err
		}
		disk.applied, disk.term = b.applied, b.term
		m := t.meta(b, disk.events, disk.eventsSum)
		return tx.Bucket(bucketMeta).Put(metaKey, record.Seal(metaKey, m))
	})
	return disk, err
}

// putMade is putAll for a bucket that is made with its first record.
func putMade(tx *bbolt.Tx, bucket []byte, records map[string][]byte) error {
	if len(records) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(bucket)
	if err != nil {
		return err
	}
	return putAll(b, records, textKey)
}

func textKey[S ~string](text S) []byte { return []byte(text) }

// putAll writes records in the order of their keys, which is the order of the
// pages they go to.
func putAll[K ~string | ~uint32 | ~uint64](b *bbolt.Bucket, records map[K][]byte, key func(K) []byte) error {
	for _, k := range slices.Sorted(maps.Keys(records)) {
		var err error
		if v := records[k]; v != nil {
			err = b.Put(key(k), v)
		} else {
			err = b.Delete(key(k))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeEvents appends events and forgets the oldest beyond the cap.
func (t *Table) writeEvents(b *bbolt.Bucket, events []pendingEvent, disk *diskState) error {
	b.FillPercent = 1 // ids only grow
	for _, e := range events {
		key := record.EventKey(e.id)
		if err := b.Put(key, e.value); err != nil {
			return err
		}
		disk.events++
		disk.eventsSum += record.Sum(record.KindEvent, key, e.value)
	}
	if disk.events <= uint64(t.opt.Events) {
		return nil
	}
	var old [][]byte
	c := b.Cursor()
	for k, v := c.First(); k != nil && disk.events > uint64(t.opt.Events); k, v = c.Next() {
		old = append(old, slices.Clone(k))
		disk.events--
		disk.eventsSum -= record.Sum(record.KindEvent, k, v)
	}
	for _, k := range old {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// readMeta returns the record that says how far the file is.
func readMeta(value []byte) (*tablepb.Meta, error) {
	content, err := record.Unseal(metaKey, value)
	if err != nil {
		return nil, err
	}
	var m tablepb.Meta
	if err := proto.Unmarshal(content, &m); err != nil {
		return nil, files.Damage("the table's own record: %w", err)
	}
	return &m, nil
}
