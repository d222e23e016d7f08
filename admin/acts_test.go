package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

// joinBody is a good join of a node, altered by change.
func joinBody(address string) string { return fmt.Sprintf(`{"address":%q}`, address) }

func TestActs(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	r.fake.add(ownership.Call{ID: "57dab8b1", Partition: 2, State: ownership.CallAnswered, ClaimedAt: start})
	c, ctx := r.client(api.RoleOperate), t.Context()
	for _, err := range []error{
		c.Drain(ctx, "emea-2", start.Add(time.Minute)), c.Drain(ctx, "emea-2", time.Time{}), c.Undrain(ctx, "emea-3"), c.Remove(ctx, "emea-4"),
		c.Move(ctx, 3, "emea-2"), c.TransferLeader(ctx, "emea-1"), c.TransferLeader(ctx, ""), c.Release(ctx, "57DAB8B1"), c.Release(ctx, "57dab8b1"), c.Leave(ctx),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{"drain emea-2 2026-11-23T09:31:00Z", "drain emea-2 0001-01-01T00:00:00Z", "undrain emea-3", "remove emea-4",
		"move 3 emea-2", "transfer emea-1", "transfer ", "do ownership.Release", "leave"}
	if got := r.fake.done(); !slices.Equal(got, want) {
		t.Errorf("the cluster was asked for\n%q, want\n%q", got, want)
	}
	if call, err := c.Call(ctx, "57dab8b1"); err != nil || call.State != ownership.CallEnded || call.Ending != "released by operate-er" {
		t.Errorf("the released call is %+v, %v", call, err)
	}
}

func TestActsRefused(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	for _, c := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"unknown node", "DELETE", "/v1/nodes/emea-77", "", 404},
		{"unknown target", "POST", "/v1/partitions/1/move", `{"to":"emea-77"}`, 404},
		{"target missing", "POST", "/v1/partitions/1/move", `{}`, 422},
		{"partition 0", "POST", "/v1/partitions/0/move", `{"to":"emea-2"}`, 400},
		{"partition no number", "POST", "/v1/partitions/x/move", `{"to":"emea-2"}`, 400},
		{"unknown key", "POST", "/v1/partitions/1/move", `{"to":"emea-2","force":true}`, 422},
		{"name twice", "POST", "/v1/partitions/1/move", `{"to":"emea-2","to":"emea-3"}`, 400},
		{"not JSON", "POST", "/v1/partitions/1/move", `to=emea-2`, 400},
		{"drain in the past", "PUT", "/v1/nodes/emea-2/drain", `{"until":"2020-01-01T00:00:00Z"}`, 400},
		{"bad call id", "DELETE", "/v1/calls/a%20b", "", 400},
		{"unknown call", "DELETE", "/v1/calls/0123", "", 404},
		{"unknown app", "POST", "/v1/callback-uris", `{"app":"app-2"}`, 404},
		{"unknown path", "GET", "/v1/nothing", "", 404},
		{"wrong method", "PATCH", "/v1/nodes", "", 405},
		{"too long", "POST", "/v1/partitions/1/move", `{"to":"` + strings.Repeat("x", 2<<20) + `"}`, 413},
	} {
		a := r.ask(c.method, c.path, c.body)
		if a.StatusCode != c.want {
			t.Errorf("%s: answered %d, want %d: %.300s", c.name, a.StatusCode, c.want, a.text)
			continue
		}
		a.want(t, c.want)
	}
	// Another media type than the document's.
	a := r.ask("POST", "/v1/partitions/1/move", "to: emea-2", "Content-Type: application/yaml")
	if a.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("YAML answered %d", a.StatusCode)
	}
}

