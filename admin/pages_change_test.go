package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// session logs a role in, and returns the cookie's line.
func (r *room) session(role api.Role) string {
	r.t.Helper()
	return "Cookie: " + sessionIn(r.ask("POST", "/console/login", "token="+secrets[role], formed))
}

const formed = "Content-Type: application/x-www-form-urlencoded"

// pageChanges are all changes that the console's forms ask for.
var pageChanges = []struct{ path, form, action, asked, leads string }{
	{"nodes/emea-2/drain", "sure=yes&within=30m", "drain-node", "drain emea-2 2026-11-23T10:00:00Z", "nodes/emea-2?did=drain"},
	{"nodes/emea-3/undrain", "sure=yes", "undrain-node", "undrain emea-3", "nodes/emea-3?did=undrain"},
	{"nodes/emea-3/remove", "sure=yes", "remove-node", "remove emea-3", "nodes/emea-3?did=remove"},
	{"calls/c01/release", "sure=yes", "release-call", "do ownership.Release", "calls/c01?did=release"},
	{"partitions/1/move", "sure=yes&to=emea-2", "move-partition", "move 1 emea-2", "partitions/1?did=move"},
	{"regions/emea/evacuate", "sure=yes&to=amer&note=power", "evacuate-region", "do ownership.SetRules", "regions/emea?did=evacuate"},
	{"rules/set", "sure=yes&expect=1&text=rules:+[]%0D%0A&note=n", "set-rules", "do ownership.SetRules", "rules?did=set"},
	{"rules/rollback", "sure=yes&number=1&expect=2", "roll-rules-back", "do ownership.SetRules", "rules?did=rollback"},
	{"peers/lead", "sure=yes&to=emea-2", "transfer-leader", "transfer emea-2", "peers?did=lead"},
	{"versions/halt", "sure=yes&app=app-1&version=2.5.0&note=it+smells", "halt-rollout", "do ownership.SetRollout", "nodes?did=halt"},
	{"versions/resume", "sure=yes&app=app-1&version=2.5.0", "resume-rollout", "do ownership.SetRollout", "nodes?did=resume"},
	{"versions/end", "sure=yes&app=app-1&version=2.5.0", "end-rollout", "do ownership.EndRollout", "nodes?did=end"},
	{"tokens/made/revoke", "sure=yes", "revoke-token", "do ownership.RevokeToken", "tokens?did=revoke"},
}

