package admin

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
	"tandem/ownership/history"
)

// someCalls puts n calls into the fake: c00, c01, …
func (r *room) someCalls(n int) {
	for i := range n {
		state := ownership.CallAnswered
		if i%4 == 3 {
			state = ownership.CallEnded
		}
		r.fake.add(ownership.Call{
			ID: ownership.CallID(fmt.Sprintf("c%02d", i)), App: "app-1", Tenant: ownership.TenantID(fmt.Sprintf("tenant-%d", i%2)),
			Partition: ownership.PartitionID(1 + i%9), State: state, Via: "emea-2", ClaimedAt: start.Add(time.Duration(i) * time.Second),
			Groups: []ownership.GroupKey{ownership.GroupKey(fmt.Sprintf("thread:%d", i%3))},
		})
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	r.someCalls(10)
	c, ctx := r.client(api.RoleRead), t.Context()
	var fresh api.Freshness
	c.Fresh = func(f api.Freshness) { fresh = f }

	st, err := c.Status(ctx)
	if err != nil || st.Deployment != "contoso-bots" || st.Node != "emea-1" || !st.Leased || st.Live != 8 || st.LiveHere != 4 || st.Nodes != 3 ||
		st.Capacity != 150 || st.Room != 94 || st.State != ownership.NodeActive || len(st.Warnings) != 0 {
		t.Errorf("status: %+v, %v", st, err)
	}
	if want := (api.Freshness{Consistency: api.Local, Applied: r.fake.Applied(), AsOf: start}); fresh != want {
		t.Errorf("freshness: %+v, want %+v", fresh, want)
	}
	sum, err := c.Summary(ctx)
	if err != nil || !sum.Healthy || sum.Region != "emea" || sum.Live != 8 || sum.Capacity != 150 || sum.Active != 2 || sum.TableVersion != r.fake.Applied() {
		t.Errorf("summary: %+v, %v", sum, err)
	}
	nodes, err := c.Nodes(ctx)
	if err != nil || len(nodes) != 4 || !nodes[0].Here || nodes[0].Leader || !nodes[1].Leader || nodes[0].Partitions != 3 || nodes[3].State != ownership.NodeGone {
		t.Errorf("nodes: %+v, %v", nodes, err)
	}
	if n, err := c.Node(ctx, "emea-2"); err != nil || n.ID != "emea-2" || !n.Leader {
		t.Errorf("node: %+v, %v", n, err)
	}
	if _, err := c.Node(ctx, "emea-77"); !client.NotFound(err) {
		t.Errorf("an unknown node: %v", err)
	}
	if ps, err := c.Partitions(ctx); err != nil || len(ps) != 9 || ps[0].Owner != "emea-1" {
		t.Errorf("partitions: %+v, %v", ps, err)
	}
	if p, err := c.Partition(ctx, 4); err != nil || p.Owner != "emea-2" {
		t.Errorf("partition: %+v, %v", p, err)
	}
	if _, err := c.Partition(ctx, 99); !client.NotFound(err) {
		t.Errorf("an unknown partition: %v", err)
	}
	if rs, err := c.Regions(ctx); err != nil || len(rs) != 2 || !rs[0].Here || rs[1].Name != "amer" || !rs[1].Partial {
		t.Errorf("regions: %+v, %v", rs, err)
	}
	if ps, err := c.Peers(ctx); err != nil || len(ps) != 3 || !ps[1].Leader {
		t.Errorf("peers: %+v, %v", ps, err)
	}
	if who := told[api.Whoami](r, api.RoleRead, "/v1/whoami"); who.Name != "read-er" || who.Open {
		t.Errorf("whoami: %+v", who)
	}
	if ts, err := r.client(api.RoleOperate).Tokens(ctx); err != nil || len(ts) != 5 || !ts[4].Expired {
		t.Errorf("tokens: %+v, %v", ts, err)
	}
}

func TestCallsFiltersAndCursor(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.someCalls(20)
	c, ctx := r.client(""), t.Context()
	for _, q := range []struct {
		name   string
		filter ownership.CallFilter
		want   int
	}{
		{"all", ownership.CallFilter{}, 20},
		{"node", ownership.CallFilter{Node: "emea-2"}, 6},
		{"partition", ownership.CallFilter{Partition: 1}, 3},
		{"tenant", ownership.CallFilter{Tenant: "TENANT-1"}, 10}, // ids are compared in lower case
		{"state", ownership.CallFilter{State: ownership.CallEnded}, 5},
		{"group", ownership.CallFilter{Group: "thread:2"}, 6},
		{"app", ownership.CallFilter{App: "app-2"}, 0},
		{"two", ownership.CallFilter{Tenant: "tenant-1", State: ownership.CallEnded}, 5},
	} {
		var ids []ownership.CallID
		for cursor, first := "", true; first || cursor != ""; first = false {
			page, err := c.Calls(ctx, q.filter, cursor, 3)
			if err != nil || len(page.Items) > 3 {
				t.Fatalf("%s: %d items, %v", q.name, len(page.Items), err)
			}
			for _, item := range page.Items {
				ids = append(ids, item.ID)
			}
			cursor = page.Next
		}
		if len(ids) != q.want || len(slices.Compact(ids)) != q.want {
			t.Errorf("%s: pages give %v, want %d calls", q.name, ids, q.want)
		}
	}
	for path, want := range map[string]int{
		"/v1/calls?region=emea": 200, "/v1/calls?region=amer": 421, "/v1/calls?region=apac": 404, "/v1/calls?state=lost": 400,
		"/v1/calls?limit=0": 400, "/v1/calls?limit=5000": 400, "/v1/calls?partition=-1": 400, "/v1/calls?consistency=eventually": 400,
		"/v1/calls?cursor=zzz": 400, "/v1/calls?cursor=after-": 400, "/v1/calls?cursor=after-C1": 400, "/v1/calls?cursor=after-c1": 200,
		"/v1/calls?tennant=x": 400, "/v1/nodes?bogus=1": 400, "/v1/events?follow=false&from=3": 400,
	} {
		a := r.ask("GET", path, "").want(t, want)
		if want == 421 && !strings.Contains(a.text, "https://amer-admin.contoso.com") {
			t.Errorf("%s does not say whom to ask: %s", path, a.text)
		}
	}
	r.fake.set(func() { r.fake.broken = errors.New("reading the table's file: a page is damaged") })
	r.ask("GET", "/v1/calls", "").want(t, 500)
}

func TestOneCall(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.fake.add(ownership.Call{
		ID: "57dab8b1", Partition: 2, State: ownership.CallEnded, Via: "emea-3", ClaimedAt: start, EndedAt: start.Add(time.Minute), Ending: "terminated",
		Placement: ownership.Placement{Partition: 2, Epoch: 1, Owner: "emea-1", Reason: ownership.ReasonTogether, Candidates: []ownership.Candidate{
			{Node: "emea-1", Score: 0.25}, {Node: "emea-2", Score: 0.5}, {Node: "emea-3", Rejected: "it is draining"}}},
	})
	r.fake.set(func() { r.fake.partitions[2] = ownership.Partition{ID: 2, Owner: "emea-2", Epoch: 2, BornOn: "emea-1"} })
	r.fake.tell(history.Event{Kind: "moved", Call: "57dab8b1"})
	c, ctx := r.client(""), t.Context()
	// As the cloud spells it.
	call, err := c.Call(ctx, "57DA-B8B1")
	if err != nil || call.ID != "57dab8b1" || call.Partition != 2 {
		t.Errorf("call: %+v, %v", call, err)
	}
	x, err := c.ExplainCall(ctx, "57dab8b1")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Its first notification reached emea-3 at 2026-11-23T09:30:00Z, which claimed it.",
		"It was placed in partition 2 at epoch 1 on emea-1: a live call of its group is there.",
		"emea-1 scored 0.250 and won.", "emea-2 scored 0.500; lower wins.", "emea-3 could not take it: it is draining.",
		"Partition 2 has changed owner since: emea-2 owns it at epoch 2.",
		"It ended at 2026-11-23T09:31:00Z: terminated.",
	}
	if !slices.Equal(x.Why, want) {
		t.Errorf("it was placed because\n%q, want\n%q", x.Why, want)
	}
	events := told[api.List[history.Event]](r, "", "/v1/calls/57dab8b1/timeline").Items
	if len(events) != 2 || events[0].Kind != "claimed" || events[1].Kind != "moved" {
		t.Errorf("timeline: %+v", events)
	}
	r.ask("GET", "/v1/calls/0000/timeline", "").want(t, 404)
}