func TestActsWhenTheRegionCannotDecide(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
	}{
		{ownership.ErrNoLeader, 503}, {ownership.ErrFenced, 503}, {ownership.ErrFull, 503},
		{ownership.ErrNoBot, 503}, {ownership.ErrBehind, 503}, {ownership.ErrTwin, 409},
		{ownership.ErrUnreachable, 503}, {ownership.ErrBusy, 503}, {ownership.ErrGone, 409},
		{ownership.ErrConflict, 409}, {ownership.ErrStaleEpoch, 409}, {ownership.ErrUnknown, 404}, {errors.New("the disk is full"), 500},
	} {
		r := openRoom(t)
		r.fake.set(func() { r.fake.fail = fmt.Errorf("moving partition 1: %w", c.err) })
		a := r.ask("POST", "/v1/partitions/1/move", `{"to":"emea-2"}`).want(t, c.want)
		if !strings.Contains(a.text, c.err.Error()) {
			t.Errorf("%v: the answer does not say why: %s", c.err, a.text)
		}
		if (c.want == 503) != (a.Header.Get("Retry-After") != "") {
			t.Errorf("%v: Retry-After is %q", c.err, a.Header.Get("Retry-After"))
		}
	}
	r := openRoom(t, func(c *Config, _ *Deps) { c.Patience = 20 * time.Millisecond })
	r.fake.set(func() { r.fake.stall = true })
	r.ask("POST", "/v1/raft/leader", "").want(t, 503)
	r.ask("GET", "/v1/nodes?consistency=linearizable", "").want(t, 503)
	r.ask("GET", "/v1/nodes", "").want(t, 200) // a local read waits for nobody
}

func TestB101_Join(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		body  string
		fail  error
		want  int
		asked bool
	}{
		{"good", joinBody("10.0.0.9:8471"), nil, 201, true},
		{"good, with the id", `{"address":"10.0.0.9:8471","id":"emea-9"}`, nil, 201, true},
		{"another node than expected", `{"address":"10.0.0.9:8471","id":"emea-8"}`, nil, 409, true},
		{"another deployment or region", joinBody("10.0.0.9:8471"), ownership.ErrForeign, 403, true},
		{"own id, or an id with another store", joinBody("10.0.0.9:8471"), ownership.ErrConflict, 409, true},
		{"nobody there", joinBody("10.0.0.9:8471"), ownership.ErrNoLeader, 503, true},
		{"no address", `{}`, nil, 422, false},
		{"no port", joinBody("10.0.0.9"), nil, 422, false},
		{"a URL", joinBody("http://10.0.0.9:8471"), nil, 422, false},
		{"userinfo", joinBody("x@10.0.0.9:8471"), nil, 422, false},
		{"line break", joinBody("10.0.0.9\n:8471"), nil, 422, false},
		{"path as id", `{"address":"10.0.0.9:8471","id":"../emea"}`, nil, 422, false},
		{"a hidden field", `{"address":"10.0.0.9:8471","state":"active"}`, nil, 422, false},
	} {
		r := tokenRoom(t)
		if c.fail != nil {
			r.fake.set(func() { r.fake.fail = fmt.Errorf("meeting: %w", c.fail) })
		}
		a := r.ask("POST", "/v1/nodes", c.body, as(api.RoleJoin))
		if a.StatusCode != c.want {
			t.Errorf("B101 %s: answered %d, want %d: %s", c.name, a.StatusCode, c.want, a.text)
		}
		if asked := len(r.fake.done()) > 0; asked != c.asked {
			t.Errorf("B101 %s: the cluster was asked: %v", c.name, asked)
		}
	}
	r := tokenRoom(t)
	n, err := r.client(api.RoleJoin).Join(t.Context(), api.JoinRequest{Address: "10.0.0.9:8471"})
	if err != nil || n.ID != "emea-9" || n.State != ownership.NodeActive {
		t.Errorf("joining through the client gives %+v, %v", n, err)
	}
}

func TestB102_JoinFloodIsBounded(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.fake.set(func() { r.fake.fail = fmt.Errorf("joining: %w", ownership.ErrConflict) })
	var flood sync.WaitGroup
	for i := range 8 {
		flood.Go(func() {
			for j := range auditKept/8 + 20 { // straight to the door: the flood is what counts, not the wire
				q := httptest.NewRequest("POST", r.url+"/v1/nodes", strings.NewReader(joinBody(fmt.Sprintf("10.0.%d.9:%d", i, j+1))))
				r.door.ServeHTTP(httptest.NewRecorder(), q)
			}
		})
	}
	flood.Wait()
	if n := len(r.door.audit.list(10 * auditKept)); n != auditKept {
		t.Errorf("%d changes are remembered, want %d", n, auditKept)
	}
	if n := r.door.auth.fails.Len(); n != 0 {
		t.Errorf("%d addresses are remembered for no failed token", n)
	}
}

