package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

// TestEvents reads the history while parts of it are in the file, parts on
// their way, parts only in memory.
func TestEvents(t *testing.T) {
	r := newRig(t, func(o *Options) { o.FlushEvery = time.Hour })
	r.join("a")
	for i := range 30 {
		r.claimOn(i, fit("a"), claim(callID(i)), claim(callID(100+i)))
		switch i {
		case 10:
			if err := r.table.Flush(); err != nil {
				t.Fatal(err)
			}
		case 20:
			r.table.mu.Lock()
			r.table.sealDirty()
			r.table.mu.Unlock()
		}
	}
	all, err := r.table.Events(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 3+60 {
		t.Fatalf("the history has %d events, want 63", len(all))
	}
	if !slices.IsSortedFunc(all, func(a, b history.Event) int { return int(a.ID) - int(b.ID) }) {
		t.Error("the history is not in order")
	}
	e := all[4] // the second claim of entry 2
	if e.ID != 2<<record.EventIDShift|1 || e.Index != 2 || e.Kind != history.Claimed || e.Call != callID(100) || e.Node != "a" || len(e.Candidates) != 1 || !e.At.Equal(at(0)) {
		t.Errorf("the event is %+v", e)
	}
	for i := range all {
		got, err := r.table.Events(all[i].ID, 7)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all[i+1:min(i+8, len(all))], got); diff != "" && i+1 < len(all) {
			t.Fatalf("after event %d:\n%s", i, diff)
		}
	}
	if got, err := r.table.Events(all[62].ID+999, 0); len(got) != 0 || err != nil {
		t.Errorf("after the last event come %v, %v", got, err)
	}
	r.reopen()
	again, err := r.table.Events(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, again); diff != "" {
		t.Errorf("after a restart:\n%s", diff)
	}
}

func TestEventsCap(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Events = 10 })
	r.join("a")
	w := r.table.Watch(1 << record.EventIDShift) // saw the first event
	defer w.Close()
	for i := range 40 {
		r.claimOn(i, fit("a"), claim(callID(i)))
	}
	if err := r.table.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err := r.table.Events(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 10 || got[9].Call != callID(39) || got[0].Call != callID(30) {
		t.Errorf("the history keeps %d events, from %s", len(got), got[0].Call)
	}
	events, lagged, err := w.Next(t.Context())
	if err != nil || !lagged || len(events) != 10 {
		t.Errorf("a watcher that was too slow got %d events, lagged: %v, %v", len(events), lagged, err)
	}
	r.reopen() // the sums must still fit
	r.claimOn(50, fit("a"), claim(callID(50)))
	if err := r.table.Flush(); err != nil {
		t.Fatal(err)
	}
	r.reopen()
}

func TestTimeline(t *testing.T) {
	r := filled(t)
	r.must(ownership.Release{At: at(80), Call: callID(1), Epoch: 2, Why: "hung up"})
	got, err := r.table.Timeline(callID(1))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []history.Kind
	for _, e := range got {
		if e.Call != callID(1) && (e.Kind != history.Moved || e.Partition != got[0].Partition) {
			t.Errorf("a stranger: %+v", e)
		}
		kinds = append(kinds, e.Kind)
	}
	// Call 1 was pinned and answered on one of the nodes.
	if len(kinds) < 3 || kinds[0] != history.Claimed || kinds[1] != history.Answered || kinds[len(kinds)-1] != history.Ended {
		t.Errorf("the timeline is %v", kinds)
	}
	if got[len(got)-1].Text != "hung up" {
		t.Errorf("the last line is %+v", got[len(got)-1])
	}
	if none, err := r.table.Timeline("nobody"); len(none) != 0 || err != nil {
		t.Errorf("an unknown call has the timeline %v, %v", none, err)
	}
}

// TestWatch follows the history from several goroutines while acts go on; none
// may miss an event, and none may hold Apply up.
func TestWatch(t *testing.T) {
	r := newRig(t, func(o *Options) { o.FlushEvery = time.Millisecond })
	r.join("a")
	const claims = 200
	var wg sync.WaitGroup
	for range 4 {
		w := r.table.Watch(0)
		wg.Go(func() {
			defer w.Close()
			var last uint64
			for seen := 0; seen < claims+3; {
				events, lagged, err := w.Next(t.Context())
				if err != nil || lagged {
					t.Errorf("lagged: %v, %v", lagged, err)
					return
				}
				for _, e := range events {
					if e.ID <= last {
						t.Errorf("event %d came after %d", e.ID, last)
					}
					last = e.ID
				}
				seen += len(events)
			}
		})
	}
	idle := r.table.Watch(0) // never reads
	defer idle.Close()
	for i := range claims {
		r.claimOn(i, fit("a"), claim(callID(i)))
	}
	wg.Wait()
}

func TestWatchEnds(t *testing.T) {
	r := newRig(t)
	w := r.table.Watch(0)
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled watcher got %v", err)
	}
	done := make(chan error)
	go func() {
		_, _, err := w.Next(t.Context())
		done <- err
	}()
	r.close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("the watcher of a closed store got %v", err)
	}
}
