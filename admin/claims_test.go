package admin

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// TestClaimsInPages: a reader that goes on where the page before it ended sees each
// claim once, whatever else happened between them.
func TestClaimsInPages(t *testing.T) {
	r := openRoom(t)
	want := []ownership.CallID{"many, the first"}
	r.fake.tell(history.Event{Kind: history.Claimed, Call: want[0]})
	r.fake.mu.Lock() // ids have gaps, as in a table
	r.fake.events = append(r.fake.events, history.Event{ID: r.fake.lastID() + 1<<20, Kind: history.Format})
	r.fake.mu.Unlock()
	for i := range 3 * claimEvents {
		call := ownership.CallID("many" + strconv.Itoa(i))
		kind := history.Ended
		if i%3 == 0 {
			kind, want = history.Claimed, append(want, call)
		}
		r.fake.tell(history.Event{Kind: kind, Call: call})
	}
	var got []ownership.CallID
	var after uint64
	for pages := 0; ; pages++ {
		var p api.Claims
		if err := json.Unmarshal([]byte(r.ask("GET", "/v1/claims?after="+strconv.FormatUint(after, 10), "").text), &p); err != nil {
			t.Fatal(err)
		}
		if p.Next < after || pages > 10 {
			t.Fatalf("page %d goes from %d to %d", pages, after, p.Next)
		}
		got, after = append(got, p.Calls...), p.Next
		if !p.More {
			break
		}
	}
	got = slices.DeleteFunc(got, func(id ownership.CallID) bool { return id[:min(4, len(id))] != "many" })
	if !slices.Equal(got, want) {
		t.Errorf("%d claims were read of %d", len(got), len(want))
	}
}
