package webhook

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
	"tandem/policy"
	"tandem/spelling"
)

// TestForgedHandles is B89 and B92: 404, never a redirect, and nothing happens.
func TestForgedHandles(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{config: func(c *Config) { c.Midcall = MidcallRedirect }})
	nd := r.nodes["emea-1"]
	r.knows("c1", 2, ownership.CallAnswered)
	good := nd.uri(2, 1, "c1")
	path, sig, _ := strings.Cut(good, "?s=")
	foreign, err := NewHandles([]Key{{ID: "k1", Secret: secret(99)}})
	if err != nil {
		t.Fatal(err)
	}
	for name, uri := range map[string]string{
		"B89 partition":            strings.Replace(good, "/2/1/", "/1/1/", 1),
		"B89 region":               strings.Replace(good, "/emea/", "/amer/", 1),
		"B89 epoch":                strings.Replace(good, "/2/1/", "/2/2/", 1),
		"B89 call":                 strings.Replace(good, "/c1?", "/c2?", 1),
		"B89 another secret":       foreign.CallbackURI(nd.url+hookPath, Handle{Region: "emea", Partition: 2, Epoch: 1, Ref: "c1"}),
		"B89 unknown key":          path + "?s=k7" + sig[2:],
		"B89 truncated":            good[:len(good)-1],
		"B89 none":                 path,
		"B89 empty":                path + "?s=",
		"B89 twice":                good + "&s=" + sig,
		"B89 escaped":              path + "?s=%6b1" + sig[2:],
		"B89 upper-case parameter": path + "?S=" + sig,
		"B92 of another call":      path + "?s=" + testKeys().Sign(Handle{Region: "emea", Partition: 2, Epoch: 1, Ref: "c2"}),
	} {
		t.Run(name, func(t *testing.T) {
			for _, body := range []string{update("c1"), update("c2"), incoming("c1"), legacyBody} {
				if a := post(t, uri, body); a.status != 404 || a.code(t) != "not_found" || a.location() != "" {
					t.Errorf("%+v", a)
				}
			}
		})
	}
	t.Run("B92 body of another call", func(t *testing.T) {
		if a := post(t, good, update("c2")); a.status != 404 {
			t.Errorf("%+v", a)
		}
	})
	t.Run("without a token it is 401", func(t *testing.T) {
		if a := post(t, path+"?s=k1.x", update("c1"), header("Authorization")); a.status != 401 {
			t.Errorf("%+v", a)
		}
	})
	r.untouched(t)
}

// TestEpochs is B90 and B91.
func TestEpochs(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	r.knows("c1", 1, ownership.CallAnswered)
	t.Run("B90 older epoch", func(t *testing.T) {
		r.moves(1, "emea-2")
		if a := post(t, one.uri(1, 1, "c1"), update("c1")); a.status != 202 || len(two.handed()) != 1 || len(one.relayed()) != 1 {
			t.Errorf("%+v", a)
		}
	})
	t.Run("B91 epoch from the future", func(t *testing.T) {
		a := post(t, one.uri(1, 9, "c1"), update("c1"))
		if a.status != 503 || a.code(t) != "future_epoch" || a.header.Get("Retry-After") == "" {
			t.Errorf("%+v", a)
		}
		if one.counter(t, "tandem_webhook_future_epochs_total", "") != 1 || !strings.Contains(one.log.String(), "rolled back") {
			t.Error("no alarm")
		}
	})
	t.Run("B91 partition that the table has not borne", func(t *testing.T) {
		if a := post(t, one.uri(77, 1, "c9"), update("c9")); a.status != 503 || a.code(t) != "future_epoch" {
			t.Errorf("%+v", a)
		}
		if one.counter(t, "tandem_webhook_future_epochs_total", "") != 2 {
			t.Error("no alarm")
		}
	})
	t.Run("a retired partition's ended call is no alarm", func(t *testing.T) {
		r.mu.Lock()
		r.calls["c8"] = ownership.Known{App: ourApp, Partition: 88, Epoch: 1, State: ownership.CallEnded}
		r.mu.Unlock()
		if a := post(t, one.uri(88, 1, "c8"), update("c8")); a.status != 202 {
			t.Errorf("%+v", a)
		}
		if one.counter(t, "tandem_webhook_future_epochs_total", "") != 2 {
			t.Error("an alarm")
		}
	})
	if len(one.handed()) != 0 || len(two.handed()) != 1 || len(r.claimed()) != 0 {
		t.Error("something was handled")
	}
}

