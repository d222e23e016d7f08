package admin

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

// The fake keeps tokens as the table does, as far as the door can see.

func (f *fake) Format() uint32 { f.mu.Lock(); defer f.mu.Unlock(); return f.format }

func (f *fake) DoorTokens() []ownership.DoorToken {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.tokens)
}

func (f *fake) applyToken(a ownership.Act) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	find := func(name string) int {
		return slices.IndexFunc(f.tokens, func(t ownership.DoorToken) bool { return t.Name == name })
	}
	switch a := a.(type) {
	case ownership.GrantToken:
		if find(a.Token.Name) >= 0 {
			return fmt.Errorf("making the token %q: there is one: %w", a.Token.Name, ownership.ErrConflict)
		}
		t := a.Token
		t.MadeAt = a.At
		f.tokens = append(f.tokens, t)
	case ownership.RevokeToken:
		i := find(a.Name)
		if i < 0 {
			return fmt.Errorf("revoking the token %q: %w", a.Name, ownership.ErrUnknown)
		}
		f.tokens = slices.Delete(f.tokens, i, i+1)
	case ownership.UseToken:
		i := find(a.Name)
		if i < 0 || f.tokens[i].Hash != a.Hash {
			return fmt.Errorf("using the token %q: %w", a.Name, ownership.ErrUnknown)
		}
		t := &f.tokens[i]
		if t.Ended(a.At) || t.UsedFor != "" && t.UsedFor != a.For {
			return fmt.Errorf("using the token %q: it was used: %w", a.Name, ownership.ErrConflict)
		}
		t.UsedFor = a.For
		if a.Done {
			t.UsedAt = a.At
		}
	}
	return nil
}

// make has the operator make a token, and gives its secret.
func (r *room) make(body string) api.TokenMade {
	r.t.Helper()
	var made api.TokenMade
	a := r.ask("POST", "/v1/tokens", body, as(api.RoleOperate)).want(r.t, http.StatusCreated)
	if err := json.Unmarshal([]byte(a.text), &made); err != nil {
		r.t.Fatal(err)
	}
	return made
}

func bearing(secret string) string { return "Authorization: Bearer " + secret }

func TestTokenIsMadeUsedAndRevoked(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	end := start.Add(time.Hour)
	made := r.make(`{"name":"ci","roles":["read","bot"],"expires":"` + end.Format(time.RFC3339) + `"}`)
	if !strings.HasPrefix(made.Token, SecretPrefix) || len(made.Token) < len(SecretPrefix)+26 {
		t.Errorf("the token %q is not of 130 random bits", made.Token)
	}
	want := api.TokenInfo{Name: "ci", Roles: []api.Role{api.RoleRead, api.RoleBot}, Origin: api.OriginRegion, Expires: end, MadeBy: "operate-er", MadeAt: start}
	if got := fmt.Sprint(made.TokenInfo); got != fmt.Sprint(want) {
		t.Errorf("made %v, want %v", got, want)
	}
	// The door waits for its own table, so that what it tells holds here.
	if done := r.fake.done(); !slices.Equal(done, []string{"do ownership.GrantToken", "read barrier"}) {
		t.Errorf("the cluster was asked for %v", done)
	}
	kept := r.fake.DoorTokens()
	if len(kept) != 1 || kept[0].Hash != sha256.Sum256([]byte(made.Token)) {
		t.Errorf("the region was asked to keep %+v", kept)
	}
	r.ask("GET", "/v1/status", "", bearing(made.Token)).want(t, 200)
	r.ask("POST", "/v1/callback-uris", `{"app":"app-1"}`, bearing(made.Token)).want(t, 201)
	r.ask("POST", "/v1/leave", "", bearing(made.Token)).want(t, 403)

	// Told once: nothing that is read afterwards holds it.
	all := r.ask("GET", "/v1/tokens", "", as(api.RoleOperate)).want(t, 200).text
	audit := r.ask("GET", "/v1/audit", "", as(api.RoleOperate)).want(t, 200).text
	for where, text := range map[string]string{"the list": all, "the audit": audit, "the log": r.logs.String()} {
		if strings.Contains(text, made.Token) || strings.Contains(text, HashToken(made.Token)) {
			t.Errorf("B110 %s holds the token or its hash: %s", where, text)
		}
	}
	if !strings.Contains(audit, `"make-token"`) || !strings.Contains(audit, "ci: read, bot") {
		t.Errorf("the audit does not tell who made what: %s", audit)
	}
	if !strings.Contains(all, `"origin":"file"`) || !strings.Contains(all, `"origin":"region"`) {
		t.Errorf("the list is not whole: %s", all)
	}

	r.ask("DELETE", "/v1/tokens/ci", "", as(api.RoleRead)).want(t, 403)
	r.ask("DELETE", "/v1/tokens/ci", "", as(api.RoleOperate)).want(t, 204)
	r.ask("GET", "/v1/status", "", bearing(made.Token)).want(t, 401)
	r.ask("DELETE", "/v1/tokens/ci", "", as(api.RoleOperate)).want(t, 404)
	r.ask("DELETE", "/v1/tokens/read-er", "", as(api.RoleOperate)).want(t, 409)
}

