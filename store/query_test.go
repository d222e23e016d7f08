package store

import (
	"bytes"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/ownership"
)

func TestCallsFilter(t *testing.T) {
	r := newRig(t, func(o *Options) { o.FlushEvery = time.Hour })
	r.join("a", "b")
	tenant := func(id ownership.TenantID) func(*ownership.Claim) {
		return func(c *ownership.Claim) { c.Tenant = id }
	}
	app := func(c *ownership.Claim) { c.App = "app-2" }
	group := func(c *ownership.Claim) { c.Groups = []ownership.GroupKey{"thread:x"} }
	r.claimOn(1, fit("a"), claim(callID(1), tenant("t1"), group), claim(callID(2), tenant("t2")), claim(callID(3), tenant("t1"), app))
	if err := r.table.Flush(); err != nil { // 1 to 3 in the file, the rest in memory
		t.Fatal(err)
	}
	r.claimOn(2, fit("b"), claim(callID(4), tenant("t1"), app), claim(callID(5), tenant("t2")))
	r.must(ownership.Answered{At: at(3), Call: callID(2), Epoch: 1})
	r.must(ownership.Release{At: at(90), Call: callID(5), Epoch: 1})
	r.must(ownership.Seen{At: at(99), Calls: []ownership.CallID{callID(4)}})
	first := r.call(callID(1)).Partition
	cases := []struct {
		name string
		f    ownership.CallFilter
		want []int
	}{
		{"all", ownership.CallFilter{}, []int{1, 2, 3, 4, 5}},
		{"node", ownership.CallFilter{Node: "b"}, []int{4, 5}},
		{"unknown node", ownership.CallFilter{Node: "x"}, nil},
		{"partition", ownership.CallFilter{Partition: first}, []int{1, 3}},
		{"unknown partition", ownership.CallFilter{Partition: 99}, nil},
		{"tenant", ownership.CallFilter{Tenant: "t1"}, []int{1, 3, 4}},
		{"app", ownership.CallFilter{App: "app-2"}, []int{3, 4}},
		{"tenant and app and node", ownership.CallFilter{Tenant: "t1", App: "app-2", Node: "a"}, []int{3}},
		{"claimed", ownership.CallFilter{State: ownership.CallClaimed}, []int{1, 3, 4}},
		{"answered", ownership.CallFilter{State: ownership.CallAnswered}, []int{2}},
		{"ended", ownership.CallFilter{State: ownership.CallEnded}, []int{5}},
		{"group", ownership.CallFilter{Group: "thread:x"}, []int{1}},
		{"live group", ownership.CallFilter{Group: "thread:x", State: ownership.CallClaimed}, []int{1}},
		{"partition and state", ownership.CallFilter{Partition: first, State: ownership.CallAnswered}, nil},
	}
	for _, when := range []string{"half in memory", "in the file"} {
		for _, c := range cases {
			for limit := 1; limit <= 6; limit++ {
				var got []ownership.CallID
				for cursor, pages := "", 0; ; pages++ {
					page, next, err := r.table.Calls(c.f, cursor, limit)
					if err != nil {
						t.Fatal(err)
					}
					if len(page) > limit || pages > 6 {
						t.Fatalf("%s, limit %d: page %d has %d calls", c.name, limit, pages, len(page))
					}
					for _, call := range page {
						got = append(got, call.ID)
					}
					if cursor = next; next == "" {
						break
					}
				}
				var want []ownership.CallID
				for _, n := range c.want {
					want = append(want, callID(n))
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s, %s, limit %d: got %v, want %v", c.name, when, limit, got, want)
				}
			}
		}
		if err := r.table.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadersWhileWriting reads everything there is from several goroutines
// while acts, flushes and a restore go on; the race detector watches.
func TestReadersWhileWriting(t *testing.T) {
	r := newRig(t, func(o *Options) { o.FlushEvery = time.Millisecond; o.FlushAt = 5 })
	r.join("a", "b")
	b := r.snapshotBytes()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r.readAll(t)
			}
		})
	}
	for i := range 150 {
		r.claimOn(i, fit("a", "b"), claim(callID(i), func(c *ownership.Claim) { c.Groups = []ownership.GroupKey{"thread:x"} }))
		if i%3 == 0 {
			r.must(ownership.Release{At: at(i), Call: callID(i)})
		}
		if i%10 == 0 {
			r.must(ownership.Forget{At: at(i), Before: at(i)})
		}
	}
	if err := r.table.Flush(); err != nil {
		t.Error(err)
	}
	if err := r.table.Restore(io.NopCloser(bytes.NewReader(b))); err != nil {
		t.Error(err)
	}
	close(stop)
	wg.Wait()
	if r.fatal != nil {
		t.Error(r.fatal)
	}
}

func (r *rig) readAll(t *testing.T) {
	page, _, err := r.table.Calls(ownership.CallFilter{}, "", 50)
	if err != nil {
		t.Error(err)
	}
	for _, c := range page {
		r.table.Known(c.ID)
		if got, ok := r.table.Call(c.ID); ok && got.ID != c.ID {
			t.Errorf("asked for call %s, got %s", c.ID, got.ID)
		}
	}
	r.table.Legs("thread:x")
	r.table.Hash()
	r.table.Counts()
	r.table.View(func(v ownership.View) {
		live := 0
		for _, p := range v.PartitionsOf("a") {
			live += p.Live
		}
		if live != v.Live("a") {
			t.Errorf("within one view a has %d live calls, its partitions %d", v.Live("a"), live)
		}
	})
	if _, err := r.table.Events(0, 20); err != nil {
		t.Error(err)
	}
}
