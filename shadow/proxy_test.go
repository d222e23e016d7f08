package shadow

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"testing"

	"tandem/graph"
	"tandem/token"
)

// TestARequestPassesAsItCame: method, target, Host, headers, body and trailers arrive as they
// were sent, and the response as it was answered; hop-by-hop headers end here.
func TestARequestPassesAsItCame(t *testing.T) {
	type arrived struct {
		method, target, host, body string
		header, trailer            http.Header
		length                     int64
	}
	got := make(chan arrived, 1)
	_, s := front(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- arrived{r.Method, r.RequestURI, r.Host, string(body), r.Header.Clone(), r.Trailer.Clone(), r.ContentLength}
		h := w.Header()
		h["Content-Type"], h["Date"] = nil, nil // none is sent
		h.Set("Trailer", "X-Sum")
		h.Add("X-Two", "1")
		h.Add("X-Two", "2")
		h.Set("Keep-Alive", "timeout=5")
		w.WriteHeader(418)
		_, _ = io.WriteString(w, "<html>no type was told")
		h.Set("X-Sum", "7")
	})
	r := request(t, "REPORT", s.URL+"/a%2Fb//c;d?x=%zz&&y=1;z", io.MultiReader(strings.NewReader("half"), strings.NewReader("+half")),
		"X-Forwarded-For", "10.1.1.1", "Forwarded", "for=10.1.1.1", "X-Odd", "\ttabs and  spaces ", "X-Odd", "", "Te", "trailers",
		"Connection", "X-Hop", "X-Hop", "gone", "Proxy-Authorization", "gone", "Accept-Encoding", "identity")
	r.Host, r.Trailer = "bot.contoso.com", http.Header{"X-Check": {"abc"}}
	r.Header["User-Agent"] = nil
	resp, text := do(t, r)
	a := <-got
	if a.method != "REPORT" || a.target != "/a%2Fb//c;d?x=%zz&&y=1;z" || a.host != "bot.contoso.com" || a.body != "half+half" || a.length != -1 || a.trailer.Get("X-Check") != "abc" {
		t.Errorf("arrived as %+v", a)
	}
	want := http.Header{"X-Forwarded-For": {"10.1.1.1"}, "Forwarded": {"for=10.1.1.1"}, "X-Odd": {"tabs and  spaces", ""}, "Te": {"trailers"}, "Accept-Encoding": {"identity"}}
	if fmt.Sprint(a.header) != fmt.Sprint(want) {
		t.Errorf("headers arrived as\n%v, wanted\n%v", a.header, want)
	}
	if resp.StatusCode != 418 || text != "<html>no type was told" || resp.Trailer.Get("X-Sum") != "7" || fmt.Sprint(resp.Header["X-Two"]) != "[1 2]" || resp.ContentLength != -1 {
		t.Errorf("answered with %d %q, %v, trailer %v", resp.StatusCode, text, resp.Header, resp.Trailer)
	}
	for _, name := range []string{"Content-Type", "Date", "Keep-Alive"} {
		if v, ok := resp.Header[name]; ok {
			t.Errorf("%s: %q came from nowhere", name, v)
		}
	}
}

// TestWhatIsAskedForIsChanged: only on demand.
func TestWhatIsAskedForIsChanged(t *testing.T) {
	var host, from string
	_, s := front(t, func(_ http.ResponseWriter, r *http.Request) { host, from = r.Host, r.Header.Get("X-Forwarded-For") },
		func(c *ProxyConfig) { c.Host, c.Forwarded = "inner.contoso.com", true })
	do(t, request(t, http.MethodGet, s.URL, nil, "X-Forwarded-For", "10.1.1.1"))
	if host != "inner.contoso.com" || from != "10.1.1.1, 127.0.0.1" {
		t.Errorf("Host %q, X-Forwarded-For %q", host, from)
	}
}