// TestAHistoryThatCannotBeReadIsNoEmptyHistory: whoever asks what happened is
// told that nobody can say.
func TestAHistoryThatCannotBeReadIsNoEmptyHistory(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.fake.add(ownership.Call{ID: "c1", Partition: 1, State: ownership.CallAnswered, ClaimedAt: start})
	r.fake.set(func() { r.fake.damaged = errors.New("reading the event history: the page is damaged") })
	for _, path := range []string{"/v1/calls/c1/timeline", "/v1/calls/c1/explain", "/v1/events?follow=false"} {
		resp, err := http.Get(r.url + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(string(text), "damaged") {
			t.Errorf("%s is answered with %d %s", path, resp.StatusCode, text)
		}
	}
}

func TestConsistency(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	for level, want := range map[string]string{"": "", "local": "", "leader": "read barrier", "linearizable": "read barrier"} {
		r.fake.set(func() { r.fake.asked = nil })
		path := "/v1/partitions"
		if level != "" {
			path += "?consistency=" + level
		}
		a := r.ask("GET", path, "").want(t, 200)
		if got := strings.Join(r.fake.done(), ", "); got != want {
			t.Errorf("consistency %q asked the cluster for %q, want %q", level, got, want)
		}
		if got := a.Header.Get("Tandem-Consistency"); got != cmp.Or(level, api.Local) {
			t.Errorf("consistency %q is told as %q", level, got)
		}
		if a.Header.Get("Tandem-Applied-Index") != "4711" || a.Header.Get("Tandem-As-Of") != "2026-11-23T09:30:00Z" {
			t.Errorf("consistency %q: %v", level, a.Header)
		}
	}
	r.fake.set(func() { r.fake.fail = ownership.ErrNoLeader })
	for _, path := range []string{"/v1/nodes", "/v1/nodes/emea-1", "/v1/partitions/1", "/v1/calls", "/v1/status", "/v1/regions", "/v1/calls/abc"} {
		if a := r.ask("GET", path+"?consistency=leader", "").want(t, 503); a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: 503 without Retry-After", path)
		}
	}
}

