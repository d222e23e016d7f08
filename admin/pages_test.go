package admin

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

func TestConsolePages(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.someCalls(60)
	r.fake.add(ownership.Call{ID: "57dab8b1", Tenant: "tenant-x", Partition: 2, State: ownership.CallAnswered, ClaimedAt: start, AnsweredAt: start, Groups: []ownership.GroupKey{"thread:19:a@b"},
		Placement: ownership.Placement{Partition: 2, Epoch: 1, Owner: "emea-1", Reason: ownership.ReasonLeastLoaded, Candidates: []ownership.Candidate{{Node: "emea-3", Rejected: "it is draining"}}}})
	for path, wants := range map[string][]string{
		"/console/":                                  {"emea-1", "amer", "draining", "leads", "The admin door is OPEN", "holds", "/console/partitions/9"},
		"/console/calls":                             {"c00", "Next page", "least-loaded"},
		"/console/nodes/emea-4":                      {"<dt>Raft</dt><dd>no vote</dd>"},
		"/console/calls?state=ended":                 {"ended", "Clear"},
		"/console/calls?tenant=tenant-x":             {"57dab8b1"},
		"/console/calls?partition=77":                {"No call matches these filters"},
		"/console/calls?cursor=answered%2Fafter-c49": {"First page", "c50"},
		"/console/calls/57DAB8B1":                    {"57dab8b1", "that node had the most room", "it is draining", "placed on emea-1", "thread%3A19%3Aa%40b"},
		"/console/events?kind=claimed":               {"placed on emea-1", `data-after="61"`},
		"/console/static/console.css":                {"--accent"},
		"/console/static/console.js":                 {"EventSource"},
		"/console/login":                             {"<form", "password"},
		"/console/login?next=//evil.site":            {`name="next" value="/console/"`},
	} {
		a := r.ask("GET", path, "").want(t, 200)
		for _, want := range wants {
			if !strings.Contains(a.text, want) {
				t.Errorf("%s does not show %q", path, want)
			}
		}
		if path == "/console/calls?state=ended" && strings.Contains(a.text, `pill answered`) {
			t.Error("the filter does not filter")
		}
	}
	for path, want := range map[string]int{
		"/console/nothing": 404, "/console/calls/0000": 404, "/console/calls/a%20b": 400,
		"/console/calls?state=lost": 400, "/console/calls?partition=x": 400, "/console/stream?after=x": 400,
	} {
		if a := r.ask("GET", path, ""); a.StatusCode != want {
			t.Errorf("%s answered %d, want %d", path, a.StatusCode, want)
		}
	}
	if a := r.ask("POST", "/console/calls", ""); a.StatusCode != 405 {
		t.Errorf("a POST answered %d", a.StatusCode)
	}
	if a := r.ask("GET", "/", ""); a.StatusCode != 303 || a.Header.Get("Location") != "/console/" {
		t.Errorf("/ leads to %d %s", a.StatusCode, a.Header.Get("Location"))
	}
}