// TestUncleanPaths is B93, B94 and B96, by raw bytes.
func TestUncleanPaths(t *testing.T) {
	nd := oneNode(t, setup{})
	body := update("c1")
	headers := good + fmt.Sprintf("Content-Length: %d\r\n", len(body))
	sig := strings.Split(nd.uri(1, 1, "c1"), "?s=")[1]
	for _, target := range []string{
		"/api/calls/emea/../1/c1", "/api/calls/emea/%2e%2e/1/c1", "/api/calls/emea/%00/1/c1", "/api/calls/emea/%0d%0a/1/c1",
		"/api/calls/emea/" + strings.Repeat("1", 300) + "/1/c1", "/api/calls/emea/\xd9\xa1/1/c1", "/api/calls/emea/%D9%A1/1/c1",
		"/api/calls/emea/1/1/%6331", "/api/calls/emea/1/1/c1/", "/api/calls/emea/1/1/c1/x", "/api/calls/emea/1/1", "/api/calls/emea/1",
		"/api/calls/emea//1/c1", "/api/calls/%65mea/1/1/c1",
		"/api/calls/", "//api/calls", "/API/calls", "/./api/calls", "/api/./calls", "/api//calls", "/api/calls/.", "/api/calls/..", "/api/x/../calls",
		"/api%2fcalls", "/api/calls;x", "/api/calls%00", "/", "/api", "/api/callsx", "/metrics", "/debug/pprof/", "/livez", "/v1/nodes",
	} {
		number := "B94"
		if strings.Contains(target, "emea") {
			number = "B93"
		}
		t.Run(number+" "+target[:min(len(target), 40)], func(t *testing.T) {
			q := ""
			if number == "B93" {
				q = "?s=" + sig
			}
			out := nd.raw(t, rawRequest(t, "POST "+target+q+" HTTP/1.1", headers, body))
			got := statuses(t, out)
			if len(got) != 1 || got[0] != 404 && got[0] != 400 || strings.Contains(out, "Location") {
				t.Errorf("%.300q", out)
			}
		})
	}
	for _, target := range []string{"http://evil.example/api/calls/", "http://evil.example//api/calls", "http://evil.example/api/x/../calls"} {
		t.Run("B96 "+target, func(t *testing.T) {
			out := nd.raw(t, rawRequest(t, "POST "+target+" HTTP/1.1", headers, body))
			if got := statuses(t, out); len(got) != 1 || got[0] != 404 || strings.Contains(out, "Location") {
				t.Errorf("%.300q", out)
			}
		})
	}
	nd.in.untouched(t)
	t.Run("B96 the absolute form of a good target is served", func(t *testing.T) { // RFC 9112, 3.2.2
		out := nd.raw(t, rawRequest(t, "POST http://evil.example/api/calls HTTP/1.1", headers, body))
		if got := statuses(t, out); len(got) != 1 || got[0] != 202 || strings.Contains(out, "evil") {
			t.Errorf("%.300q", out)
		}
	})
}

// TestRouterByItself: the router's own redirects are off as well, though no
// unclean path should reach it.
func TestRouterByItself(t *testing.T) {
	nd := oneNode(t, setup{})
	for _, path := range []string{"/api/calls/", "/API/calls", "//api/calls", "/api/../api/calls", "/api/calls/emea/1/1/c1/"} {
		r := newRequest(t, nd, "{}")
		r.URL.Path = path
		w := recorder()
		nd.door.router.ServeHTTP(w, r)
		if w.Code != http.StatusNotFound || w.Header().Get("Location") != "" {
			t.Errorf("B94 %s: %d, Location %q", path, w.Code, w.Header().Get("Location"))
		}
	}
}

