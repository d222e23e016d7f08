package store

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

// scanned is the plain way to a call's timeline, through the whole history: the model.
func scanned(t *Table, call ownership.CallID) ([]history.Event, error) {
	var out []history.Event
	var in ownership.PartitionID
	from := 0 // where in out the present life of the call begins
	if c, ok := t.Call(call); ok && !c.ClaimedAt.IsZero() {
		in = c.Partition // its claim may be forgotten
	}
	err := t.eachEvent(0, func(key, value []byte) (bool, error) {
		about := bytes.Contains(value, []byte(call))
		if !about && (in == 0 || !tellsOfPartition(value)) {
			return true, nil // cheaper than reading it
		}
		e, err := record.ReadEvent(key, value)
		switch {
		case err != nil:
			return false, err
		case e.Call == call:
			if e.Kind == history.Claimed {
				out = out[:from] // of before the claim
				in = e.Partition
			}
			out = append(out, e)
			if e.Kind == history.Ended {
				in, from = 0, len(out)
			}
		case e.Call == "" && e.Partition == in && movesCalls(e.Kind):
			out = append(out, e)
		}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the history of call %s: %w", call, err)
	}
	return out, nil
}

// tellsOfPartition looks for such an event without reading it.
func tellsOfPartition(sealed []byte) bool {
	return slices.ContainsFunc(moving, func(k history.Kind) bool { return bytes.Contains(sealed, []byte(k)) })
}

// TestTheIndexTellsWhatAScanWould: of every call, at any moment of a history that forgets
// its beginning, is partly in memory, and is replaced by a restore.
func TestTheIndexTellsWhatAScanWould(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.Events, o.FlushEvery = 300, time.Hour })
	r.join("a", "b")
	dice := rand.New(rand.NewPCG(7, 7))
	compare := func(when string) {
		t.Helper()
		for i := range 60 {
			want, err := scanned(r.table, callID(i))
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.table.Timeline(callID(i))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s, call %d:\n%s", when, i, diff)
			}
		}
	}
	for i := range 1500 {
		id := callID(dice.IntN(60))
		switch c, known := r.table.Call(id); {
		case !known || c.State == ownership.CallEnded:
			r.do(ownership.Forget{At: at(i), Before: at(i)})
			r.claimOn(i, fit("a", "b"), claim(id))
		case dice.IntN(3) == 0:
			r.do(ownership.Answered{At: at(i), Call: id, Epoch: c.Epoch})
		case dice.IntN(3) == 0:
			r.do(ownership.Release{At: at(i), Call: id, Epoch: c.Epoch, Why: fmt.Sprint("end ", i)})
		default:
			p, _ := r.table.Partition(c.Partition)
			to := ownership.NodeID("a")
			if p.Owner == to {
				to = "b"
			}
			r.do(ownership.Move{At: at(i), Partition: p.ID, Epoch: p.Epoch, To: to})
		}
		if dice.IntN(40) == 0 {
			if err := r.table.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if dice.IntN(100) == 0 {
			compare(fmt.Sprint("after act ", i))
		}
	}
	if n := len(r.table.annals.calls); n == 0 || n > 60 {
		t.Errorf("the index has %d calls", n)
	}
	ids := 0
	for _, of := range r.table.annals.calls {
		ids += len(of)
	}
	if ids > 2*r.table.opt.Events {
		t.Errorf("the index holds %d events of a history of %d", ids, r.table.opt.Events)
	}
	r.reopen()
	compare("after a restart")
	before := r.table.annals.of
	if err := r.table.Restore(io.NopCloser(bytes.NewReader(r.snapshotBytes()))); err != nil {
		t.Fatal(err)
	}
	compare("after a restore")
	if r.table.annals.of == before {
		t.Error("the index is still of the file of before")
	}
}

// FuzzEventSubject: whatever stands in the file, nobody falls; of a good event it tells the same.
func FuzzEventSubject(f *testing.F) {
	e := history.Event{Kind: history.Moved, Call: "c1", Partition: 7, Text: "text", Candidates: []ownership.Candidate{{Node: "a"}}}
	f.Add(record.SealEvent(1, &e), "call")
	f.Add([]byte{1, 2, 3}, "")
	f.Fuzz(func(t *testing.T, raw []byte, call string) {
		record.EventSubject(raw)
		e, call := e, strings.ToValidUTF8(call, "?") // no other id comes into the table
		e.Call = ownership.CallID(call)
		if got, p, kind := record.EventSubject(record.SealEvent(1, &e)); string(got) != call || p != 7 || string(kind) != string(history.Moved) {
			t.Fatalf("%q %d %q", got, p, kind)
		}
	})
}

// BenchmarkTimeline is one call's timeline in a history of 200,000 events.
func BenchmarkTimeline(b *testing.B) {
	r := newRig(b)
	wide := node("a")
	wide.Capacity = 1 << 30
	r.must(ownership.Join{At: at(0), Node: wide, Partitions: 2})
	for i := range 2000 {
		var claims []ownership.Claim
		for k := range 100 {
			claims = append(claims, claim(callID(i*100+k)))
		}
		r.claimOn(i, fit("a"), claims...)
	}
	if err := r.table.Flush(); err != nil {
		b.Fatal(err)
	}
	for name, f := range map[string]func(*Table, ownership.CallID) ([]history.Event, error){"index": (*Table).Timeline, "scan": scanned} {
		b.Run(name, func(b *testing.B) {
			if _, err := f(r.table, callID(0)); err != nil { // the first question makes the index
				b.Fatal(err)
			}
			for b.Loop() {
				if got, err := f(r.table, callID(150_000)); err != nil || len(got) != 1 {
					b.Fatal(got, err)
				}
			}
		})
	}
}