func TestPromises(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t, func(_ *Config, d *Deps) {
		d.Promises = func() []api.Promise { return []api.Promise{{Name: "durable", Holds: true}} }
	})
	held := func() map[string]bool {
		t.Helper()
		ps, err := r.client(api.RoleRead).Guarantees(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]bool{}
		for _, p := range ps {
			out[p.Name] = p.Holds
		}
		return out
	}
	for name, holds := range held() {
		if !holds {
			t.Errorf("%s does not hold in a region that is well", name)
		}
	}
	for name, spoil := range map[string]func(){
		"claims":              func() { r.fake.status.Leader = "" },
		"fenced":              func() { r.fake.status.LeaseUntil = start.Add(-time.Second) },
		"survives-one-node":   func() { r.fake.peers[0].Healthy = false },
		"peers-authenticated": func() { r.fake.status.Secure = false },
	} {
		before := r.fake.Status()
		r.fake.set(spoil)
		if held()[name] {
			t.Errorf("%s holds although it was spoilt", name)
		}
		r.fake.set(func() { r.fake.status = before; r.fake.peers[0].Healthy = true })
	}
	r.fake.set(func() { r.fake.peers[2].Known = false })
	if held()["survives-one-node"] {
		t.Error("survives-one-node holds although nobody asked the leader")
	}
	if a := r.ask("GET", "/v1/guarantees", "", as(api.RoleRead)).want(t, 200); !strings.Contains(a.text, `"name":"survives-one-node","holds":false,"unknown":true`) {
		t.Errorf("what a follower cannot know it tells as %s", a.text)
	}
	if a := openRoom(t).ask("GET", "/v1/guarantees", "").want(t, 200); !strings.Contains(a.text, `"name":"operators-authenticated","holds":false`) {
		t.Errorf("an open door says %s", a.text)
	}
}

func TestExplainNotification(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	x, err := r.client(api.RoleRead).Explain(t.Context(), ownership.Supposed{
		Target: "/api/calls/emea/1/1/x?s=y", Body: []byte("{broken"),
		Header: http.Header{"Authorization": {"Bearer of-the-cloud"}, "Scenario-Id": {"abc"}},
	})
	if want := `7 bytes for /api/calls/emea/1/1/x?s=y, authorization "Bearer of-the-cloud", scenario "abc"`; err != nil || x.Verdict != want {
		t.Errorf("got %q, %v, want %q", x.Verdict, err, want)
	}
	// The operator's own token must not reach the webhook's judgement.
	a := r.ask("POST", "/v1/explain", "{}", as(api.RoleRead), "Cookie: tandem_token=x").want(t, 200)
	if !strings.Contains(a.text, `authorization \"\"`) {
		t.Errorf("the caller's own Authorization was taken over: %s", a.text)
	}
}

