package admin

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// everyOperation is the whole door: one request for each path and method, with
// the role it needs ("": open) and a status that shows that it got through.
var everyOperation = []struct {
	method, path, body string
	role               api.Role
	passed             int
}{
	{"GET", "/livez", "", "", 200},
	{"GET", "/readyz", "", "", 200},
	{"GET", "/readyz?verbose", "", api.RoleRead, 200},
	{"GET", "/metrics", "", api.RoleRead, 200},
	{"GET", "/debug/pprof/", "", api.RoleOperate, 200},
	{"GET", "/debug/pprof/goroutine?debug=1", "", api.RoleOperate, 200},
	{"GET", "/debug/pprof/cmdline", "", api.RoleOperate, 200},
	{"GET", "/v1/openapi.json", "", "", 200},
	{"GET", "/v1/log", "", api.RoleRead, 200},
	{"GET", "/v1/log/tail", "", api.RoleOperate, 200},
	{"PUT", "/v1/log", `{"call":"c00"}`, api.RoleOperate, 501},
	{"GET", "/v1/docs", "", "", 200},
	{"GET", "/v1/whoami", "", anyRole, 200},
	{"GET", "/v1/status", "", api.RoleRead, 200},
	{"GET", "/v1/guarantees", "", api.RoleRead, 200},
	{"GET", "/v1/summary", "", api.RoleRead, 200},
	{"GET", "/v1/summary/stream?follow=false", "", api.RoleRead, 200},
	{"GET", "/v1/scaling?target=0.5", "", api.RoleRead, 200},
	{"GET", "/v1/pulse?points=2", "", api.RoleRead, 501},
	{"GET", "/v1/claims?after=1", "", api.RoleRead, 200},
	{"GET", "/v1/nodes", "", api.RoleRead, 200},
	{"GET", "/v1/nodes/emea-2", "", api.RoleRead, 200},
	{"GET", "/v1/nodes/emea-2/stop-check", "", api.RoleRead, 200},
	{"GET", "/v1/partitions", "", api.RoleRead, 200},
	{"GET", "/v1/partitions/1", "", api.RoleRead, 200},
	{"GET", "/v1/calls", "", api.RoleRead, 200},
	{"GET", "/v1/calls/abc", "", api.RoleRead, 404},
	{"GET", "/v1/calls/abc/explain", "", api.RoleRead, 404},
	{"GET", "/v1/calls/abc/timeline", "", api.RoleRead, 404},
	{"POST", "/v1/explain", "{}", api.RoleRead, 200},
	{"GET", "/v1/regions", "", api.RoleRead, 200},
	{"GET", "/v1/raft/peers", "", api.RoleRead, 200},
	{"GET", "/v1/events?follow=false", "", api.RoleRead, 200},
	{"GET", "/v1/tokens", "", api.RoleOperate, 200},
	{"POST", "/v1/tokens", `{"name":"ci","roles":["read"]}`, api.RoleOperate, 201},
	{"DELETE", "/v1/tokens/ci", "", api.RoleOperate, 204},
	{"GET", "/v1/rules", "", api.RoleRead, 200},
	{"GET", "/v1/rules/history", "", api.RoleRead, 200},
	{"GET", "/v1/rules/history/9", "", api.RoleRead, 404},
	{"POST", "/v1/rules/test", `{"notification":"{}"}`, api.RoleRead, 200},
	{"POST", "/v1/rules/diff", `{"text":"rules: []"}`, api.RoleRead, 200},
	{"PUT", "/v1/rules", `{"text":"rules: []","expect":0}`, api.RoleOperate, 200},
	{"POST", "/v1/rules/rollback", `{"number":9,"expect":1}`, api.RoleOperate, 404},
	{"GET", "/v1/rollouts", "", api.RoleRead, 200},
	{"PUT", "/v1/rollouts", `{"app":"a","version":"2.5.0","percent":1}`, api.RoleOperate, 409},
	{"POST", "/v1/rollouts/halt", `{"app":"a","version":"2.5.0"}`, api.RoleOperate, 409},
	{"POST", "/v1/rollouts/resume", `{"app":"a","version":"2.5.0"}`, api.RoleOperate, 404},
	{"POST", "/v1/rollouts/end", `{"app":"a","version":"2.5.0"}`, api.RoleOperate, 409},
	{"GET", "/v1/capture?recent=true&most=1", "", api.RoleRead, 200},
	{"POST", "/v1/rules/replay", `{"calls":[{"at":"2026-11-29T09:30:00Z","call":"h.x","facts":{"country_code":"DE"}}]}`, api.RoleRead, 200},
	{"GET", "/v1/nodes/emea-2/forecast", "", api.RoleRead, 200},
	{"GET", "/v1/regions/emea/evacuation", "", api.RoleRead, 200},
	{"PUT", "/v1/regions/emea/evacuation", `{"to":["amer"]}`, api.RoleOperate, 200},
	{"DELETE", "/v1/regions/emea/evacuation", "", api.RoleOperate, 409},
	{"GET", "/v1/audit", "", api.RoleOperate, 200},
	{"GET", "/v1/config", "", api.RoleOperate, 200},
	{"GET", "/v1/ledger", "", api.RoleRead, 200},
	{"GET", "/v1/ledger/head", "", api.RoleRead, 200},
	{"GET", "/v1/ledger/entries/0/proof", "", api.RoleRead, 200},
	{"GET", "/v1/ledger/export", "", api.RoleRead, 200},
	{"GET", "/v1/ledger/keep", "", api.RoleRead, 200},
	{"PUT", "/v1/ledger/keep", `{"days":90,"ended_days":7}`, api.RoleOperate, 409},
	{"POST", "/v1/ledger/reconcile", `{"since":"2026-11-22T00:00:00Z","until":"2026-11-23T00:00:00Z"}`, api.RoleOperate, 200},
	{"GET", "/v1/snapshot", "", api.RoleOperate, 200},
	{"PUT", "/v1/snapshot", "bytes", api.RoleOperate, 204},
	{"POST", "/v1/nodes", joinBody("10.0.0.9:8471"), api.RoleJoin, 201},
	{"DELETE", "/v1/nodes/emea-3", "", api.RoleOperate, 204},
	{"PUT", "/v1/nodes/emea-3/drain", "", api.RoleOperate, 204},
	{"DELETE", "/v1/nodes/emea-3/drain", "", api.RoleOperate, 204},
	{"POST", "/v1/partitions/1/move", `{"to":"emea-2"}`, api.RoleOperate, 204},
	{"DELETE", "/v1/calls/abc", "", api.RoleOperate, 404},
	{"POST", "/v1/callback-uris", `{"app":"app-1"}`, api.RoleBot, 201},
	{"POST", "/v1/raft/leader", "", api.RoleOperate, 204},
	{"POST", "/v1/region", "", api.RoleOperate, 204},
	{"GET", "/v1/region/lease", "", api.RoleRead, 200},
	{"PUT", "/v1/region/lease", `{"length":"3s"}`, api.RoleOperate, 204},
	{"POST", "/v1/leave", "", api.RoleOperate, 202},
	{"POST", "/v1/reload", "", api.RoleOperate, 501},
}