// FuzzTarget: whatever target a server takes arrives as it was spelled; one that begins
// with // may have a byte escaped that no URL may have, and says the same.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{"/", "/api/calls", "/a%2fb", `/a"b`, "/%41", "/a b", "//x/y", "/?", "/??", "/a?b=%zz;c", "/a#b", "*", "/ü", `//"`} {
		f.Add(seed)
	}
	got := make(chan string, 1)
	behind := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.RequestURI }))
	defer behind.Close()
	to, _ := url.Parse(behind.URL)
	p, err := NewProxy(ProxyConfig{Upstreams: []Upstream{{URL: to}}, Tokens: believing{}})
	if err != nil {
		f.Fatal(err)
	}
	defer p.Close()
	f.Fuzz(func(t *testing.T, target string) {
		raw := "GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n"
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil || r.RequestURI != target || !strings.HasPrefix(target, "/") && target != "*" {
			t.Skip()
		}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r.WithContext(t.Context()))
		select {
		case seen := <-got:
			if seen != target && !(strings.HasPrefix(target, "//") && sameTarget(seen, target)) {
				t.Errorf("%q arrived as %q", target, seen)
			}
		default: // the transport does not write it, or the server does not read it
			if w.Code == http.StatusOK {
				t.Errorf("%q did not arrive, and got %d", target, w.Code)
			}
		}
	})
}

// sameTarget: the same path and the same query, whichever bytes of the path are escaped.
func sameTarget(a, b string) bool {
	u, err := url.ParseRequestURI(a)
	v, errV := url.ParseRequestURI(b)
	return err == nil && errV == nil && u.Path == v.Path && u.RawQuery == v.RawQuery
}

// FuzzReadUpstream: what is taken can be passed on to.
func FuzzReadUpstream(f *testing.F) {
	for _, seed := range []string{"http://a", "a=http://b:1", "=http://b", "https://a/", "http://u:p@a", "http://a?x=1", "a=b=http://c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ReadUpstream(text)
		if err == nil && (u.URL.Host == "" || len(u.Name) > mostNameBytes || !strings.HasPrefix(text, u.Name)) {
			t.Errorf("%q was taken as %+v", text, u)
		}
	})
}

// TestReadSource: what --instance may say.
func TestReadSource(t *testing.T) {
	for text, want := range map[string]Source{"": {}, "location": {kind: byLocation}, "header:X-Served-By": {byHeader, "X-Served-By"}, "cookie:ARRAffinity": {byCookie, "ARRAffinity"}} {
		if got, err := ReadSource(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"header", "header:", "cookie:a b", "location:x", "X-Served-By"} {
		if _, err := ReadSource(text); err == nil || !strings.Contains(err.Error(), "write header:NAME") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestTheSourceTellsTheInstance: by what a response names it.
func TestTheSourceTellsTheInstance(t *testing.T) {
	for _, c := range []struct {
		source Source
		status int
		header http.Header
		want   string
	}{
		{Source{}, 202, nil, "up"},
		{Source{byHeader, "x-served-by"}, 202, http.Header{"X-Served-By": {"10.0.0.1:80"}}, "10.0.0.1:80"},
		{Source{byHeader, "X-Served-By"}, 202, http.Header{"X-Served-By": {"10.0.0.1:80, 10.0.0.2:80"}}, "10.0.0.2:80"},
		{Source{byHeader, "X-Served-By"}, 202, http.Header{"X-Served-By": {"a", "b"}}, ""},
		{Source{byHeader, "X-Served-By"}, 202, http.Header{"X-Served-By": {"a\x1b[31m"}}, ""},
		{Source{byHeader, "X-Served-By"}, 202, http.Header{"X-Served-By": {strings.Repeat("a", 200)}}, ""},
		{Source{byHeader, "X-Served-By"}, 302, http.Header{"X-Served-By": {"who redirects"}}, ""},
		{Source{byCookie, "ARRAffinity"}, 202, http.Header{"Set-Cookie": {"x=1", "ARRAffinity=8f; Path=/; HttpOnly"}}, "8f"},
		{Source{kind: byLocation}, 302, http.Header{"Location": {"https://bot7.contoso.com/x"}}, "bot7.contoso.com"},
		{Source{kind: byLocation}, 202, http.Header{"Location": {"https://bot7.contoso.com/x"}}, ""},
		{Source{kind: byLocation}, 302, http.Header{"Location": {"/x"}}, ""},
	} {
		if got := c.source.of("up", &http.Response{StatusCode: c.status, Header: c.header}); got != c.want {
			t.Errorf("%+v of %d %v: %q, wanted %q", c.source, c.status, c.header, got, c.want)
		}
	}
}

// TestSeveralUpstreamsTakeTurns, and each is an instance by its name.
func TestSeveralUpstreamsTakeTurns(t *testing.T) {
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) }))
	defer behind.Close()
	p, s := before(t, behind.URL, func(c *ProxyConfig) {
		u := c.Upstreams[0].URL
		c.Upstreams, c.Instance = []Upstream{{Name: "a", URL: u}, {Name: "b", URL: u}}, Source{}
	})
	post(t, s.URL, incoming("c1"))
	post(t, s.URL, update("c1"))
	until(t, "both are judged", func() bool { return p.Report().Exchanges == 2 })
	want := map[string]Instance{"a": {Calls: 1}, "b": {Later: 1, Strange: 1}}
	if r := p.Report(); !maps.Equal(r.Instances, want) || r.Misrouted != 1 {
		t.Errorf("%+v, %d misrouted", r.Instances, r.Misrouted)
	}
}

