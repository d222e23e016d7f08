package store

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"tandem/ownership"
	"tandem/store/record"
)

// benchClaims makes entries of so many claims each, like a busy leader's.
func benchClaims(b *testing.B, seed uint64, entries, each int) [][]byte {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, seed))
	out := make([][]byte, entries)
	for i := range out {
		act := ownership.Claims{At: at(1), Fitness: fit("a", "b", "c")}
		for range each {
			id := ownership.CallID(fmt.Sprintf("%016x%016x", rng.Uint64(), rng.Uint64()))
			act.Claims = append(act.Claims, claim(id, func(c *ownership.Claim) {
				c.Groups = []ownership.GroupKey{ownership.GroupKey("chain:" + id)}
			}))
		}
		out[i] = mustEncode(b, act)
	}
	return out
}

func benchTable(b *testing.B) *rig {
	b.Helper()
	r := newRig(b)
	for _, id := range []string{"a", "b", "c"} {
		n := node(id)
		n.Capacity = 10_000_000
		r.must(ownership.Join{At: at(0), Node: n, Partitions: 8})
	}
	return r
}

func (r *rig) feed(entries [][]byte) {
	for _, data := range entries {
		r.index++
		r.table.Apply(&raft.Log{Index: r.index, Term: 3, Type: raft.LogCommand, Data: data})
	}
}

// BenchmarkApply measures claims through Apply with writing behind, to the last
// one on disk.
func BenchmarkApply(b *testing.B) {
	for _, each := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("claims=%d", each), func(b *testing.B) {
			r := benchTable(b)
			entries := benchClaims(b, 0, b.N/each+1, each)
			b.ResetTimer()
			r.feed(entries)
			applied := b.Elapsed()
			if err := r.table.Flush(); err != nil {
				b.Fatal(err)
			}
			total := b.Elapsed()
			b.ReportMetric(float64(len(entries)*each)/applied.Seconds(), "applied/s")
			b.ReportMetric(float64(len(entries)*each)/total.Seconds(), "durable/s")
		})
	}
}

// BenchmarkKnown measures what routing asks of memory.
func BenchmarkKnown(b *testing.B) {
	r := benchTable(b)
	r.feed(benchClaims(b, 0, 400, 250))
	if err := r.table.Flush(); err != nil {
		b.Fatal(err)
	}
	items, _, err := r.table.Calls(ownership.CallFilter{}, "", 1000)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok := r.table.Known(items[i%len(items)].ID); !ok {
			b.Fatal("unknown")
		}
	}
}

// BenchmarkMillion fills a table with a million live calls and measures memory
// for each, a full garbage collection, the pause of a snapshot, and a start.
// Run it with -benchtime=1x.
func BenchmarkMillion(b *testing.B) {
	const calls, each = 1_000_000, 500
	for b.Loop() {
		r := benchTable(b)
		before := heap()
		for i := range uint64(calls / each / 100) {
			r.feed(benchClaims(b, i, 100, each))
			if err := r.table.Flush(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/float64(r.table.Counts().Calls), "B/call")
		start := time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "gc-ms")

		start = time.Now()
		snap, err := r.table.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Microseconds()), "snapshot-pause-us")
		var sink memorySink
		if err := snap.Persist(&sink); err != nil {
			b.Fatal(err)
		}
		snap.Release()
		b.ReportMetric(float64(sink.Len())/1e6, "snapshot-MB")

		start = time.Now()
		if err := r.table.Restore(io.NopCloser(bytes.NewReader(sink.Bytes()))); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "restore-s")
		start = time.Now()
		st, _, err := load(r.table.path)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "start-s")
		runtime.KeepAlive(st)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkEnds measures calls that are claimed and end, 256 to an entry, to the last on disk: with
// the ledger, and as a region of the format before it.
func BenchmarkEnds(b *testing.B) {
	for _, format := range []uint32{ownership.FormatLedger - 1, ownership.FormatLedger} {
		b.Run(fmt.Sprintf("format=%d", format), func(b *testing.B) {
			const each = 256
			r := benchTable(b)
			r.must(ownership.SetFormat{At: at(1), Format: format})
			claims := benchClaims(b, 3, b.N/each+1, each)
			ends := make([][]byte, len(claims))
			for i, data := range claims {
				act, err := record.DecodeAct(data)
				if err != nil {
					b.Fatal(err)
				}
				over := ownership.Records{At: at(2)}
				for _, c := range act.(ownership.Claims).Claims {
					over.Acts = append(over.Acts, ownership.Release{Call: c.Call, Epoch: 1, Told: true, Why: "the cloud ended it"})
				}
				ends[i] = mustEncode(b, over)
			}
			b.ResetTimer()
			for i := range claims {
				r.feed(claims[i : i+1])
				r.feed(ends[i : i+1])
			}
			if err := r.table.Flush(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(claims)*each)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}