// TestPagesChangeByTheRulesOfTheAPI: a form does what a request of the API does, for whoever
// may, once it was confirmed; and the audit log has it in the reader's name.
func TestPagesChangeByTheRulesOfTheAPI(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	r.make(`{"name":"made","roles":["read"]}`)
	r.someCalls(3)
	r.fake.format = ownership.FormatRollouts
	reader, operator := r.session(api.RoleRead), r.session(api.RoleOperate)
	last := func() api.Change { return told[api.List[api.Change]](r, api.RoleOperate, "/v1/audit").Items[0] }
	for _, c := range pageChanges {
		path := "/console/" + c.path
		before := len(r.fake.done())
		for what, refused := range map[string]struct {
			status int
			form   string
			header []string
		}{
			"by a reader":            {403, c.form, []string{reader}},
			"by nobody":              {401, c.form, nil},
			"not confirmed":          {400, strings.Replace(c.form, "sure=yes", "sure=", 1), []string{operator}},
			"by another site's form": {403, c.form, []string{operator, "Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}},
			"by another site's form, of a browser that says its origin only": {403, c.form, []string{operator, "Origin: https://evil.example"}},
		} {
			if a := r.ask("POST", path, refused.form, append(refused.header, formed)...); a.StatusCode != refused.status {
				t.Errorf("%s %s: %d", c.path, what, a.StatusCode)
			}
		}
		if a := r.ask("GET", path+"?"+c.form, "", operator); a.StatusCode == 303 && strings.Contains(a.Header.Get("Location"), "did=") {
			t.Errorf("%s: a link changes something", c.path)
		}
		if done := slices.DeleteFunc(r.fake.done()[before:], func(s string) bool { return s == "read barrier" || s == "do ownership.Note" }); len(done) != 0 {
			t.Fatalf("%s: refused, and yet the region was asked for %v", c.path, done)
		}
		r.ask("POST", path, c.form, reader, formed)
		if got := last(); got.By != "read-er" || got.Action != c.action || got.Status != 403 {
			t.Errorf("%s: the audit log has of the refusal %+v", c.path, got)
		}
		a := r.ask("POST", path, c.form, operator, formed)
		if a.StatusCode != 303 || a.Header.Get("Location") != "/console/"+c.leads {
			t.Errorf("%s: %d leads to %q: %s", c.path, a.StatusCode, a.Header.Get("Location"), a.text)
			continue
		}
		if done := r.fake.done()[before:]; !slices.Contains(done, c.asked) {
			t.Errorf("%s: the region was asked for %q", c.path, done)
		}
		if got := last(); got.By != "operate-er" || got.Action != c.action || got.Status/100 != 2 || !strings.HasPrefix(got.From, "127.0.0.1:") {
			t.Errorf("%s: the audit log has %+v", c.path, got)
		}
		if page := r.ask("GET", a.Header.Get("Location"), "", operator).want(t, 200); !strings.Contains(page.text, `<p class="said" role="status">`) {
			t.Errorf("%s: the page does not say what was done", c.path)
		}
	}
	if all := r.fake.Rules(); len(all) != 3 || all[1].Text != "rules: []\n" || all[1].By != "operate-er" {
		t.Errorf("the rules are %+v", all)
	}
}

// TestAFormKeepsWhatWasTyped when it is refused, and says why in words.
func TestAFormKeepsWhatWasTyped(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	operator := r.session(api.RoleOperate)
	for path, c := range map[string]struct {
		form, says string
		status     int
	}{
		"rules/set":              {"sure=yes&expect=7&text=rules:+[]+%23mine&note=typed", "the newest are rules 0", 409},
		"rules/try":              {"text=bad+%23mine&note=typed", "field bad is no key of a rule", 422},
		"nodes/emea-2/drain":     {"sure=yes&within=soon", "write one such as 30m or 2h", 400},
		"nodes/emea-77/drain":    {"sure=yes", "emea-77", 404},
		"nodes/emea-2/explode":   {"sure=yes", "This page is for reading.", 405},
		"partitions/one/move":    {"sure=yes&to=emea-2", "write a whole number", 400},
		"rules/rollback":         {"sure=yes&number=x&expect=1", "“x” is no number", 400},
		"tokens/make":            {"name=no+spaces&role=read", "letters, digits", 422},
		"regions/emea/restore":   {"sure=yes", "it is not evacuated", 409},
		"regions/mars/evacuate":  {"sure=yes", "There is no region", 404},
		"tokens/read-er/revoke":  {"sure=yes", "tokens file", 409},
		"nodes/../../v1/x/drain": {"sure=yes", "", 405},
	} {
		a := r.ask("POST", "/console/"+path, c.form, operator, formed)
		if a.StatusCode != c.status || !strings.Contains(a.text, c.says) {
			t.Errorf("%s: %d, want %d and %q:\n%s", path, a.StatusCode, c.status, c.says, a.text)
		}
		if strings.Contains(c.form, "mine") && (!strings.Contains(a.text, "#mine</textarea>") || path == "rules/set" && !strings.Contains(a.text, `role="alert">`)) {
			t.Errorf("%s: what was typed is lost:\n%s", path, a.text)
		}
	}
}

// TestASecretIsShownOnce: in the answer to the form, which no cache keeps, and nowhere after.
func TestASecretIsShownOnce(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	operator := r.session(api.RoleOperate)
	a := r.ask("POST", "/console/tokens/make", "name=ci&role=read&within=24h", operator, formed).want(t, 200)
	_, secret, found := strings.Cut(a.text, `<p class="secret mono">`)
	secret, _, _ = strings.Cut(secret, "<")
	if !found || !strings.HasPrefix(secret, SecretPrefix) || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("the secret is %q, cached by %q", secret, a.Header.Get("Cache-Control"))
	}
	r.ask("GET", "/v1/status", "", bearing(secret)).want(t, 200)
	if page := r.ask("GET", "/console/tokens", "", operator).want(t, 200); strings.Contains(page.text, secret) || !strings.Contains(page.text, "ci") {
		t.Error("the list shows the secret, or not the token")
	}
	if strings.Contains(r.logs.String(), secret) {
		t.Error("the log holds the secret")
	}
	if a := r.ask("GET", "/console/tokens", "", r.session(api.RoleRead)); a.StatusCode != 403 {
		t.Errorf("a reader sees the tokens: %d", a.StatusCode)
	}
}

// TestASessionEndsWithItsToken, for changes, too.
func TestASessionEndsWithItsToken(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	made := r.make(`{"name":"brief","roles":["operate"]}`).Token
	session := "Cookie: " + sessionIn(r.ask("POST", "/console/login", "token="+made, formed))
	if a := r.ask("POST", "/console/nodes/emea-2/drain", "sure=yes", session, formed); a.StatusCode != 303 {
		t.Fatalf("%d %s", a.StatusCode, a.text)
	}
	r.ask("DELETE", "/v1/tokens/brief", "", as(api.RoleOperate)).want(t, 204)
	if a := r.ask("POST", "/console/nodes/emea-2/drain", "sure=yes", session, formed); a.StatusCode != 401 {
		t.Errorf("after its token was revoked the session is answered %d", a.StatusCode)
	}
}

// TestSearchFindsByWhateverSomebodyHas and leads to the page of it.
func TestSearchFindsByWhateverSomebodyHas(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.fake.add(ownership.Call{ID: "57dab8b1", App: "app-7", Tenant: "tenant-x", Partition: 2, State: ownership.CallAnswered, ClaimedAt: start,
		Groups: []ownership.GroupKey{"thread:19:meeting_abc@thread.v2", "chain:c-1"}})
	for what, leads := range map[string]string{
		"57DAB8B1": "calls/57DAB8B1", "tenant-x": "calls?tenant=tenant-x", "app-7": "calls?app=app-7", "emea-2": "nodes/emea-2", "9": "partitions/9",
		"19:meeting_abc@thread.v2": "calls?group=thread%3A19%3Ameeting_abc%40thread.v2", "chain:c-1": "calls?group=chain%3Ac-1", " 57dab8b1 ": "calls/57dab8b1", "": "calls",
	} {
		if a := r.ask("GET", "/console/search?q="+url.QueryEscape(what), ""); a.StatusCode != 303 || a.Header.Get("Location") != "/console/"+leads {
			t.Errorf("%q leads to %d %q, want %q", what, a.StatusCode, a.Header.Get("Location"), leads)
		}
	}
	for _, what := range []string{"nobody", "99", strings.Repeat("x", 3000), "<script>"} {
		if a := r.ask("GET", "/console/search?q="+url.QueryEscape(what), ""); a.StatusCode != 404 || !strings.Contains(a.text, "Nothing is known by") {
			t.Errorf("%.20q: %d", what, a.StatusCode)
		}
	}
}

// TestSearchSaysThatItCannotKnow: while a region that may know an id cannot be asked, it is
// not said that nobody does.
func TestSearchSaysThatItCannotKnow(t *testing.T) {
	t.Parallel()
	emea, _, between := twoRegions(t)
	session := emea.session(api.RoleRead)
	if a := emea.ask("GET", "/console/search?q=a03", "", session); a.StatusCode != 303 || a.Header.Get("Location") != "/console/calls/a03" {
		t.Errorf("a call of amer leads to %d %q", a.StatusCode, a.Header.Get("Location"))
	}
	if a := emea.ask("GET", "/console/search?q=nobody", "", session); a.StatusCode != 404 {
		t.Errorf("what nobody knows: %d", a.StatusCode)
	}
	between.cut.Store(true)
	if a := emea.ask("GET", "/console/search?q=a03", "", session); a.StatusCode != 503 || strings.Contains(a.text, "Nothing is known by") || !strings.Contains(a.text, "amer") {
		t.Errorf("with amer cut off a call of it: %d\n%s", a.StatusCode, a.text)
	}
}

// TestLiveCallsComeFirst over all pages of the list.
func TestLiveCallsComeFirst(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.someCalls(99)
	r.fake.add(ownership.Call{ID: "z", Partition: 1, State: ownership.CallOrphaned, ClaimedAt: start})
	var states []string
	for next := "/console/calls"; next != "" && len(states) < 200; {
		page := r.ask("GET", next, "").want(t, 200).text
		for _, row := range strings.Split(page, `<span class="pill `)[1:] {
			state, _, _ := strings.Cut(row, `"`)
			states = append(states, state)
		}
		_, more, _ := strings.Cut(page, `<p class="pager">`)
		if next = ""; strings.Contains(more, "Next page") {
			more = more[:strings.Index(more, `">Next page`)]
			next = strings.ReplaceAll(more[strings.LastIndex(more, `"`)+1:], "&amp;", "&")
		}
	}
	order := slices.Compact(slices.Clone(states))
	if len(states) != 100 || !slices.Equal(order, []string{"orphaned", "answered", "ended"}) {
		t.Errorf("%d calls in the order %v", len(states), order)
	}
}

// TestTheOverviewBeginsWithWhatDoesNotHold, says who is silent in words, and marks what moved.
func TestTheOverviewBeginsWithWhatDoesNotHold(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	reader := r.session(api.RoleRead)
	calm := r.ask("GET", "/console/", "", reader).want(t, 200).text
	if !strings.Contains(calm, "All 5 promises hold.") || !strings.Contains(calm, `class="promise kept"`) || strings.Contains(calm, "<details id=\"held\" open") || strings.Contains(calm, "moved") && strings.Contains(calm, `class="l0 moved"`) {
		t.Errorf("a region that is well:\n%s", calm)
	}
	r.fake.set(func() {
		r.fake.status.Leader = ""
		r.fake.fitness.Silent = []ownership.Silence{{Node: "emea-3", Since: start.Add(-time10), Cause: ownership.Refuses, Went: []ownership.Inherited{{Node: "emea-2", Partitions: 3}}}}
		p := r.fake.partitions[7]
		p.Owner, p.Epoch = "emea-2", 2
		r.fake.partitions[7] = p
	})
	r.fake.tell(history.Event{Kind: history.Moved, Partition: 7, Node: "emea-2", From: "emea-3", Epoch: 2, At: start.Add(-20e9)})
	r.fake.tell(history.Event{Kind: history.Moved, Partition: 8, Node: "emea-2", From: "emea-3", Epoch: 2, At: start.Add(-120e9)})
	for range 5000 { // however much has happened since
		r.fake.tell(history.Event{Kind: history.Answered, Call: "c", At: start})
	}
	page := r.ask("GET", "/console/", "", reader).want(t, 200).text
	order := []string{"emea-3 fell silent at", "its 3 partitions went to emea-2", "2 promises do not hold.", "New calls get an owner.", "The region has no leader right now.", `<section class="figures"`,
		"1 partition changed owner in the last minute.", "it came from emea-3 20 s ago"}
	at := 0
	for _, want := range order {
		i := strings.Index(page[at:], want)
		if i < 0 {
			t.Fatalf("after %d bytes the page does not say %q:\n%s", at, want, page)
		}
		at += i
	}
	if n := strings.Count(page, " moved\""); n != 1 {
		t.Errorf("%d partitions are marked as moved, want 1", n)
	}
	r.at.advance(2 * movedFor)
	r.fake.set(func() { r.fake.status.LeaseUntil = start.Add(time10) })
	if page := r.ask("GET", "/console/", "", reader).want(t, 200).text; strings.Contains(page, " moved\"") {
		t.Error("after two minutes it is marked still")
	}
}

const time10 = 10 * 60 * 1e9

// TestEventsAreFiltered by kind, node and call, before and while they are followed.
func TestEventsAreFiltered(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.someCalls(300)
	r.fake.tell(history.Event{Kind: history.Draining, Node: "emea-3", At: start, Text: "drains"})
	r.fake.tell(history.Event{Kind: history.Moved, Partition: 7, Node: "emea-2", From: "emea-1", Epoch: 2, At: start})
	if page := r.ask("GET", "/console/events?kind=moved", "").want(t, 200).text; !strings.Contains(page, "<td>from emea-1</td>") {
		t.Errorf("a move does not tell from whom:\n%s", page)
	}
	for query, want := range map[string]int{"": 100, "kind=draining": 1, "node=emea-3": 100, "node=emea-3&kind=draining": 1, "call=C00": 1, "kind=moved": 1, "kind=retired": 0} {
		page := r.ask("GET", "/console/events?"+query, "").want(t, 200).text
		if n := strings.Count(page, `<span class="pill kind`); n != want {
			t.Errorf("%q shows %d events, want %d", query, n, want)
		}
		if !strings.Contains(page, fmt.Sprintf(`data-after="%d"`, 302)) {
			t.Errorf("%q: the follower would not go on after the newest event", query)
		}
	}
	if a := r.ask("GET", "/console/events?call=a%20b", ""); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a bad call id: %d", a.StatusCode)
	}
}
