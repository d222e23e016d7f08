package bot

import (
	"context"
	"errors"
	"slices"
	"time"

	"tandem/ownership"
)

const (
	firstRecordPause   = 100 * time.Millisecond
	longestRecordPause = 5 * time.Second
	recordBatch        = 256 // acts in one Records
	recordsAtOnce      = 8   // batches under way at the Ledger
)

// ErrOver is what a Ledger answers that will take nothing any more: the node has
// left its region, or stops. What the table has not heard is kept for the next
// start.
var ErrOver = errors.New("the region takes nothing from this node any more")

// register is what the table is to be told, by call: the acts of one call are
// told in their order, one after the other. A bounded number of goroutines tells
// them, many at a time. Desk.mu guards it.
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

// record has the table apply an act of a call, behind the caller's back, until it
// is done, refused for good, or the desk is closed. It is called by work that
// Close waits for.
func (d *Desk) record(act ownership.Act, h ownership.HandOver) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recordNow(act, h.Call, h.Partition, true)
}

// recordNow is record with the lock held. With working unset it is no work that
// Close waits for: once the desk closes, the act is only kept.
func (d *Desk) recordNow(act ownership.Act, call ownership.CallID, p ownership.PartitionID, working bool) {
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
func (d *Desk) staff(working bool) {
	if r := &d.register; len(r.ready) > 0 && r.workers < recordsAtOnce && !r.over && (working || !d.closed) {
		r.workers++
		d.work.Go(d.tellTable)
	}
}

// tellTable tells the table until there is nothing left to tell.
func (d *Desk) tellTable() {
	for wait := firstRecordPause; ; {
		batch := d.nextRecords()
		if len(batch) == 0 {
			return
		}
		errs := d.propose(batch)
		again := d.settleRecords(batch, errs)
		switch {
		case len(again) == 0:
			wait = firstRecordPause
			continue
		case slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, ErrOver) }):
			d.stopRecords(true)
			return
		}
		ok := pause(d.base, wait)
		wait = min(2*wait, longestRecordPause)
		d.mu.Lock()
		d.register.ready = append(d.register.ready, again...)
		d.mu.Unlock()
		if !ok {
			d.stopRecords(false)
			return
		}
	}
}

// nextRecords takes what may be told now, one act of each call. None: the worker
// is counted no more.
func (d *Desk) nextRecords() []*owing {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &d.register
	if r.over || d.base.Err() != nil || len(r.ready) == 0 {
		r.workers--
		return nil
	}
	n := min(len(r.ready), recordBatch)
	batch := slices.Clone(r.ready[:n])
	clear(r.ready[:n])
	if r.ready = r.ready[n:]; len(r.ready) == 0 {
		r.ready = nil
	}
	return batch
}

func (d *Desk) stopRecords(over bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.register.workers--
	d.register.over = d.register.over || over
	if n := len(d.register.calls); n > 0 {
		d.log.Warn("records wait for the next start of this node", "calls", n)
	}
}

// propose gives each call's next act to the Ledger, in one act if they are many,
// and the errors in their order. Nobody else touches an act that is under way.
func (d *Desk) propose(batch []*owing) []error {
	errs := make([]error, len(batch))
	if len(batch) == 1 {
		errs[0] = d.apply(d.base, batch[0].next(d))
		return errs
	}
	acts := ownership.Records{At: d.conf.Now(), Acts: make([]ownership.Act, len(batch))}
	for i, o := range batch {
		acts.Acts[i] = o.next(d)
	}
	out, err := d.ledger.Do(d.base, acts)
	if err == nil && out != nil {
		err = out.Err
	}
	for i := range errs {
		switch {
		case err != nil:
			errs[i] = err
		case out != nil && i < len(out.Errors):
			errs[i] = out.Errors[i]
		}
		d.countRetry(acts.Acts[i], errs[i])
	}
	return errs
}

func (o *owing) next(d *Desk) ownership.Act {
	d.mu.Lock()
	defer d.mu.Unlock()
	return o.acts[0].act
}

// settleRecords takes out what is done or refused for good, and gives the calls
// that are to be tried again.
func (d *Desk) settleRecords(batch []*owing, errs []error) (again []*owing) {
	d.mu.Lock()
	known := make([]ownership.Act, len(batch))
	for i, o := range batch {
		known[i] = o.acts[0].act
	}
	d.mu.Unlock()
	for i, act := range known {
		known[i] = d.renewed(act, errs[i]) // asks the Ledger
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, o := range batch {
		first := o.acts[0]
		switch err := errs[i]; {
		case known[i] != nil:
			o.acts[0].act = known[i]
			again = append(again, o)
			continue
		case err != nil && !final(err):
			again = append(again, o)
			continue
		case err != nil:
			d.log.Info("the table refused a record", "act", nameOf(first.act), "call", o.call, "err", err)
		}
		first.end()
		if o.acts = o.acts[1:]; len(o.acts) == 0 {
			delete(d.register.calls, o.call)
		} else {
			d.register.ready = append(d.register.ready, o)
		}
	}
	return again
}

// renewed gives the act at the call's present epoch, where the table refused it
// for its epoch alone and it tells a fact at any epoch: a region of an older
// command format compares epochs all the same. nil: the refusal stands.
func (d *Desk) renewed(act ownership.Act, err error) ownership.Act {
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

// apply gives one act to the Ledger.
func (d *Desk) apply(ctx context.Context, act ownership.Act) error {
	out, err := d.ledger.Do(ctx, act)
	if err == nil && out != nil {
		err = out.Err
	}
	d.countRetry(act, err)
	return err
}

func (d *Desk) countRetry(act ownership.Act, err error) {
	if err != nil && !final(err) {
		d.count.recordRetries.WithLabelValues(nameOf(act)).Inc()
	}
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