func TestCallbackURI(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	got, err := r.client(api.RoleBot).CallbackURI(t.Context(), "app-1", "meeting-7")
	if err != nil || got.Partition != 1 || !strings.HasSuffix(got.URI, "g=meeting-7") {
		t.Errorf("got %+v, %v", got, err)
	}
	bare := openRoom(t, func(_ *Config, d *Deps) { d.Callbacks, d.Explain, d.Metrics = nil, nil, nil })
	bare.ask("POST", "/v1/callback-uris", `{"app":"app-1"}`).want(t, 501)
	bare.ask("POST", "/v1/explain", `{}`).want(t, 501)
	bare.ask("GET", "/metrics", "").want(t, 501)
}

func TestAudit(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	r.ask("POST", "/v1/partitions/3/move", `{"to":"emea-2"}`, as(api.RoleOperate)).want(t, 204)
	r.ask("DELETE", "/v1/nodes/emea-77", "", as(api.RoleOperate)).want(t, 404)
	r.ask("DELETE", "/v1/nodes/emea-2", "", as(api.RoleRead)).want(t, 403)
	r.ask("DELETE", "/v1/nodes/emea-2", "").want(t, 401)
	r.ask("GET", "/v1/nodes", "", as(api.RoleRead)).want(t, 200)
	var got []string
	for _, c := range told[api.List[api.Change]](r, api.RoleOperate, "/v1/audit?limit=10").Items {
		got = append(got, fmt.Sprintf("%s %s %s %d %s", c.By, c.Action, c.Subject, c.Status, c.Detail))
	}
	want := []string{
		"read-er remove-node /v1/nodes/emea-2 403 ", // tried with a token that may not
		"operate-er remove-node /v1/nodes/emea-77 404 ",
		"operate-er move-partition /v1/partitions/3/move 204 to emea-2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the audit log holds\n%q, want\n%q", got, want)
	}
	if n := strings.Count(r.logs.String(), `"msg":"audit"`); n != 3 {
		t.Errorf("the log holds %d lines of audit, want 3:\n%s", n, r.logs)
	}
}

func TestB109_AuditLinesCannotBeForged(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.ask("DELETE", "/v1/nodes/x%0a%7b%22msg%22:%22audit%22%7d%1b%5b31m", "").want(t, 404)
	r.ask("POST", "/v1/partitions/1/move", `{"to":"a\nb\u001b[31m"}`)
	r.ask("DELETE", "/v1/nodes/"+strings.Repeat("y", 3000), "").want(t, 400)
	for line := range strings.Lines(r.logs.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || strings.ContainsRune(line, 0x1b) || len(line) > 2000 {
			t.Errorf("B109: a line of the log is broken, raw or endless (%v): %.200q", err, line)
		}
	}
	if n := strings.Count(r.logs.String(), "\n"); n != 3 {
		t.Errorf("B109: three changes left %d lines:\n%s", n, r.logs)
	}
}

// A node that lags behind does not say of a call that it knows no such call
// before it has heard all that was acknowledged (I2).
func TestReleaseOnANodeThatLagsBehind(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	c, ctx := r.client(api.RoleOperate), t.Context()
	r.fake.catchUp = func() {
		r.fake.calls["57dab8b1"] = ownership.Call{ID: "57dab8b1", Partition: 2, State: ownership.CallAnswered, ClaimedAt: start}
	}
	if err := c.Release(ctx, "57dab8b1"); err != nil {
		t.Errorf("releasing a call that this node has not heard of yet: %v", err)
	}
	if err := c.Release(ctx, "57dab8b2"); !client.NotFound(err) {
		t.Errorf("releasing a call that nobody knows: %v", err)
	}
}