func TestB100_RolesMatrix(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	for _, op := range everyOperation {
		for _, role := range []api.Role{api.RoleRead, api.RoleOperate, api.RoleBot, api.RoleJoin} {
			want := op.passed
			allowed := op.role == "" || op.role == anyRole || op.role == role || op.role == api.RoleRead && role == api.RoleOperate
			if !allowed {
				want = http.StatusForbidden
			}
			if a := r.ask(op.method, op.path, op.body, as(role)); a.StatusCode != want {
				t.Errorf("%s %s as %s answered %d, want %d: %s", op.method, op.path, role, a.StatusCode, want, a.text)
			}
		}
		if op.role != "" {
			a := r.ask(op.method, op.path, op.body).want(t, http.StatusUnauthorized)
			if a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s: 401 without WWW-Authenticate", op.method, op.path)
			}
		}
	}
}

// Every path of the published document must stand in the matrix above, so that
// a new operation cannot be forgotten there.
func TestB100_MatrixIsWhole(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	for path, item := range r.door.api.OpenAPI().Paths {
		for method, op := range map[string]any{"GET": item.Get, "PUT": item.Put, "POST": item.Post, "DELETE": item.Delete} {
			if fmt.Sprint(op) == "<nil>" {
				continue
			}
			found := false
			for _, e := range everyOperation {
				found = found || e.method == method && matches(path, strings.Split(e.path, "?")[0])
			}
			if !found {
				t.Errorf("%s %s is in the document and not in the matrix", method, path)
			}
		}
	}
}

func matches(pattern, path string) bool {
	p, q := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(p) != len(q) {
		return false
	}
	for i := range p {
		if p[i] != q[i] && !strings.HasPrefix(p[i], "{") {
			return false
		}
	}
	return true
}