func TestHealthAndMetrics(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t, func(_ *Config, d *Deps) {
		d.Checks = append(d.Checks, Check{Name: "keys", Ask: d.Checks[0].Ask})
	})
	c, ctx := r.client(api.RoleRead), t.Context()
	r.ask("GET", "/livez", "").want(t, 200)
	ready, err := c.Ready(ctx)
	if err != nil || !ready.Ready || len(ready.Checks) != 2 || ready.Checks[0] != (api.CheckResult{Name: "lease", OK: true}) {
		t.Errorf("ready: %+v, %v", ready, err)
	}
	r.fake.set(func() { r.fake.status.LeaseUntil = time.Time{} })
	ready, err = c.Ready(ctx)
	if err != nil || ready.Ready || ready.Checks[1].Error != ownership.ErrFenced.Error() {
		t.Errorf("not ready: %+v, %v", ready, err)
	}
	if a := r.ask("GET", "/readyz", ""); a.StatusCode != 503 || strings.Contains(a.text, "lease") {
		t.Errorf("without a token: %d %s", a.StatusCode, a.text)
	}
	if a := r.ask("GET", "/metrics", "", as(api.RoleRead)).want(t, 200); !strings.Contains(a.text, "tandem_live_calls 3") {
		t.Errorf("metrics: %s", a.text)
	}
	if a := r.ask("GET", "/debug/pprof/goroutine", "", as(api.RoleOperate)).want(t, 200); a.text == "" {
		t.Error("the profile is empty")
	}
	r.ask("GET", "/debug/pprof/profile?seconds=3600", "", as(api.RoleOperate)).want(t, 400)
}

var update = os.Getenv("UPDATE_GOLDEN") != ""

// The paths and methods of the document are promised: this file shows when one
// changes.
func TestOpenAPIGolden(t *testing.T) {
	t.Parallel()
	type document struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string                `json:"operationId"`
			Security    []map[string][]string `json:"security"`
			Responses   map[string]any        `json:"responses"`
		}
		Servers    []any
		Components struct {
			Schemas map[string]struct{ Properties map[string]map[string]any }
		}
	}
	doc := told[document](openRoom(t), "", "/v1/openapi.json")
	if !strings.HasPrefix(doc.OpenAPI, "3.1") || len(doc.Servers) != 1 {
		t.Errorf("the document is OpenAPI %s, of %d servers", doc.OpenAPI, len(doc.Servers))
	}
	for name, s := range doc.Components.Schemas {
		for field, is := range s.Properties {
			if _, odd := is["patternDescription"]; odd {
				t.Errorf("%s.%s says what OpenAPI has no word for", name, field)
			}
		}
	}
	var lines []string
	for path, ops := range doc.Paths {
		for method, op := range ops {
			if len(op.Security) != 1 {
				t.Fatalf("%s %s says %d times whom it is open to", method, path, len(op.Security))
			}
			role := cmp.Or(strings.Join(op.Security[0]["token"], ","), "open")
			codes := make([]string, 0, len(op.Responses))
			for code := range op.Responses {
				codes = append(codes, code)
			}
			slices.Sort(codes)
			lines = append(lines, fmt.Sprintf("%s %s %s %s %s\n", path, strings.ToUpper(method), op.OperationID, role, strings.Join(codes, ",")))
		}
	}
	slices.Sort(lines)
	got := strings.Join(lines, "")
	const golden = "testdata/openapi.txt"
	if update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the API has changed; if that is wanted, run with UPDATE_GOLDEN=1. It is now:\n%s", got)
	}
}

func TestDocsPageStandsAlone(t *testing.T) {
	t.Parallel()
	a := openRoom(t).ask("GET", "/v1/docs", "").want(t, 200)
	for _, path := range []string{"/v1/calls/{id}/explain", "/v1/raft/peers", "/livez"} {
		if !strings.Contains(a.text, path) {
			t.Errorf("the docs page does not name %s", path)
		}
	}
	if strings.Contains(a.text, "://") || strings.Contains(a.text, "<script") || strings.Contains(a.text, "//cdn") {
		t.Error("the docs page loads something from elsewhere")
	}
	if csp := a.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("its policy is %q", csp)
	}
}