// Whatever the cloud, a bot or a caller puts into a name or a URL, the pages
// show it as text.
func TestConsoleEscapes(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>'javascript:alert(1)`
	r := openRoom(t, func(c *Config, d *Deps) {
		c.Deployment, c.URL, c.Version = evil, evil, evil
		d.Warnings = func() []string { return []string{evil} }
	})
	r.fake.add(ownership.Call{
		ID: "57dab8b1", App: evil, Tenant: evil, Partition: 2, State: ownership.CallAnswered, Via: evil, Observed: evil, Thread: evil, Organizer: evil,
		Modalities: []string{evil}, Groups: []ownership.GroupKey{evil}, ClaimedAt: start, EndedAt: start, Ending: evil,
		Placement: ownership.Placement{Partition: 2, Epoch: 1, Owner: evil, Reason: evil, Candidates: []ownership.Candidate{{Node: evil, Rejected: evil}}},
	})
	r.fake.set(func() {
		r.fake.nodes[evil] = ownership.Node{ID: evil, Zone: evil, Version: evil, State: ownership.NodeActive}
		r.fake.partitions[2] = ownership.Partition{ID: 2, Owner: evil, BornOn: evil, Epoch: 2}
		r.fake.status.Leader = evil
	})
	r.fake.tell(history.Event{Kind: evil, Call: "57dab8b1", Node: evil, Text: evil, At: start})
	q := url.QueryEscape(evil)
	for _, path := range []string{
		"/console/", "/console/calls", "/console/calls/57dab8b1", "/console/events", "/console/login?next=" + q,
		"/console/calls?tenant=" + q + "&group=" + q + "&app=" + q + "&state=" + q, "/console/calls?tenant=" + q + "&cursor=" + q,
		"/console/" + url.PathEscape("x\"><script>alert(1)"), "/v1/docs",
	} {
		a := r.ask("GET", path, "")
		if strings.Contains(a.text, "<script>") || strings.Contains(a.text, "<img src=x") || regexp.MustCompile(`(href|src)="?javascript:`).MatchString(a.text) {
			t.Errorf("%s lets a tag through:\n%s", path, a.text)
		}
		csp := a.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "*") {
			t.Errorf("%s has the policy %q", path, csp)
		}
		if strings.HasPrefix(path, "/console/") && (strings.Contains(csp, "unsafe") || regexp.MustCompile(`(?i)\son[a-z]+=["']|\sstyle=|<style|<script>`).MatchString(regexp.MustCompile(`&#?[a-z0-9]+;[^<]*`).ReplaceAllString(a.text, ""))) {
			t.Errorf("%s needs more than its policy allows", path)
		}
	}
	// What the script reads from the stream is JSON, and it only sets texts.
	script := r.ask("GET", "/console/static/console.js", "").text
	for _, never := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("} {
		if strings.Contains(script, never) {
			t.Errorf("the script uses %s", never)
		}
	}
}

// TestConsolePolicy wants the console's own policy on its pages: without it they
// would have the API's, which blocks their style and script but no form and no base.
func TestConsolePolicy(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	for _, path := range []string{"/console/", "/console/calls", "/console/login", "/console/nothing", "/console/static/console.js"} {
		policy := strings.Split(r.ask("GET", path, "").Header.Get("Content-Security-Policy"), "; ")
		for _, want := range []string{
			"default-src 'none'", "style-src 'self'", "script-src 'self'", "connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
		} {
			if !slices.Contains(policy, want) {
				t.Errorf("the policy of %s lacks %q: %q", path, want, policy)
			}
		}
	}
}

// TestConsoleLoginIsBounded: nobody has logged in yet, so the form may not be long,
// whatever stands in it.
func TestConsoleLoginIsBounded(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	for padding, want := range map[int]int{1 << 10: 303, 2 << 20: 400} {
		form := "token=" + secrets[api.RoleRead] + "&padding=" + strings.Repeat("x", padding)
		a := r.ask("POST", "/console/login", form, "Content-Type: application/x-www-form-urlencoded")
		if a.StatusCode != want || (a.Header.Get("Set-Cookie") != "") != (want == 303) {
			t.Errorf("a form of %d bytes is answered %d, cookie %q", len(form), a.StatusCode, a.Header.Get("Set-Cookie"))
		}
	}
}