func TestB100_WrongTokens(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	absent := r.ask("GET", "/v1/status", "").want(t, 401).text
	jwt := "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJhcHAifQ.c2lnbmF0dXJl"
	for name, header := range map[string]string{
		"wrong":           "Authorization: Bearer nobody-knows-this",
		"expired":         "Authorization: Bearer " + expiredSecret,
		"webhook token":   "Authorization: Bearer " + jwt,
		"basic":           "Authorization: Basic dXNlcjpwYXNz",
		"no scheme":       "Authorization: " + secrets[api.RoleRead] + "x",
		"empty":           "Authorization: Bearer ",
		"the hash itself": "Authorization: Bearer " + HashToken(secrets[api.RoleRead]),
		"endless":         "Authorization: Bearer " + strings.Repeat("a", 600),
	} {
		r.at.advance(2 * time.Second) // the limit is tested elsewhere
		if got := r.ask("GET", "/v1/status", "", header).want(t, 401).text; got != absent {
			t.Errorf("B100 %s: the answer tells it from an absent token:\n%s\n%s", name, got, absent)
		}
	}
	r.ask("GET", "/v1/status", "", "Authorization: bearer "+secrets[api.RoleRead]).want(t, 200)
}

// A webhook token must not open the door even if somebody puts its hash into
// the file.
func TestB100_WebhookTokenInTheFile(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	jwt := "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJhcHAifQ.c2lnbmF0dXJl"
	if err := os.WriteFile(r.file, []byte("tokens: [{name: mistake, roles: [operate], sha256: "+HashToken(jwt)+"}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.door.ReloadTokens(); err != nil {
		t.Fatal(err)
	}
	r.ask("GET", "/v1/status", "", "Authorization: Bearer "+jwt).want(t, 401)
	r.enters(jwt, false)
}

// What the header does not take, the console's form and cookie do not take either.
func TestB100_TooLongATokenInTheFile(t *testing.T) {
	t.Parallel()
	for n, opens := range map[int]bool{longestToken: true, longestToken + 1: false} {
		r := tokenRoom(t)
		long := strings.Repeat("a", n)
		if err := os.WriteFile(r.file, []byte("tokens: [{name: long, roles: [operate], sha256: "+HashToken(long)+"}]"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.door.ReloadTokens(); err != nil {
			t.Fatal(err)
		}
		want := 401
		if opens {
			want = 200
		}
		r.ask("GET", "/v1/status", "", bearing(long)).want(t, want)
		r.enters(long, opens)
	}
}

// enters checks whether a token opens the console: by its form, and never as the
// cookie, which holds a session's id.
func (r *room) enters(token string, opens bool) {
	r.t.Helper()
	form := 401
	if opens {
		form = 303
	}
	a := r.ask("POST", "/console/login", "token="+token, "Content-Type: application/x-www-form-urlencoded")
	if a.StatusCode != form {
		r.t.Errorf("the login with a token of %d bytes is answered %d, want %d", len(token), a.StatusCode, form)
	}
	if page := r.ask("GET", "/console/", "", "Cookie: "+sessionIn(a)); (page.StatusCode == 200) != opens {
		r.t.Errorf("after a login with a token of %d bytes the console is answered %d", len(token), page.StatusCode)
	}
	for _, name := range []string{"tandem_session", "tandem_token"} {
		if a := r.ask("GET", "/console/", "", "Cookie: "+name+"="+token); a.StatusCode != 303 {
			r.t.Errorf("a token as the cookie %s is answered %d", name, a.StatusCode)
		}
	}
}

// sessionIn returns the cookie that an answer sets, as a browser sends it back.
func sessionIn(a answered) string {
	cookie, _, _ := strings.Cut(a.Header.Get("Set-Cookie"), ";")
	return cookie
}

func TestB100_FailedAttemptsAreLimited(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	for i := range failBurst {
		r.ask("GET", "/v1/status", "", fmt.Sprintf("Authorization: Bearer guess-%d", i)).want(t, 401)
	}
	if a := r.ask("GET", "/v1/status", "", "Authorization: Bearer guess").want(t, 429); a.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	r.ask("GET", "/livez", "").want(t, 200)
	r.at.advance(failEvery)
	r.ask("GET", "/v1/status", "", as(api.RoleRead)).want(t, 200)
}

// TestO33_AGoodTokenPasses: one of the file, too, while somebody keeps failing at its
// address.
func TestO33_AGoodTokenPasses(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	for i := range 5 * failBurst {
		r.ask("GET", "/v1/status", "", bearing(fmt.Sprint("guess-", i)))
		r.ask("GET", "/v1/status", "", as(api.RoleRead)).want(t, 200)
	}
	r.ask("GET", "/v1/status", "", bearing("guess")).want(t, 429)
}

// TestO35_ANewTokenOfAnotherNode is good here at once: an unknown one is looked for at
// the leader before it is refused.
func TestO35_ANewTokenOfAnotherNode(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	made := r.make(`{"name":"ci","roles":["read"],"expires":"` + start.Add(time.Hour).Format(time.RFC3339) + `"}`).Token
	r.fake.mu.Lock()
	asked, there := 0, r.fake.tokens
	r.fake.tokens = nil // not yet heard of here
	r.fake.catchUp = func() { asked++; r.fake.tokens = there }
	r.fake.mu.Unlock()
	r.ask("GET", "/v1/status", "", bearing(made)).want(t, 200)
	asked = 0
	for i := range 5 * failBurst { // they use up their own budget only
		r.ask("GET", "/v1/status", "", bearing(fmt.Sprint("guess-", i)))
	}
	r.ask("GET", "/v1/status", "", bearing("Basic")).want(t, 429)
	if asked > failBurst {
		t.Errorf("%d guesses caused %d look-ups, want %d at most", 5*failBurst, asked, failBurst)
	}
}

// TestATokenOfTheRegionAtANodeWithoutOne is told where it is good: this door can ask nobody.
func TestATokenOfTheRegionAtANodeWithoutOne(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	asked := 0
	r.fake.set(func() {
		r.fake.nodes = map[ownership.NodeID]ownership.Node{}
		r.fake.catchUp = func() { asked++ }
	})
	a := r.ask("POST", "/v1/nodes", joinBody("10.0.0.9:8471"), bearing("made-by-the-region")).want(t, 403)
	if !strings.Contains(a.text, "in no region yet") || !strings.Contains(a.text, "ask a node of the region") || asked > 0 {
		t.Errorf("after %d look-ups it is told %s", asked, a.text)
	}
	r.ask("GET", "/v1/status", "", as(api.RoleRead)).want(t, 200)
}

// One bad token a second from an address, a forgotten script behind the same NAT,
// does not lock out who shows a token of the region there.
func TestB100_ATokenOfTheRegionIsNotLockedOut(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	made := r.make(`{"name":"ci","roles":["read"],"expires":"` + start.Add(time.Minute).Format(time.RFC3339) + `"}`).Token
	session := sessionIn(r.ask("POST", "/console/login", "token="+made, "Content-Type: application/x-www-form-urlencoded"))
	for range failBurst {
		r.ask("GET", "/v1/status", "", bearing("guess")).want(t, 401)
	}
	for range 20 {
		r.ask("GET", "/v1/status", "", bearing("guess")).want(t, 429)
		r.ask("GET", "/v1/status", "", bearing(made)).want(t, 200)
		r.ask("GET", "/v1/audit", "", bearing(made)).want(t, 403)
		if a := r.ask("GET", "/console/", "", "Cookie: "+session); a.StatusCode != 200 {
			t.Errorf("the console is answered %d", a.StatusCode)
		}
		r.at.advance(failEvery)
		r.ask("GET", "/v1/status", "", bearing("guess")).want(t, 401)
	}
	r.at.advance(time.Minute)
	for range failBurst {
		r.ask("GET", "/v1/status", "", bearing(made)).want(t, 401) // expired, so each is a failure
	}
	r.ask("GET", "/v1/status", "", bearing(made)).want(t, 429)
}

// Who has one IPv6 address has 2^64 of them: they share one budget, and their
// neighbours have their own. IPv4 addresses are told apart, however written.
func TestB100_AddressesThatShareABudget(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		failed, asks string
		shared       bool
	}{
		{"[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff:ffff:ffff:ffff]:9", true},
		{"[2001:db8:1:2::1]:1", "[2001:db8:1:3::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::2%eth1]:1", true},
		{"192.0.2.1:1", "192.0.2.1:9", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:1", false},
		{"@", "no address", true},
	} {
		g := newGuard(Config{TokensFile: "unused"}, Deps{Table: newFake(), Cluster: newFake()}, func() time.Time { return start })
		for range failBurst {
			if _, refused := g.try(t.Context(), c.failed, "guess"); refused != refusedToken {
				t.Fatalf("%s: refused with %+v", c.failed, refused)
			}
		}
		if _, refused := g.try(t.Context(), c.asks, "guess"); (refused == refusedPace) != c.shared {
			t.Errorf("after %s had failed too often, %s is refused with %+v; they share a budget: %v", c.failed, c.asks, refused, c.shared)
		}
	}
}

func TestB102_FailuresAreRememberedInBounds(t *testing.T) {
	t.Parallel()
	g := newGuard(Config{TokensFile: "unused"}, Deps{Table: newFake(), Cluster: newFake()}, func() time.Time { return start })
	for i := range 3 * failPlaces {
		_, refused := g.try(t.Context(), fmt.Sprintf("10.%d.%d.%d:1", i>>16&255, i>>8&255, i&255), "guess")
		if refused == nil {
			t.Fatal("a guess got in")
		}
	}
	if n := g.fails.Len(); n > failPlaces {
		t.Errorf("%d addresses are remembered, at most %d should be", n, failPlaces)
	}
}
