package node

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"tandem/admin"
)

// raw sends bytes to a door and gives all that comes back.
func raw(t *testing.T, addr, text string) string {
	t.Helper()
	c := dial(t, addr)
	defer c.Close()
	_, err := io.WriteString(c, text)
	must(t, err)
	out, err := io.ReadAll(c)
	must(t, err)
	return string(out)
}

// statusLine is the status of a raw response; 0 where there is none.
func statusLine(out string) int {
	var status int
	_, _ = fmt.Sscanf(out, "HTTP/1.1 %d", &status) // else it stays 0
	return status
}

// TestB108_NothingButTheWebhookOnThePublicListener: of everything that the admin
// door and the runtime serve, the public listener knows nothing, whatever the
// method and whoever asks.
func TestB108_NothingButTheWebhookOnThePublicListener(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, shape: inProcess})
	x := s.seats[0]
	paths := []string{
		"/", "/metrics", "/livez", "/readyz", "/health", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars",
		"/v1/status", "/v1/nodes", "/v1/calls", "/v1/openapi.json", "/v1/tokens", "/v1/snapshot", "/v1/explain", "/console/", "/console",
		"/api", "/api/calls/", "/api/calls/metrics", "/api/calls/emea", "/tandem.peer.v1.Peer/Relay", "/favicon.ico",
	}
	var doc struct {
		Paths map[string]any `json:"paths"`
	}
	body := s.send(http.MethodGet, "http://"+x.admin+"/v1/openapi.json", "", nil).body
	must(t, json.Unmarshal([]byte(body), &doc))
	if len(doc.Paths) < 20 {
		t.Fatalf("the admin door describes %d paths", len(doc.Paths))
	}
	for path := range doc.Paths {
		paths = append(paths, strings.NewReplacer("{", "", "}", "").Replace(path))
	}
	token := s.token(testTenant)
	for _, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			a := s.send(method, x.base()+path, "{}", map[string]string{"Authorization": "Bearer " + token})
			if a.status != http.StatusNotFound {
				t.Errorf("%s %s is answered with %d %.80s", method, path, a.status, a.body)
			}
		}
	}
}

// TestLocationsComeFromTheConfiguration: whatever a request says of
// its own address, a redirect leads to the configured bases, on the raw bytes.
func TestLocationsComeFromTheConfiguration(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 2, shape: func(x *seat, c *Config) {
		mixed(x, c)
		c.Public.Redirect.Status = http.StatusFound
	}})
	one, two := s.seats[0], s.seats[1]
	token := s.token(tenantOf(1))
	request := func(target, name string, more ...string) string {
		body := sample(t, incoming, newCall())
		lines := append([]string{
			"POST " + target + " HTTP/1.1", "Host: " + name, "Connection: close", "Authorization: Bearer " + token,
			"Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body)),
		}, more...)
		return raw(t, one.public, strings.Join(lines, "\r\n")+"\r\n\r\n"+body)
	}
	base := "http://" + two.public + "/api/calls/emea/"
	// A node that the first has not met yet is relayed to, not redirected to.
	eventually(t, "a redirect to the other node", func() error {
		status := statusLine(request("/api/calls", one.public))
		return not(status == http.StatusFound, "%d", status)
	})
	for name, out := range map[string]string{
		"B95 Host":                request("/api/calls", "evil.example"),
		"B95 X-Forwarded-Host":    request("/api/calls", one.public, "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: javascript"),
		"B95 Forwarded":           request("/api/calls", one.public, "Forwarded: host=evil.example;proto=http"),
		"B95 X-Original-URL":      request("/api/calls", one.public, "X-Original-URL: /evil", "X-Rewrite-URL: /evil"),
		"B97 odd name":            request("/api/calls", `evil.example\@x`, "X-Forwarded-Prefix: //evil.example"),
		"B97 odd ids":             request("/api/calls", one.public, "Client-Request-Id: \\\\evil.example//@x", "Scenario-Id: a b"),
		"B97 a query of its own":  request("/api/calls?next=//evil.example", one.public),
		"B96 the absolute target": request("http://evil.example/api/calls", "evil.example"),
	} {
		t.Run(name, func(t *testing.T) {
			status := statusLine(out)
			head, _, _ := strings.Cut(out, "\r\n\r\n")
			locations := strings.Count(strings.ToLower(head), "\r\nlocation:")
			switch {
			case status == http.StatusFound && locations == 1 && strings.Contains(head, "\r\nLocation: "+base):
			case status >= 400 && locations == 0:
			default:
				t.Errorf("the response is %q", head)
			}
			for line := range strings.SplitSeq(head, "\r\n") {
				if name, v, _ := strings.Cut(line, ":"); strings.EqualFold(name, "location") && strings.Contains(v, "evil") {
					t.Errorf("the redirect is %q", line)
				}
			}
		})
	}
	for _, target := range []string{
		"http://evil.example/api/calls/", "//evil.example/api/calls", "/api/calls/", "//api/calls", "/./api/calls", "/API/calls",
		"/api/calls/..", `/\evil.example`, "/api/calls%0d%0aLocation:%20http://evil.example", "/api//calls",
	} {
		t.Run("B96 B97 "+target, func(t *testing.T) {
			out := request(target, "evil.example")
			if status := statusLine(out); status != http.StatusNotFound && status != http.StatusBadRequest {
				t.Errorf("it is answered with %d", status)
			}
			if strings.Contains(strings.ToLower(out), "\r\nlocation:") {
				t.Errorf("it is redirected: %q", out)
			}
		})
	}
}

