package bot

import (
	"context"
	"errors"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

const (
	firstRecordPause   = 100 * time.Millisecond
	longestRecordPause = 5 * time.Second
	recordsAtOnce      = 256 // acts under way at the Ledger, which puts many into one entry of its log
)

// ErrOver is what a Ledger answers that will take nothing any more: the node has
// left its region, or stops. What the table has not heard is kept for the next
// start.
var ErrOver = errors.New("the region takes nothing from this node any more")

// register is what the table is to be told, by call: the acts of one call are
// told in their order, one after the other. A bounded number of goroutines tells
// them. Dispatcher.mu guards it.
type register struct {
	calls   map[ownership.CallID]*owing
	ready   []*owing // with an act that is not under way, first come first served
	workers int
	over    bool
}

// owing is what the table is to be told of one call.
type owing struct {
	call ownership.CallID
	acts []owed
}

// owed is one act.
type owed struct {
	act       ownership.Act
	partition ownership.PartitionID
	end       func() // of the effect: a move of the partition waits for it
}

// records tells the table what became of calls.
type records struct {
	*queues
	register register
}

// record has the table apply an act of a call, behind the caller's back, until it
// is done, refused for good, or the dispatcher is closed. It is called by work that
// Close waits for.
func (d *records) record(act ownership.Act, h ownership.HandOver) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recordNow(act, h.Call, h.Partition, true)
}

// recordNow is record with the lock held. With working unset it is no work that
// Close waits for: once the dispatcher closes, the act is only kept.
func (d *records) recordNow(act ownership.Act, call ownership.CallID, p ownership.PartitionID, working bool) {
	r := &d.register
	o := r.calls[call]
	if o == nil {
		o = &owing{call: call}
		r.calls[call] = o
		r.ready = append(r.ready, o)
	}
	o.acts = append(o.acts, owed{act, p, d.effects.begin(p)})
	d.staff(working)
}

// staff starts one more worker where there is work for it. The lock is held.
func (d *records) staff(working bool) {
	if r := &d.register; len(r.ready) > 0 && r.workers < recordsAtOnce && !r.over && (working || !d.closed) {
		r.workers++
		d.work.Go(d.tellTable)
	}
}

func (d *records) tellTable() {
	for wait := firstRecordPause; ; {
		o, act := d.nextRecord()
		if o == nil {
			return
		}
		err := d.apply(d.base, act)
		over := errors.Is(err, ErrOver)
		switch again := d.renewed(act, err); {
		case again != nil:
			act = again
		case err == nil || final(err):
			d.settleRecord(o, err)
			wait = firstRecordPause
			continue
		}
		d.log.Debug("the table did not take a record; it is told again", "act", nameOf(act), "call", o.call, "err", err)
		if !over {
			graph.Sleep(d.base, wait)
		}
		wait = min(2*wait, longestRecordPause)
		d.mu.Lock()
		o.acts[0].act = act
		d.register.ready = append(d.register.ready, o) // behind the others: it may be the one that fails
		d.register.over = d.register.over || over
		d.mu.Unlock()
	}
}

// nextRecord takes what is to be told next. None: the worker is counted no more.
func (d *records) nextRecord() (*owing, ownership.Act) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &d.register
	if stopped := r.over || d.base.Err() != nil; stopped || len(r.ready) == 0 {
		r.workers--
		if stopped && r.workers == 0 && len(r.calls) > 0 {
			d.log.Warn("the table has yet to hear what became of some calls; the next start of this node tells it", "calls", len(r.calls))
		}
		return nil, nil
	}
	o := r.ready[0]
	r.ready[0] = nil
	if r.ready = r.ready[1:]; len(r.ready) == 0 {
		r.ready = nil
	}
	return o, o.acts[0].act
}

// settleRecord takes out what is done, or refused for good.
func (d *records) settleRecord(o *owing, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.log.Info("the table refused a record", "act", nameOf(o.acts[0].act), "call", o.call, "err", err)
	}
	o.acts[0].end()
	if o.acts = o.acts[1:]; len(o.acts) == 0 {
		delete(d.register.calls, o.call)
		return
	}
	d.register.ready = append(d.register.ready, o)
}

// renewed returns the act at the call's present epoch, where the table refused it
// for its epoch alone and it tells a fact at any epoch: a region of an older
// command format compares epochs all the same. nil: the refusal stands.
func (d *records) renewed(act ownership.Act, err error) ownership.Act {
	rel, ok := act.(ownership.Release)
	if !ok || !rel.Told || !errors.Is(err, ownership.ErrStaleEpoch) {
		return nil
	}
	k, ok := d.ledger.Find(rel.Call)
	if !ok || k.State == ownership.CallEnded || k.Epoch <= rel.Epoch {
		return nil
	}
	rel.Epoch = k.Epoch
	return rel
}

func (d *records) apply(ctx context.Context, act ownership.Act) error {
	out, err := d.ledger.Do(ctx, act)
	if err == nil && out != nil {
		err = out.Err
	}
	if err != nil && !final(err) {
		d.count.recordRetries.WithLabelValues(nameOf(act)).Inc()
	}
	return err
}

// final reports whether the table's refusal stands however often it is asked.
func final(err error) bool {
	return errors.Is(err, ownership.ErrStaleEpoch) || errors.Is(err, ownership.ErrUnknown) || errors.Is(err, ownership.ErrConflict)
}

func nameOf(act ownership.Act) string {
	switch act.(type) {
	case ownership.Answered:
		return "answered"
	case ownership.Release:
		return "release"
	case ownership.TakeUp:
		return "take-up"
	default:
		return "seen"
	}
}
