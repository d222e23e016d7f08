package node

import (
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"tandem/ownership"
)

// tenantOf is a tenant whose calls are pinned to one node.
func tenantOf(i int) string {
	return []string{
		"11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002", "33333333-0000-4000-8000-000000000003",
	}[i]
}

// mixed makes every node of the region different: 307 and mid-call relay on the
// first, 302 and mid-call redirect on the second, no address of its own on the
// third. A tenant is pinned to each. The bots run in the nodes' process.
func mixed(x *seat, c *Config) {
	c.Bot = x.seen
	c.Apps[0].Bot, c.Apps[0].Graph, c.Apps[0].Answer, c.Apps[0].AnswerWith, c.Apps[0].Hosting = AppBot{}, AppGraph{}, "bot", nil, "app"
	for i, id := range []string{"emea-1", "emea-2", "emea-3"} {
		c.Pins = append(c.Pins, Pin{When: `call.tenant == "` + tenantOf(i) + `"`, Pin: ownership.Pin{Node: ownership.NodeID(id)}})
	}
	switch x.name {
	case "emea-1":
		c.Public.Redirect.Status = http.StatusTemporaryRedirect
	case "emea-2":
		c.Public.Redirect.Midcall = "redirect"
	case "emea-3":
		c.Public.URL = ""
	}
}

// owned posts a new call of the tenant pinned to owner at a node, follows the
// redirect if there is one, repeats it after 503 as the cloud does, and gives what the
// owner's bot was handed.
func (s *stage) owned(at, owner *seat, tenant string) ownership.HandOver {
	s.t.Helper()
	id, token := newCall(), s.token(tenant)
	eventually(s.t, "the call is taken", func() error {
		a := s.post(at.webhook(), token, sample(s.t, incoming, id))
		if a.status == http.StatusFound || a.status == http.StatusTemporaryRedirect {
			a = s.post(a.location(), token, sample(s.t, incoming, id))
		}
		if a.status != http.StatusAccepted && a.status != http.StatusServiceUnavailable {
			s.t.Fatalf("a new call posted to %s: %d %s", at.name, a.status, a.body)
		}
		return not(a.status == http.StatusAccepted, "%s answers %d %s", at.name, a.status, a.body)
	})
	got := owner.seen.of(id)
	if len(got) != 1 || got[0].Event != ownership.EventIncoming {
		s.t.Fatalf("the bot of %s was handed %+v", owner.name, got)
	}
	return got[0]
}