// TestB100_TheAdminDoorWantsItsOwnTokens, on the real listener.
func TestB100_TheAdminDoorWantsItsOwnTokens(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, shape: func(x *seat, c *Config) {
		inProcess(x, c)
		text := ""
		for _, role := range []string{"read", "operate", "bot", "join"} {
			text += "  - {name: " + role + ", roles: [" + role + "], sha256: " + admin.HashToken("the-"+role) + "}\n"
		}
		must(x.s.t, os.WriteFile(x.s.path("roles.yaml"), []byte("tokens:\n"+text), 0o600))
		c.Admin.TokensFile = x.s.path("roles.yaml")
	}})
	x := s.seats[0]
	bearer := func(token string) map[string]string { return map[string]string{"Authorization": "Bearer " + token} }
	at := "http://" + x.admin
	for _, c := range []struct {
		name, method, path, body string
		header                   map[string]string
		want                     int
	}{
		{"no token", "GET", "/v1/status", "", nil, 401},
		{"no token for metrics", "GET", "/metrics", "", nil, 401},
		{"no token for profiles", "GET", "/debug/pprof/heap", "", nil, 401},
		{"a wrong token", "GET", "/v1/status", "", bearer("the-wrong"), 401},
		{"the webhook's token", "GET", "/v1/status", "", bearer(s.token(testTenant)), 401},
		{"Basic", "GET", "/v1/status", "", map[string]string{"Authorization": "Basic dGhlLXJlYWQ6"}, 401},
		{"in the query", "GET", "/v1/status?access_token=the-read", "", nil, 401},
		{"read may read", "GET", "/v1/status", "", bearer("the-read"), 200},
		{"read may not change", "PUT", "/v1/nodes/emea-1/drain", "{}", bearer("the-read"), 403},
		{"bot may not read", "GET", "/v1/calls", "", bearer("the-bot"), 403},
		{"join may not drain", "PUT", "/v1/nodes/emea-1/drain", "{}", bearer("the-join"), 403},
		{"operate may read", "GET", "/v1/calls", "", bearer("the-operate"), 200},
		{"operate is no bot", "POST", "/v1/callback-uris", `{"app":"` + testApp + `"}`, bearer("the-operate"), 403},
		{"bot gets a URI", "POST", "/v1/callback-uris", `{"app":"` + testApp + `"}`, bearer("the-bot"), 200},
		{"anybody may ask for life", "GET", "/livez", "", nil, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.send(c.method, at+c.path, c.body, c.header)
			if a.status != c.want && !(c.want == 200 && a.status == 201) {
				t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
			}
			if a.status == 401 && a.header.Get("WWW-Authenticate") == "" {
				t.Error("a 401 without WWW-Authenticate")
			}
		})
	}
	t.Run("guessing is slowed down", func(t *testing.T) {
		limited := false
		for i := range 40 {
			limited = limited || s.send("GET", at+"/v1/status", "", bearer(fmt.Sprintf("guess-%d", i))).status == http.StatusTooManyRequests
		}
		if !limited {
			t.Error("40 guesses were all looked at")
		}
		if a := s.post(x.webhook(), s.token(testTenant), sample(t, incoming, newCall())); a.status != http.StatusAccepted {
			t.Errorf("meanwhile the public door answers %d", a.status)
		}
	})
}

