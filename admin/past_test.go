package admin

import (
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// TestTheTableIsToldAsItWas at a time and at an index, for as long as the history reaches
// back, which the answer says; what lies before, or ahead, is refused.
func TestTheTableIsToldAsItWas(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	f := r.fake
	f.add(ownership.Call{ID: "c01", App: "app-1", Partition: 1, State: ownership.CallEnded, Owner: "emea-1"})
	f.mu.Lock()
	p := f.partitions[1]
	owner, epoch := p.Owner, p.Epoch
	f.events = nil
	for i, e := range []history.Event{
		{Kind: history.Moved, Partition: 1, Node: "emea-2", From: "emea-3", Epoch: epoch - 1},
		{Kind: history.Claimed, Call: "c01", Partition: 1, Node: "emea-2", Epoch: epoch - 1},
		{Kind: history.Answered, Call: "c01", Partition: 1, Node: "emea-2", Epoch: epoch - 1},
		{Kind: history.Moved, Partition: 1, Node: owner, From: "emea-2", Epoch: epoch},
		{Kind: history.Ended, Call: "c01", Partition: 1, Node: owner, Epoch: epoch, Text: "hung up"},
	} {
		e.Index, e.At = uint64(100+10*i), start.Add(-time.Duration(50-10*i)*time.Minute)
		e.ID = e.Index << 20
		f.events = append(f.events, e)
	}
	f.mu.Unlock()
	at := func(i int) string { return "?at=" + url.QueryEscape(f.events[i].At.Format(time.RFC3339Nano)) }
	index := func(n int) string { return "?index=" + strconv.Itoa(n) }
	for _, q := range []string{at(0), index(100), index(129), at(2)} {
		if p := told[ownership.Partition](r, api.RoleRead, "/v1/partitions/1"+q); p.Owner != "emea-2" || p.Epoch != epoch-1 {
			t.Errorf("%s: partition 1 was %+v", q, p)
		}
	}
	for _, q := range []string{"", at(3), index(130), index(140)} {
		if p := told[ownership.Partition](r, api.RoleRead, "/v1/partitions/1"+q); p.Owner != owner || p.Epoch != epoch {
			t.Errorf("%s: partition 1 was %+v", q, p)
		}
	}
	for q, want := range map[string]ownership.CallState{index(110): ownership.CallClaimed, at(2): ownership.CallAnswered, index(139): ownership.CallAnswered, index(140): ownership.CallEnded} {
		if c := told[ownership.Call](r, api.RoleRead, "/v1/calls/c01"+q); c.State != want || c.ID != "c01" {
			t.Errorf("%s: call c01 was %+v", q, c)
		}
	}
	all := r.ask("GET", "/v1/partitions"+index(100), "", reader).want(t, 200)
	if all.Header.Get("Tandem-History-Since-Index") != "100" || all.Header.Get("Tandem-History-Since") != f.events[0].At.Format(time.RFC3339Nano) {
		t.Errorf("how far back the history reaches: %v", all.Header)
	}
	if now := r.ask("GET", "/v1/partitions", "", reader).want(t, 200); now.Header.Get("Tandem-History-Since") != "" {
		t.Errorf("an answer about today says %v", now.Header)
	}
	for q, status := range map[string]int{
		"/v1/calls/c01" + index(109):                                                         http.StatusNotFound,
		"/v1/partitions" + index(99):                                                         http.StatusGone,
		"/v1/partitions" + index(999_999):                                                    http.StatusBadRequest,
		"/v1/partitions" + index(120) + "&at=" + at(1)[4:]:                                   http.StatusBadRequest,
		"/v1/partitions?at=" + url.QueryEscape(start.Add(-time.Hour).Format(time.RFC3339)):   http.StatusGone,
		"/v1/partitions?at=" + url.QueryEscape(start.Add(90*time.Hour).Format(time.RFC3339)): http.StatusBadRequest,
		"/v1/partitions?at=yesterday":                                                        http.StatusBadRequest,
		"/v1/partitions/99" + index(120):                                                     http.StatusNotFound,
		"/v1/calls/not~one" + index(120):                                                     http.StatusBadRequest,
	} {
		r.ask("GET", q, "", reader).want(t, status)
	}
}
