package admin

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/admin/console"
)

// dial opens a connection to the door that no HTTP client cleans up after.
func (r *room) dial() net.Conn {
	r.t.Helper()
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(r.url, "http://"), 5*time.Second)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// What is left of a body that was refused must not be taken for a request: it
// would be the body's author who asks, on a connection that a proxy may share.
func TestRefusedBodyIsNotARequest(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	c := r.dial()
	defer c.Close()
	go func() { // the door stops reading somewhere in the middle
		fmt.Fprintf(c, "POST /v1/partitions/1/move HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", 3<<20)
		for range 3 << 10 {
			if _, err := fmt.Fprintf(c, "%-1023s\n", "GET /v1/leave"); err != nil {
				return
			}
		}
	}()
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("answered %d", res.StatusCode)
	}
	if _, err := res.Body.Read(make([]byte, 4096)); err != nil && res.ContentLength > 4096 {
		t.Fatal(err)
	}
	res.Body.Close()
	if second, err := http.ReadResponse(in, nil); err == nil {
		t.Errorf("the rest of the body was answered, too: %s", second.Status)
		second.Body.Close()
	}
}

func TestHeaderLimit(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	c := r.dial()
	defer c.Close()
	fmt.Fprintf(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Big: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("64 KiB of headers are answered %d", res.StatusCode)
	}
}

func TestServerLimits(t *testing.T) {
	t.Parallel()
	s := NewServer(openRoom(t).door)
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 {
		t.Errorf("a limit is missing: %+v", s)
	}
}

// TestD13_B105_ACrowdShutsNobodyOut: a thousand idle connections from the operator's
// own address, and a follower of events stays where he is.
func TestD13_B105_ACrowdShutsNobodyOut(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	at := strings.TrimPrefix(r.url, "http://")
	dial := func() net.Conn {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		return c
	}
	follower := dial()
	if _, err := io.WriteString(follower, "GET /v1/events HTTP/1.1\r\nHost: x\r\n"+as(api.RoleRead)+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	told := make([]byte, 4096)
	if n, err := follower.Read(told); err != nil || !strings.HasPrefix(string(told[:n]), "HTTP/1.1 200") {
		t.Fatalf("the follower gets %q, %v", told[:n], err)
	}
	var crowd []net.Conn
	for range 300 {
		crowd = append(crowd, dial())
	}
	for range 3 {
		probe := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
		resp, err := probe.Get(r.url + "/readyz")
		if err != nil {
			t.Fatalf("a probe beside %d idle connections: %v", len(crowd), err)
		}
		_ = resp.Body.Close()
	}
	if _, err := crowd[0].Read(told); err == nil || isTimeout(err) {
		t.Errorf("the connection idle longest: %v", err)
	}
	_ = follower.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := follower.Read(told); err != nil && !isTimeout(err) {
		t.Errorf("the follower was cut off: %v", err)
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func TestB107_PathsDoNotLead(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	for _, path := range []string{
		"/console/static/../../etc/passwd", "/console/static/..%2f..%2f..%2fetc%2fpasswd", "/console/static/%2e%2e/console.go",
		"/console/static/", "/debug/pprof/../../etc/passwd", "/v1/snapshot/../../etc/passwd", "//evil.example/v1/nodes", "/v1/nodes/",
		"/console/pages/frame.html", "/v1/calls/%00", "/console/calls/..%2f..%2fetc",
	} {
		a := r.ask("GET", path, "")
		if a.StatusCode < 400 {
			t.Errorf("B107 %s: answered %d %s", path, a.StatusCode, a.Header.Get("Location"))
		}
		if strings.Contains(a.text, "root:") || strings.Contains(a.text, "package ") || strings.Contains(a.text, "{{") {
			t.Errorf("B107 %s: shows a file", path)
		}
	}
}

// TestD14_OtherSitesReadNothing: a page of another site starts no snapshot, no
// profile and no read on a door without tokens; a link to the console is no harm.
func TestD14_OtherSitesReadNothing(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	for _, path := range []string{"/v1/snapshot", "/v1/status", "/v1/events?follow=false", "/metrics", "/debug/pprof/heap", "/console/"} {
		r.ask("GET", path, "", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors").want(t, 403)
		r.ask("GET", path, "", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors").want(t, 403)
		r.ask("GET", path, "", "Origin: https://evil.example").want(t, 403)
	}
	r.ask("GET", "/v1/snapshot", "", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate").want(t, 403)
	r.ask("GET", "/console/", "", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate").want(t, 200)
	r.ask("GET", "/v1/snapshot", "").want(t, 200)
	r.ask("GET", "/v1/status", "", "Sec-Fetch-Site: same-origin").want(t, 200)
	r.ask("GET", "/v1/status", "", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate").want(t, 200)
}

// TestD14_SessionsAreBounded: the oldest login gives way, and each ends by itself.
func TestD14_SessionsAreBounded(t *testing.T) {
	t.Parallel()
	now := start
	s := newSessions(func() time.Time { return now })
	first := s.begin(visitor{Whoami: api.Whoami{Name: "first"}})
	for range sessionsMax {
		now = now.Add(time.Second)
		s.begin(visitor{})
	}
	if _, ok := s.find(first); ok || len(s.all) != sessionsMax {
		t.Errorf("the oldest of %d logins is there: %v", len(s.all), ok)
	}
	last := s.begin(visitor{Whoami: api.Whoami{Name: "last"}})
	if who, ok := s.find(last); !ok || who.Name != "last" {
		t.Error("a new login is not found")
	}
	now = now.Add(console.SessionLife)
	if _, ok := s.find(last); ok {
		t.Error("a login lasts for ever")
	}
	if s.begin(visitor{}); len(s.all) != 1 {
		t.Errorf("%d logins are kept after their end", len(s.all))
	}
}