func TestEveryDoorBringsACallToItsOwner(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{shape: mixed})
	one, two, three := s.seats[0], s.seats[1], s.seats[2]
	t.Run("redirect.status 307", func(t *testing.T) {
		a := s.post(one.webhook(), s.token(tenantOf(1)), sample(t, incoming, newCall()))
		if a.status != http.StatusTemporaryRedirect || !strings.HasPrefix(a.location(), "http://"+two.public+"/api/calls/emea/") {
			t.Errorf("a call of %s at %s: %d to %q", two.name, one.name, a.status, a.location())
		}
	})
	t.Run("redirect.status 302", func(t *testing.T) {
		a := s.post(two.webhook(), s.token(tenantOf(0)), sample(t, incoming, newCall()))
		if a.status != http.StatusFound || !strings.HasPrefix(a.location(), "http://"+one.public+"/api/calls/emea/") {
			t.Errorf("a call of %s at %s: %d to %q", one.name, two.name, a.status, a.location())
		}
	})
	t.Run("a node without public.url is relayed to", func(t *testing.T) {
		id := newCall()
		if a := s.post(one.webhook(), s.token(tenantOf(2)), sample(t, incoming, id)); a.status != http.StatusAccepted || a.location() != "" {
			t.Errorf("a call of %s at %s: %d to %q", three.name, one.name, a.status, a.location())
		}
		if got := three.seen.of(id); len(got) != 1 || got[0].Event != ownership.EventIncoming {
			t.Errorf("its bot was handed %+v", got)
		}
	})
	t.Run("mid-call the owner's own answer passes through", func(t *testing.T) {
		h := s.owned(one, two, tenantOf(1))
		two.seen.answerWith(func(ownership.HandOver) ownership.Reply {
			return ownership.Reply{Status: 200, Header: http.Header{"Content-Type": {"application/json"}, "X-Bot": {"two"}}, Body: []byte(`{"@odata.type":"#microsoft.graph.acceptJoinResponse"}`)}
		})
		defer two.seen.answerWith(nil)
		body := sample(t, established, h.Call)
		a := s.post(one.follow(h.CallbackURI), s.token(tenantOf(1)), body)
		if a.status != 200 || a.header.Get("X-Bot") != "two" || !strings.Contains(a.body, "acceptJoinResponse") {
			t.Errorf("the response was %d %v %s", a.status, a.header, a.body)
		}
		got := two.seen.of(h.Call)
		if len(got) != 2 || got[1].Event != ownership.EventUpdate || string(got[1].Body) != body {
			t.Errorf("the bot was handed %+v", got)
		}
	})
	t.Run("midcall: redirect", func(t *testing.T) {
		h := s.owned(two, one, tenantOf(0))
		body := sample(t, established, h.Call)
		a := s.post(two.follow(h.CallbackURI), s.token(tenantOf(0)), body)
		if a.status != http.StatusFound || !strings.HasPrefix(a.location(), "http://"+one.public+"/api/calls/") {
			t.Fatalf("a follow-up of %s at %s: %d to %q", one.name, two.name, a.status, a.location())
		}
		if a = s.post(a.location(), s.token(tenantOf(0)), body); a.status != http.StatusAccepted {
			t.Errorf("followed, it is answered with %d %s", a.status, a.body)
		}
		if got := one.seen.of(h.Call); len(got) != 2 {
			t.Errorf("the bot was handed %+v", got)
		}
	})
	t.Run("the deadline, the callback URI and the app come with the call", func(t *testing.T) {
		h := s.owned(three, three, tenantOf(2))
		if h.Deadline.IsZero() || h.App != testApp || string(h.Tenant) != tenantOf(2) || h.RawCall == "" ||
			!strings.HasPrefix(h.CallbackURI, regionURL("emea")+"/api/calls/emea/") {
			t.Errorf("the hand-over is %+v", h)
		}
		if _, ok := h.Header["Authorization"]; ok {
			t.Error("the bot got the cloud's token")
		}
	})
	t.Run("the ids of a request come back", func(t *testing.T) {
		a := s.send(http.MethodPost, one.webhook(), sample(t, incoming, newCall()), map[string]string{
			"Authorization": "Bearer " + s.token(tenantOf(0)), "Client-Request-Id": "a1b2", "Scenario-Id": "c3d4",
		})
		if a.header.Get("Client-Request-Id") != "a1b2" || a.header.Get("Scenario-Id") != "c3d4" {
			t.Errorf("the response's headers are %v", a.header)
		}
	})
	t.Run("explain says the same as the door", func(t *testing.T) { explainAgrees(t, s) })
	t.Run("a bot gets a callback URI for an outgoing call", func(t *testing.T) {
		uri, err := two.api().CallbackURI(t.Context(), testApp, "")
		must(t, err)
		id := newCall()
		if a := s.post(one.follow(uri.URI), s.token(tenantOf(0)), sample(t, established, id)); a.status != http.StatusAccepted {
			t.Errorf("the first notification of an outgoing call: %d %s", a.status, a.body)
		}
		if got := two.seen.of(id); len(got) != 1 {
			t.Errorf("the node that asked for the URI was handed %+v", got)
		}
	})
	s.oneTruth("emea")
}