func TestTokenOfTheRegionExpires(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	made := r.make(`{"name":"brief","roles":["read"],"expires":"` + start.Add(time.Minute).Format(time.RFC3339) + `"}`)
	r.ask("GET", "/v1/status", "", bearing(made.Token)).want(t, 200)
	r.at.advance(time.Minute)
	if got, absent := r.ask("GET", "/v1/status", "", bearing(made.Token)).want(t, 401).text, r.ask("GET", "/v1/status", "").text; got != absent {
		t.Errorf("B100 an expired token is told from an absent one: %s", got)
	}
}

func TestTokenAsksThatAreRefused(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	soon := start.Add(time.Hour).Format(time.RFC3339)
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"unknown role":          {`{"name":"a","roles":["root"]}`, 422},
		"no role":               {`{"name":"a","roles":[]}`, 422},
		"a role twice":          {`{"name":"a","roles":["read","read"]}`, 422},
		"a name with a newline": {`{"name":"a\nb","roles":["read"]}`, 422},
		"no name":               {`{"roles":["read"]}`, 422},
		"its own secret":        {`{"name":"a","roles":["read"],"token":"mine"}`, 422},
		"once and read":         {`{"name":"a","roles":["read"],"once":true,"expires":"` + soon + `"}`, 422},
		"once for ever":         {`{"name":"a","roles":["join"],"once":true}`, 422},
		"already at an end":     {`{"name":"a","roles":["read"],"expires":"` + start.Format(time.RFC3339) + `"}`, 422},
		"a name of the file":    {`{"name":"read-er","roles":["read"]}`, 409},
	} {
		if a := r.ask("POST", "/v1/tokens", c.body, as(api.RoleOperate)); a.StatusCode != c.status {
			t.Errorf("%s: answered %d, want %d: %s", name, a.StatusCode, c.status, a.text)
		}
	}
	r.make(`{"name":"a","roles":["read"]}`)
	r.ask("POST", "/v1/tokens", `{"name":"a","roles":["read"]}`, as(api.RoleOperate)).want(t, 409)
	r.fake.set(func() { r.fake.format = 1 })
	r.ask("POST", "/v1/tokens", `{"name":"b","roles":["read"]}`, as(api.RoleOperate)).want(t, 409)
	r.fake.set(func() { r.fake.format, r.fake.fail = ownership.FormatTokens, ownership.ErrNoLeader })
	r.ask("POST", "/v1/tokens", `{"name":"b","roles":["read"]}`, as(api.RoleOperate)).want(t, 503)
}

func (r *room) onceToken() string {
	return r.make(`{"name":"new-node","roles":["join"],"once":true,"expires":"` + start.Add(time.Hour).Format(time.RFC3339) + `"}`).Token
}

func TestB101_JoinTokenIsUsedOnce(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	secret := r.onceToken()
	r.ask("GET", "/v1/nodes", "", bearing(secret)).want(t, 403)
	// A join that fails may be tried again, for the same node only.
	r.fake.set(func() { r.fake.meetFail = ownership.ErrNoLeader })
	r.ask("POST", "/v1/nodes", joinBody("10.0.0.9:8471"), bearing(secret)).want(t, 503)
	r.fake.set(func() { r.fake.meetFail = nil })
	r.ask("POST", "/v1/nodes", joinBody("10.0.0.10:8471"), bearing(secret)).want(t, 409)
	r.ask("POST", "/v1/nodes", joinBody("10.0.0.9:8471"), bearing(secret)).want(t, 201)
	r.ask("POST", "/v1/nodes", joinBody("10.0.0.9:8471"), bearing(secret)).want(t, 403)
	r.ask("GET", "/v1/whoami", "", bearing(secret)).want(t, 403)
	if met := slices.DeleteFunc(r.fake.done(), func(s string) bool { return !strings.HasPrefix(s, "meet") }); len(met) != 2 {
		t.Errorf("the cluster was asked for %v", met)
	}
	if list := r.ask("GET", "/v1/tokens", "", as(api.RoleOperate)).text; !strings.Contains(list, `"used_for":"10.0.0.9:8471","used_at":`) {
		t.Errorf("the list does not tell its use: %s", list)
	}
}

func TestB101_ExpiredJoinToken(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	secret := r.onceToken()
	r.at.advance(time.Hour)
	r.ask("POST", "/v1/nodes", joinBody("10.0.0.9:8471"), bearing(secret)).want(t, 403)
}