// TestLocationIsOurs is B95 and B97: whatever the request says, Location begins
// with a configured base, and its bytes are of a small alphabet.
func TestLocationIsOurs(t *testing.T) {
	w := newWorld()
	s := setup{rules: []policy.RuleSpec{{When: `call.tenant == "t-amer"`, Region: "amer"}}, config: func(c *Config) { c.Midcall = MidcallRedirect }}
	r, amer := newRegion(t, w, "emea", 2, s), newRegion(t, w, "amer", 1, s)
	r.place = func(ownership.Claim) ownership.PartitionID { return 2 }
	one := r.nodes["emea-1"]
	spoofs := "X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example;proto=http\r\nX-Original-URL: //evil.example/\r\nX-Rewrite-URL: //evil.example\r\nX-Forwarded-Proto: evil\r\nX-Forwarded-Prefix: /evil\r\n"
	odd := `"tenantId":"x\r\nSet-Cookie: evil=1","callChainId":"\\\\evil.example//@","callbackUri":"https://evil.example/"`
	for i, c := range []struct {
		name, target, body, base string
	}{
		{"B95 to a node", hookPath, incoming("c1", odd), r.nodes["emea-2"].url},
		{"B95 to a region", hookPath, incoming("c2", `"tenantId":"T-AMER","callbackUri":"https://evil.example/"`), amer.nodes["amer-1"].url},
		{"B95 a follow-up", strings.TrimPrefix(one.uri(2, 1, "c3"), one.url), update("c3", odd), r.nodes["emea-2"].url},
		{"B97 everything evil in the query", hookPath + "?next=//evil.example&x=%0d%0aSet-Cookie:%20evil=1&@evil.example\\", incoming("c4"), r.nodes["emea-2"].url},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := fmt.Sprintf("Host: evil.example\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\nX-Microsoft-Skype-Message-ID: m%d\r\n", spoofs, len(c.body), i)
			out := nd302(t, one, "POST "+c.target+" HTTP/1.1", headers, c.body)
			if !strings.HasPrefix(out, c.base+hookPath) {
				t.Fatalf("Location is %q", out)
			}
			for _, b := range []byte(strings.TrimPrefix(out, c.base)) {
				if !spelling.IsPath("/"+string(b)+"x") && !strings.ContainsRune("/?=&", rune(b)) {
					t.Errorf("a byte %q in %q", b, out)
				}
			}
		})
	}
}

// nd302 sends raw bytes and gives the one Location, read off the raw answer.
func nd302(t *testing.T, nd *node, line, headers, body string) string {
	t.Helper()
	out := nd.raw(t, rawRequest(t, line, headers, body))
	head, _, _ := strings.Cut(out, "\r\n\r\n")
	if strings.Contains(out, "evil") || strings.Count(head, "Location: ") != 1 {
		t.Fatalf("%q", out)
	}
	_, rest, _ := strings.Cut(head, "Location: ")
	location, _, _ := strings.Cut(rest, "\r\n")
	return location
}