// TestOutsideClient drives a node with curl, which shares no code with it.
func TestOutsideClient(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("SKIPPED: curl is not installed, so no client of somebody else's making is tried")
	}
	s := deploy(t, plan{nodes: 2, shape: func(x *seat, c *Config) {
		mixed(x, c)
		c.Public.Redirect.Status = http.StatusFound
	}})
	one, two := s.seats[0], s.seats[1]
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), curl, append([]string{"-sS", "-m", "10", "-w", "\n%{http_code} %{num_redirects} %{url_effective}"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v: %s", err, out)
		}
		return string(out)
	}
	bearer := func(tenant string) string { return "Authorization: Bearer " + s.token(tenant) }
	const asJSON = "Content-Type: application/json"
	like := []string{"-L", "--post302", "--location-trusted", "-H", asJSON}
	t.Run("reaches the owner from another node", func(t *testing.T) {
		id := newCall()
		out := run(t, append(like, "-H", bearer(tenantOf(1)), "--data-binary", sample(t, incoming, id), one.webhook())...)
		if !strings.Contains(out, "\n202 1 http://"+two.public+"/api/calls/emea/") {
			t.Errorf("curl says %q", out)
		}
		if got := two.seen.of(id); len(got) != 1 || string(got[0].Body) != sample(t, incoming, id) {
			t.Errorf("the owner's bot was handed %+v", got)
		}
	})
	t.Run("a client that makes the POST a GET is told so", func(t *testing.T) {
		out := run(t, "-L", "--location-trusted", "-H", asJSON, "-H", bearer(tenantOf(1)), "--data-binary", sample(t, incoming, newCall()), one.webhook())
		if !strings.Contains(out, "\n405 1 ") || !strings.Contains(out, "followed the redirect (302) as a GET") {
			t.Errorf("curl says %q", out)
		}
	})
	t.Run("GET is 405 and says what it is about", func(t *testing.T) {
		if out := run(t, one.webhook()); !strings.Contains(out, "\n405 0 ") || !strings.Contains(out, "Notifications come as POST.") {
			t.Errorf("curl says %q", out)
		}
	})
	t.Run("the typo header of the published sample is 401", func(t *testing.T) {
		out := run(t, "-H", asJSON, "-H", strings.Replace(bearer(tenantOf(0)), "Authorization", "Authentication", 1), "--data-binary", sample(t, incoming, newCall()), one.webhook())
		if !strings.Contains(out, "\n401 0 ") {
			t.Errorf("curl says %q", out)
		}
	})
	t.Run("the malformed body of the published page is 400", func(t *testing.T) {
		out := run(t, "-H", asJSON, "-H", bearer(tenantOf(0)), "--data-binary", sample(t, "malformed-notification.txt", newCall()), one.webhook())
		if !strings.Contains(out, "\n400 0 ") {
			t.Errorf("curl says %q", out)
		}
	})
	t.Run("a legacy notification is an empty 204", func(t *testing.T) {
		for _, name := range []string{"legacy-teams-incoming-2020.json", "legacy-skype-incoming.json"} {
			if out := run(t, "-H", asJSON, "-H", bearer(tenantOf(0)), "--data-binary", sample(t, name, newCall()), one.webhook()); !strings.HasPrefix(out, "\n204 0 ") {
				t.Errorf("%s: curl says %q", name, out)
			}
		}
	})
	t.Run("a forged callback URI is 404, a true one 202", func(t *testing.T) {
		h := s.owned(one, one, tenantOf(0))
		u, err := url.Parse(h.CallbackURI)
		must(t, err)
		signed := u.Query().Get("s")
		at := "http://" + two.public
		for name, target := range map[string]string{
			"another partition": strings.Replace(u.Path, "/emea/", "/emea/9", 1) + "?s=" + signed,
			"another signature": u.Path + "?s=" + signed[:len(signed)-4] + "AAAA",
			"no signature":      u.Path,
		} {
			if out := run(t, "-H", asJSON, "-H", bearer(tenantOf(0)), "--data-binary", sample(t, established, h.Call), at+target); !strings.Contains(out, "\n404 0 ") {
				t.Errorf("%s: curl says %q", name, out)
			}
		}
		if out := run(t, append(like, "-H", bearer(tenantOf(0)), "--data-binary", sample(t, established, h.Call), two.follow(h.CallbackURI))...); !strings.Contains(out, "\n202 ") {
			t.Errorf("the true one: curl says %q", out)
		}
	})
}