// However many show the token at once, it brings in one node.
func TestB101_JoinTokenInARace(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	secret := r.onceToken()
	var wg sync.WaitGroup
	got := make([]int, 8)
	for i := range got {
		wg.Go(func() {
			got[i] = r.ask("POST", "/v1/nodes", joinBody(fmt.Sprintf("10.0.0.%d:8471", 20+i)), bearing(secret)).StatusCode
		})
	}
	wg.Wait()
	if n := len(slices.DeleteFunc(slices.Clone(got), func(s int) bool { return s != 201 })); n != 1 {
		t.Errorf("%d nodes were brought in: %v", n, got)
	}
}

// With a token of each set of roles, every operation is open to exactly the
// same callers as with a token of the file.
func TestB100_RolesMatrixOfRegionTokens(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	for _, role := range allRoles {
		made := r.make(fmt.Sprintf(`{"name":"of-%s","roles":[%q]}`, role, role))
		for _, op := range everyOperation {
			if strings.HasPrefix(op.path, "/v1/tokens") && op.method != "GET" {
				continue // in the matrix of the file's tokens; here they would change what is tested
			}
			want := op.passed
			allowed := op.role == "" || op.role == anyRole || op.role == role || op.role == api.RoleRead && role == api.RoleOperate
			if !allowed {
				want = http.StatusForbidden
			}
			if a := r.ask(op.method, op.path, op.body, bearing(made.Token)); a.StatusCode != want {
				t.Errorf("%s %s as %s answered %d, want %d: %s", op.method, op.path, role, a.StatusCode, want, a.text)
			}
		}
	}
}

func TestTokensOfTheClient(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	c := r.client(api.RoleOperate)
	made, err := c.MakeToken(t.Context(), api.TokenAsk{Name: "ci", Roles: []api.Role{api.RoleRead}})
	if err != nil {
		t.Fatal(err)
	}
	r.ask("GET", "/v1/status", "", bearing(made.Token)).want(t, 200)
	all, err := c.Tokens(t.Context())
	if err != nil || len(all) != 6 || all[5].Name != "ci" || all[5].Origin != api.OriginRegion {
		t.Errorf("the client lists %+v, %v", all, err)
	}
	if err := c.RevokeToken(t.Context(), "ci"); err != nil {
		t.Error(err)
	}
	if err := c.RevokeToken(t.Context(), "ci"); !client.NotFound(err) {
		t.Errorf("revoking twice gives %v", err)
	}
}

// TestD2_JoinTokensAtTheDoor: a node that shows a token is let in by one of the file or
// of the region with the role join, and by nothing else; one for one use lets in one node.
func TestD2_JoinTokensAtTheDoor(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	for role, good := range map[api.Role]bool{api.RoleJoin: true, api.RoleRead: false, api.RoleBot: false} {
		by, err := r.door.LetIn(t.Context(), secrets[role], "emea-9", false)
		if good != (err == nil) || !good && !errors.Is(err, ownership.ErrUninvited) || good && by == "" {
			t.Errorf("a token with the role %s: %q, %v", role, by, err)
		}
	}
	for _, bad := range []string{"", "\x00", "no-such-token", strings.Repeat("x", 1<<20)} {
		if by, err := r.door.LetIn(t.Context(), bad, "emea-9", false); !errors.Is(err, ownership.ErrUninvited) || by != "" || strings.Contains(err.Error(), "no-such") {
			t.Errorf("%.20q: %q, %v", bad, by, err)
		}
	}
	once := ownership.DoorToken{Name: "emea-9", Hash: sha256.Sum256([]byte("once")), Roles: []string{"join"}, Once: true, Expires: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	r.fake.set(func() { r.fake.tokens = append(r.fake.tokens, once) })
	if by, err := r.door.LetIn(t.Context(), "once", "emea-9", false); by != "emea-9" || err != nil {
		t.Errorf("for its node: %q, %v", by, err)
	}
	asked := r.fake.done()
	if len(asked) == 0 || !strings.Contains(asked[len(asked)-1], "UseToken") {
		t.Errorf("its use is not in the table: %v", asked)
	}
	r.fake.set(func() { r.fake.fail = fmt.Errorf("used: %w", ownership.ErrConflict) })
	if _, err := r.door.LetIn(t.Context(), "once", "emea-8", false); !errors.Is(err, ownership.ErrUninvited) {
		t.Errorf("for another node: %v", err)
	}
}

// A node without a region shows the operator's token to the region it enters.
func TestD2_TheTokenGoesWithTheJoin(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	if a := r.ask("POST", "/v1/nodes", joinBody("10.0.0.9:8471"), as(api.RoleJoin)); a.StatusCode != 201 || r.fake.shown != secrets[api.RoleJoin] {
		t.Errorf("%d; the cluster got the token: %v", a.StatusCode, r.fake.shown == secrets[api.RoleJoin])
	}
}
