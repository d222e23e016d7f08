package webhook

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"tandem/ownership"
)

// TestAnEndIsNeverSwallowed: a node that lags makes sure before it says that nobody
// knows the call, and one that cannot says 503.
func TestAnEndIsNeverSwallowed(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	r.knows("c1", 2, ownership.CallClaimed)
	ask := ownership.Supposed{Body: []byte(end("c1")), App: ourApp}

	one.forgot.Store(true)
	one.cutOff = ownership.ErrNoLeader
	a := post(t, one.url+hookPath, end("c1"))
	if a.status != 503 || a.code(t) != "not_caught_up" || a.header.Get("Retry-After") == "" {
		t.Errorf("cut off: %+v", a)
	}
	if e := one.door.Explain(t.Context(), ask); e.Response.Status != 503 || e.Calls[0].Decision != "refuse" || !strings.Contains(e.Calls[0].Why, "cannot make sure") {
		t.Errorf("cut off, explain says %+v", e)
	}
	one.cutOff = nil
	if e := one.door.Explain(t.Context(), ask); e.Response.Action != "relayed" || e.Calls[0].Decision != "owner" {
		t.Errorf("explain says %+v", e)
	}
	one.forgot.Store(true)
	if a = post(t, one.url+hookPath, end("c1")); a.status != 202 || len(two.handed()) != 1 || !two.handed()[0].Ends {
		t.Errorf("behind: %+v", a)
	}
	// A call that was another app's all along.
	r.mu.Lock()
	r.calls["c2"] = ownership.Known{App: mediaApp, Partition: 2, Epoch: 1, State: ownership.CallAnswered}
	r.mu.Unlock()
	one.forgot.Store(true)
	if a = post(t, one.url+hookPath, end("c2")); a.status != 401 || len(two.handed()) != 1 {
		t.Errorf("another app's: %+v", a)
	}
	asked := one.asked
	if a = post(t, one.url+hookPath, end("nobodys")); a.status != 202 || one.asked != asked+1 {
		t.Errorf("nobody knows it: %+v", a)
	}
	if a = post(t, one.url+hookPath, end("c1")); a.status != 202 || one.asked != asked+1 {
		t.Errorf("known calls need no proof: %+v", a)
	}
	// In a body of several, one question serves all.
	one.cutOff = ownership.ErrNoLeader
	body := `{"value":[` + entry("deleted", "x1", `"state":"terminated"`) + "," + entry("deleted", "x2", `"state":"terminated"`) + "," + entry("updated", "c1", `"state":"established"`) + `]}`
	if a = post(t, one.url+hookPath, body); a.status != 503 || a.code(t) != "partly_handled" || one.asked != asked+2 || len(two.handed()) != 3 {
		t.Errorf("several: %+v, asked %d times", a, one.asked-asked)
	}
}

// TestAnEndLeavesAMark: the claim of a call may be under way when its end comes, or
// have come to an end that nobody heard of: applied later it must ring nowhere.
func TestAnEndLeavesAMark(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	ask := ownership.Supposed{Body: []byte(end("c1")), App: ourApp}
	if e := one.door.Explain(t.Context(), ask); e.Calls[0].Decision != "ignore" || r.ends != 0 {
		t.Errorf("explain told the region: %+v", e)
	}
	r.deaf = ownership.ErrNoLeader
	a := post(t, one.url+hookPath, end("c1"))
	if a.status != 503 || a.code(t) != "not_caught_up" || a.header.Get("Retry-After") == "" {
		t.Errorf("the region cannot be told: %+v", a)
	}
	r.deaf = nil
	if a = post(t, one.url+hookPath, end("c1")); a.status != 202 || r.ends != 2 {
		t.Errorf("%+v, told %d times", a, r.ends)
	}
	// The ledger is to know it by what the cloud's own records have.
	inChain := func(r *http.Request) { r.Header.Set("Scenario-Id", "CHAIN-9") }
	if a = post(t, one.url+hookPath, end("c9"), inChain); a.status != 202 || r.ends != 3 ||
		!slices.Equal(r.told, []ownership.Unclaimed{{Call: "c9", App: ourApp, Tenant: ourTenant, Chain: "chain-9"}}) {
		t.Errorf("%+v, told of %+v", a, r.told)
	}
	if a = post(t, two.url+hookPath, incoming("c1")); a.status != 202 || len(one.handed())+len(two.handed()) != 0 {
		t.Errorf("the call rings after its end: %+v", a)
	}
	if a = post(t, one.url+hookPath, end("c1")); a.status != 202 || r.ends != 3 {
		t.Errorf("a repeat: %+v, told %d times", a, r.ends)
	}
	// The claim was quicker: its owner hears of the end.
	r.overtake = func() {
		r.calls["c2"] = ownership.Known{App: ourApp, Partition: 2, Epoch: 1, State: ownership.CallClaimed}
	}
	if a = post(t, one.url+hookPath, end("c2")); a.status != 202 || len(two.handed()) != 1 || !two.handed()[0].Ends {
		t.Errorf("the claim was quicker: %+v, %+v", a, two.handed())
	}
	r.overtake = func() {
		r.calls["c3"] = ownership.Known{App: mediaApp, Partition: 2, Epoch: 1, State: ownership.CallClaimed}
	}
	if a = post(t, one.url+hookPath, end("c3")); a.status != 401 {
		t.Errorf("another app's claim was quicker: %+v", a)
	}
	r.overtake = nil
	body := `{"value":[` + entry("deleted", "x1", `"state":"terminated"`) + "," + entry("deleted", "x2", `"state":"terminated"`) + `]}`
	if a = post(t, one.url+hookPath, body); a.status != 202 || r.ends != 6 {
		t.Errorf("several: %+v, told %d times", a, r.ends)
	}
}