// TestB105_IdleConnectionsAreCapped: a crowd of idle connections from one
// address fills its share of the admin and of the cluster port, and no more.
func TestB105_IdleConnectionsAreCapped(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, shape: func(x *seat, c *Config) {
		inProcess(x, c)
		c.Public.Connections = 40
	}})
	x := s.seats[0]
	crowd := func(addr string, n int) (all []net.Conn) {
		for range n {
			all = append(all, dial(t, addr))
		}
		return all
	}
	// open counts the connections that the other side has not closed.
	open := func(all []net.Conn) int {
		n := 0
		for _, c := range all {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := bufio.NewReader(c).ReadByte(); err != nil && os.IsTimeout(err) {
				n++
			}
		}
		return n
	}
	leave := func(all []net.Conn) {
		for _, c := range all {
			_ = c.Close()
		}
	}
	// A silent connection ends by itself after 5 s; what is closed sooner fell to
	// the cap. A machine that stands still for so long gets another chance.
	cut := func(addr string) bool {
		begun := time.Now()
		all := crowd(addr, 300)
		defer leave(all)
		eventually(t, "the crowd cut to its cap", func() error {
			n := open(all)
			return not(n <= 128, "%d of 300 are open", n)
		})
		return time.Since(begun) < 4500*time.Millisecond
	}
	for name, addr := range map[string]string{"admin": x.admin, "cluster": x.cluster} {
		if !cut(addr) && !cut(addr) && !cut(addr) { //nolint:staticcheck // three chances
			t.Errorf("the %s door closes idle connections by its time-out only, not by its cap", name)
		}
	}
	eventually(t, "the admin door open to others again", func() error { return x.api().Live(t.Context()) })

	// At the public door those above the cap push out one another, and nobody else.
	all := crowd(x.public, 60)
	eventually(t, "the crowd cut to its cap", func() error {
		n := open(all)
		return not(n <= 40, "%d of 60 are open", n)
	})
	if a := s.post(x.webhook(), s.token(testTenant), sample(t, incoming, newCall())); a.status != http.StatusAccepted {
		t.Errorf("beside a crowd the public door answers %d", a.status)
	}
	leave(all)
}

// TestB111_SecretsThatEverybodyMayRead: the handle keys are refused, the others
// are named at the admin door and in the log.
func TestB111_SecretsThatEverybodyMayRead(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, secure: true, https: true})
	x := s.seats[0]
	if w := strings.Join(x.status().Warnings, "\n"); strings.Contains(w, "chmod") {
		t.Errorf("without a reason it warns: %s", w)
	}
	c := x.config()
	x.stop()
	loose := []string{c.Public.TLS.KeyFile, c.Cluster.TLS.KeyFile, c.Apps[0].Graph.ClientSecretFile}
	for _, file := range loose {
		must(t, os.Chmod(file, 0o644))
	}
	x.start()
	s.ready(x)
	told := strings.Join(x.status().Warnings, "\n")
	for _, key := range []string{"public.tls.key_file", "cluster.tls.key_file", "apps[0].graph.client_secret_file"} {
		if !strings.Contains(told, key) || !strings.Contains(s.log.all(), key) {
			t.Errorf("nobody is told of %s: %s", key, told)
		}
	}
	x.stop()
	must(t, os.Chmod(c.HandleKeysFile, 0o644))
	c.Logger = slog.New(slog.DiscardHandler)
	if n, err := Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "handle_keys_file") {
		t.Errorf("it starts with handle keys that everybody may read: %v", err)
		if n != nil {
			_ = n.Stop(t.Context())
		}
	}
}