// TestMarksAtTheDoor is B98: a mark that is missing, forged, stale or used up
// never leads to one more redirect.
func TestMarksAtTheDoor(t *testing.T) {
	w := newWorld()
	s := setup{rules: []policy.RuleSpec{{When: "true", Region: "amer"}}}
	emea := newRegion(t, w, "emea", 2, s)
	newRegion(t, w, "amer", 1, s)
	emea.place = func(ownership.Claim) ownership.PartitionID { return 2 }
	one, two := emea.nodes["emea-1"], emea.nodes["emea-2"]
	now := time.Now()
	received := now.Add(-3 * time.Second)
	mark := func(m Mark, call ownership.CallID) string { return testKeys().Mark("emea", call, m) }
	usedUp := Mark{RegionHop: true, NodeHop: true, Received: received, Expires: now.Add(time.Minute)}
	for i, c := range []struct {
		name     string
		mark     func(call ownership.CallID) string
		status   int
		believed bool // its time is
	}{
		{"B98 none: the rules send it on", func(ownership.CallID) string { return "" }, 302, false},
		{"B98 region hop used up: only to the node", func(c ownership.CallID) string {
			return mark(Mark{RegionHop: true, Received: received, Expires: now.Add(time.Minute)}, c)
		}, 302, true},
		{"B98 both used up: relayed", func(c ownership.CallID) string { return mark(usedUp, c) }, 202, true},
		{"B98 of another call: relayed", func(ownership.CallID) string { return mark(usedUp, "other") }, 202, false},
		{"B98 expired: relayed", func(c ownership.CallID) string {
			return mark(Mark{RegionHop: true, Received: received, Expires: now.Add(-time.Second)}, c)
		}, 202, false},
		{"B98 forged: relayed", func(ownership.CallID) string { return "r.a.zzzzzzzz.k1.AAAAAAAAAAAAAAAAAAAAAA" }, 202, false},
		{"B98 junk: relayed", func(ownership.CallID) string { return "1" }, 202, false},
		{"B98 from a clock ahead of ours: relayed", func(c ownership.CallID) string {
			return mark(Mark{RegionHop: true, NodeHop: true, Received: now.Add(time.Minute), Expires: now.Add(2 * time.Minute)}, c)
		}, 202, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			call := ownership.CallID(fmt.Sprintf("m%d", i))
			to := one.url + hookPath
			if m := c.mark(call); m != "" {
				to += "?h=" + m
			}
			before := len(two.handed())
			a := post(t, to, incoming(string(call)))
			if a.status != c.status {
				t.Fatalf("%+v", a)
			}
			if a.status == 302 {
				if c.believed != strings.Contains(a.location(), "/emea/2/1/") || c.believed && !strings.Contains(a.location(), "&h=rn.") {
					t.Error(a.location())
				}
				return
			}
			got := two.handed()
			if len(got) != before+1 {
				t.Fatalf("%d hand-overs", len(got))
			}
			age := time.Since(got[before].Received)
			if c.believed != (age > 2*time.Second) || age < 0 {
				t.Errorf("received %s ago", age)
			}
		})
	}
	t.Run("B98 two of them", func(t *testing.T) {
		if a := post(t, one.url+hookPath+"?h="+mark(usedUp, "x")+"&h=1", incoming("x")); a.status != http.StatusNotFound {
			t.Errorf("%+v", a)
		}
	})
}

// TestBadBases is B99 as far as this door goes: an address of the table that no
// join should have let in does not come out in a Location.
func TestBadBases(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	for i, base := range []string{
		"http://169.254.169.254", "http://bot.example", "file:///etc/passwd", "javascript:alert(1)", "//evil.example", "https://",
		"https://user@bot.example", "https://bot.example/", "https://bot.example?x", "https://bot.example#x", "https://bot.example\r\nX: y",
		`https://bot.example\evil`, "https://bot.example /x", "https://bot.example/a/../b", "https:bot.example", "bot.example", "https://:443",
	} {
		t.Run("B99 "+base, func(t *testing.T) {
			r.mu.Lock()
			r.owners[2] = ownership.Owner{Node: "emea-2", Partition: 2, Epoch: 1, PublicURL: base}
			r.mu.Unlock()
			call := ownership.CallID(fmt.Sprintf("b%d", i))
			r.knows(call, 2, ownership.CallClaimed)
			if a := post(t, r.nodes["emea-1"].url+hookPath, incoming(string(call))); a.status != 202 || a.location() != "" {
				t.Errorf("%+v", a)
			}
		})
	}
	for _, base := range []string{"https://bot.example", "https://bot.example:8443", "https://bot.example/prefix", "http://127.0.0.1:80", "http://[::1]:80", "http://localhost:9"} {
		if err := spelling.PublicURL(base); err != nil {
			t.Error(err)
		}
	}
	if n := len(r.nodes["emea-2"].handed()); n != 17 {
		t.Errorf("%d were relayed", n)
	}
}