// TestUpgradesAndEarlyWordsPass: a WebSocket's bytes in both directions, and 103.
func TestUpgradesAndEarlyWordsPass(t *testing.T) {
	_, s := front(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w.Header().Set("Link", "</x>")
			w.WriteHeader(http.StatusEarlyHints)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+"\r\n\r\n")
		line, _ := buffered.ReadString('\n')
		_, _ = io.WriteString(conn, "heard "+line)
	})
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("upgrading: %+v, %v", resp, err)
	}
	_ = resp.Body.Close()
	fmt.Fprint(conn, "hello\n")
	if line, err := in.ReadString('\n'); line != "heard hello\n" {
		t.Errorf("%q, %v", line, err)
	}
	hints := 0
	r := request(t, http.MethodGet, s.URL, nil)
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		if code == http.StatusEarlyHints && h.Get("Link") == "</x>" {
			hints++
		}
		return nil
	}}))
	if do(t, r); hints != 1 {
		t.Errorf("%d early hints passed", hints)
	}
}

// TestBodiesStreamAndBigOnesPass: a response is passed on as it comes, and 10 MB each way
// arrive byte for byte, and are not held.
func TestBodiesStreamAndBigOnesPass(t *testing.T) {
	more := make(chan bool)
	p, s := front(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, "one")
			_ = http.NewResponseController(w).Flush()
			<-more
			_, _ = io.WriteString(w, "two")
			return
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	resp, err := http.DefaultTransport.RoundTrip(request(t, http.MethodGet, s.URL, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 3)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "one" {
		t.Fatalf("%q, %v", first, err)
	}
	close(more)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "two" {
		t.Errorf("%q, %v", rest, err)
	}
	big := make([]byte, 10<<20)
	_, _ = rand.Read(big)
	_, text := do(t, request(t, http.MethodPost, s.URL+"/api/calls", bytes.NewReader(big), "Authorization", "Bearer good"))
	if sha256.Sum256([]byte(text)) != sha256.Sum256(big) {
		t.Error("10 MB came back changed")
	}
	until(t, "it is judged", func() bool { r := p.Report(); return r.Tandem.Refused["body_too_large"] == 1 })
	until(t, "nothing is held", func() bool { return p.witness.held.Load() == 0 })
}

// TestHTTP2OnBothSides: over TLS both ends speak it.
func TestHTTP2OnBothSides(t *testing.T) {
	behind := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprint(w, r.Proto, " ", r.RequestURI, " ", string(body))
	}))
	behind.EnableHTTP2 = true
	behind.StartTLS()
	defer behind.Close()
	pool := x509.NewCertPool()
	pool.AddCert(behind.Certificate())
	p, _ := before(t, behind.URL, func(c *ProxyConfig) { c.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12} })
	s := httptest.NewUnstartedServer(p)
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	r := request(t, http.MethodPost, s.URL+`/a"b?c`, strings.NewReader("body"))
	r.URL.Opaque = `/a"b`
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.ProtoMajor != 2 || string(text) != `HTTP/2.0 /a"b?c body` {
		t.Errorf("%s: %s", resp.Proto, text)
	}
}

// TestRulesAreAsked once for each new call, with what they go by.
func TestRulesAreAsked(t *testing.T) {
	p, s := front(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(202)
	}, func(c *ProxyConfig) {
		c.Home = func(who token.Claims, h http.Header, about *graph.Call) string {
			return who.Tenant + "/" + h.Get("X-Microsoft-Skype-Caller-Region") + "/" + about.Direction
		}
	})
	for _, body := range []string{incoming("c1"), incoming("c1"), update("c1"), incoming("c2")} {
		post(t, s.URL, body, "X-Microsoft-Skype-Caller-Region", "emea")
	}
	until(t, "all are judged", func() bool { return p.Report().Exchanges == 4 })
	if got, want := p.Report().Tandem.Homes, (map[string]int{"t1/emea/incoming": 2}); !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