func TestConsoleLogin(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	if a := r.ask("GET", "/console/calls?state=ended", ""); a.StatusCode != 303 || a.Header.Get("Location") != "/console/login?next=%2Fconsole%2Fcalls%3Fstate%3Dended" {
		t.Fatalf("without a token: %d %s", a.StatusCode, a.Header.Get("Location"))
	}
	if a := r.ask("GET", "/console/stream", ""); a.StatusCode != 401 {
		t.Errorf("the stream without a token: %d", a.StatusCode)
	}
	if a := r.ask("GET", "/console/login", ""); strings.Contains(a.text, "contoso") || strings.Contains(a.text, "emea") {
		t.Error("the login page tells of the region")
	}
	form := func(token, next string) answered {
		return r.ask("POST", "/console/login", url.Values{"token": {token}, "next": {next}}.Encode(), "Content-Type: application/x-www-form-urlencoded")
	}
	for token, want := range map[string]int{"": 401, "nobody": 401, expiredSecret: 401, secrets[api.RoleBot]: 403, secrets[api.RoleJoin]: 403} {
		if a := form(token, ""); a.StatusCode != want || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("logging in with %q: %d, cookie %q", token, a.StatusCode, a.Header.Get("Set-Cookie"))
		}
	}
	for next, want := range map[string]string{
		"/console/calls?state=ended": "/console/calls?state=ended", "": "/console/", "https://evil.example/console/": "/console/", "//evil.example/console/": "/console/",
		"/console/../v1/events": "/console/", "/console/%2e%2e/v1/snapshot": "/console/", "/console/./../": "/console/", "/console/a/../../v1/": "/console/",
		"/console/%5c..%5cv1": "/console/", "/consoles/": "/console/", "/console/calls/a": "/console/calls/a",
		"/v1/leave": "/console/", `/console/\evil.example`: "/console/", "javascript:alert(1)": "/console/",
	} {
		if a := form(secrets[api.RoleRead], next); a.StatusCode != 303 || a.Header.Get("Location") != want {
			t.Errorf("next %q leads to %d %s, want %s", next, a.StatusCode, a.Header.Get("Location"), want)
		}
	}
	cookie := form(secrets[api.RoleRead], "").Header.Get("Set-Cookie")
	for _, part := range []string{"HttpOnly", "SameSite=Strict", "Path=/console/", "Max-Age="} {
		if !strings.Contains(cookie, part) {
			t.Errorf("the cookie %s lacks %s", cookie, part)
		}
	}
	if strings.Contains(cookie, "Secure") {
		t.Error("over plain http the cookie is marked Secure, so it would never come back")
	}

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	get := func(path string) int {
		res, err := browser.Get(r.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	res, err := browser.PostForm(r.url+"/console/login", url.Values{"token": {secrets[api.RoleRead]}})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 || res.Request.URL.Path != "/console/" {
		t.Errorf("logging in leads to %d %s", res.StatusCode, res.Request.URL)
	}
	// The cookie opens the pages and nothing else: the API takes headers only,
	// so no page of another site can use it.
	cookies := jar.Cookies(res.Request.URL)
	if len(cookies) != 1 || cookies[0].Name != "tandem_session" || strings.Contains(cookies[0].Value, secrets[api.RoleRead]) || len(cookies[0].Value) < 26 {
		t.Fatalf("the browser keeps %v", cookies)
	}
	session := "Cookie: tandem_session=" + cookies[0].Value
	cookies[0].Path = "/"
	jar.SetCookies(res.Request.URL, cookies)
	if got := get("/v1/status"); got != 401 {
		t.Errorf("the API takes the cookie: %d", got)
	}
	if a := r.ask("GET", "/console/", "", session); a.StatusCode != 200 {
		t.Errorf("the session is answered %d", a.StatusCode)
	}
	if a := r.ask("POST", "/console/logout", "", session); a.StatusCode != 303 || !strings.Contains(a.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("logging out: %d %s", a.StatusCode, a.Header.Get("Set-Cookie"))
	}
	if a := r.ask("GET", "/console/", "", session); a.StatusCode != 303 {
		t.Errorf("a session that has ended is answered %d", a.StatusCode)
	}
	// Another site's form must not log anybody in or out.
	r.ask("POST", "/console/logout", "", "Origin: https://evil.example", "Sec-Fetch-Site: cross-site").want(t, 403)
}

func TestConsoleLoginIsLimited(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	for range failBurst {
		r.ask("POST", "/console/login", "token=guess", "Content-Type: application/x-www-form-urlencoded")
	}
	if a := r.ask("POST", "/console/login", "token=guess", "Content-Type: application/x-www-form-urlencoded"); a.StatusCode != 429 {
		t.Errorf("a guess too many is answered %d", a.StatusCode)
	}
}

// The cookie is kept off plain connections wherever there should be none: also
// where something in front of the door ends TLS. On loopback, plain http works.
func TestSecureCookie(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ tls, loopback, want bool }{
		"plain on loopback":    {false, true, false},
		"TLS on loopback":      {true, true, true},
		"TLS":                  {true, false, true},
		"TLS ended by a proxy": {false, false, true},
	} {
		r := tokenRoom(t, func(cfg *Config, _ *Deps) { cfg.Secure, cfg.Loopback = c.tls, c.loopback })
		for _, a := range []answered{
			r.ask("POST", "/console/login", "token="+secrets[api.RoleRead], "Content-Type: application/x-www-form-urlencoded"),
			r.ask("POST", "/console/logout", "", "X-Forwarded-Proto: https"),
		} {
			if cookie := a.Header.Get("Set-Cookie"); cookie == "" || strings.Contains(cookie, "Secure") != c.want {
				t.Errorf("%s: the cookie is %q, want it Secure: %v", name, cookie, c.want)
			}
		}
	}
}
