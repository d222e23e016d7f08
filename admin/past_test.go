package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
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
	for q, want := range map[string]int{index(109): 0, index(110): 1, at(2) + "&state=answered": 1, at(2) + "&state=claimed": 0, index(139) + "&node=emea-2": 1,
		index(129) + "&node=emea-2&partition=1": 1, index(129) + "&node=emea-3": 0, index(129) + "&tenant=nobody": 0, index(140): 0} {
		if page := told[api.CallPage](r, api.RoleRead, "/v1/calls"+q); len(page.Items) != want {
			t.Errorf("%s: the calls that lived were %+v", q, page.Items)
		}
	}
	silence := history.Event{ID: 115 << 20, Index: 115, At: start.Add(-35 * time.Minute), Kind: history.Silent, Node: "emea-3"}
	f.set(func() { f.events = slices.Insert(f.events, 2, silence) })
	for q, want := range map[string]string{
		index(100): "emea-1 active 0/2, emea-2 active 0/4, emea-3 draining 0/3, emea-4 gone 0/0",
		index(119): "emea-1 active 0/2, emea-2 active 1/4, emea-3 silent 0/3, emea-4 gone 0/0",
		index(140): "emea-1 active 0/3, emea-2 active 0/3, emea-3 silent 0/3, emea-4 gone 0/0",
	} {
		var got []string
		for _, n := range told[api.List[api.Node]](r, api.RoleRead, "/v1/nodes"+q).Items {
			got = append(got, fmt.Sprintf("%s %s %d/%d", n.ID, n.Standing, n.Live, n.Partitions))
			if n.Standing == api.NodeSilent && n.Silence.Text != "emea-3 fell silent at 2026-11-23T08:55:00Z, and nothing was told of it until then" {
				t.Errorf("its silence: %q", n.Silence.Text)
			}
		}
		if all := strings.Join(got, ", "); all != want {
			t.Errorf("%s: the nodes were %s, want %s", q, all, want)
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
		"/v1/calls" + index(99):                                                              http.StatusGone,
		"/v1/nodes" + index(99):                                                              http.StatusGone,
		"/v1/calls" + index(120) + "&state=ended":                                            http.StatusBadRequest,
		"/v1/calls" + index(120) + "&group=thread:19:x":                                      http.StatusBadRequest,
		"/v1/calls" + index(120) + "&cursor=c01":                                             http.StatusBadRequest,
		"/v1/partitions?at=yesterday":                                                        http.StatusBadRequest,
		"/v1/partitions/99" + index(120):                                                     http.StatusNotFound,
		"/v1/calls/not~one" + index(120):                                                     http.StatusBadRequest,
	} {
		r.ask("GET", q, "", reader).want(t, status)
	}
}

func (f *fake) Owning(after uint64) ([]history.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.events), func(e history.Event) bool { return e.ID <= after || !e.Owning() }), f.damaged
}

func (f *fake) Members() ([]history.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.events), func(e history.Event) bool { return !e.Member() }), f.damaged
}

// LivingAt names all calls that it knows, as it may.
func (f *fake) LivingAt(history.Moment) (out []ownership.CallID, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.Call != "" {
			out = append(out, e.Call)
		}
	}
	for id := range f.calls {
		out = append(out, id)
	}
	slices.Sort(out)
	return slices.Compact(out), f.damaged
}
