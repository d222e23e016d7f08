package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
	"tandem/ownership/history"
)

func TestEventsToTheEnd(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	r.someCalls(2*eventBatch + 10)
	var ids []uint64
	err := r.client(api.RoleRead).Events(t.Context(), 0, false, func(e history.Event) error { ids = append(ids, e.ID); return nil })
	if err != nil || len(ids) != 2*eventBatch+10 || !slices.IsSorted(ids) {
		t.Errorf("%d events, %v", len(ids), err)
	}
}

func TestEventsOnTheWire(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	r.someCalls(1)
	r.fake.tell(history.Event{Kind: "odd\nid: 99\nevent: forged", Text: "two\nlines", At: start})
	a := r.ask("GET", "/v1/events?follow=false", "", as(api.RoleRead)).want(t, 200)
	want := `id: 1
event: claimed
data: {"id":1,"index":4712,"at":"2026-11-23T09:30:00Z","kind":"claimed","call":"c00","partition":1,"node":"emea-1","epoch":1,"text":"placed on emea-1"}

id: 2
event: odd id: 99 event: forged
data: {"id":2,"index":4713,"at":"2026-11-23T09:30:00Z","kind":"odd\nid: 99\nevent: forged","text":"two\nlines"}

`
	if a.text != want || a.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("got %s\n%s", a.Header.Get("Content-Type"), a.text)
	}
	r.ask("GET", "/v1/events", "", as(api.RoleRead), "Last-Event-ID: abc").want(t, 400)
	r.ask("GET", "/v1/events?after=-1", "", as(api.RoleRead)).want(t, 400)
}

func TestEventsResume(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	r.someCalls(5)
	c := r.client(api.RoleRead)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan history.Event, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Events(ctx, 2, true, func(e history.Event) error { got <- e; return nil })
	}()
	expect := func(id uint64, kind history.Kind) {
		t.Helper()
		select {
		case e := <-got:
			if e.ID != id || e.Kind != kind {
				t.Fatalf("got event %d %s, want %d %s", e.ID, e.Kind, id, kind)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("event %d did not come", id)
		}
	}
	for id := uint64(3); id <= 5; id++ {
		expect(id, "claimed")
	}
	r.fake.tell(history.Event{Kind: "moved"})
	expect(6, "moved")
	c.Close()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the stream ended with %v", err)
	}
	stop := errors.New("enough")
	if err := c.Events(t.Context(), 0, true, func(history.Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the caller's own error came back as %v", err)
	}
}

// A stream that breaks is taken up after the last event that was seen: nothing
// is lost and nothing comes twice.
func TestEventsSurviveABrokenConnection(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.someCalls(3)
	door, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	cut := &cutting{next: http.DefaultTransport, after: 2}
	way := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(q *httputil.ProxyRequest) { q.SetURL(door) }, Transport: cut, ErrorLog: log.New(io.Discard, "", 0),
	})
	defer way.Close()
	c, err := client.New(way.URL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var ids []uint64
	err = c.Events(ctx, 0, true, func(e history.Event) error {
		if ids = append(ids, e.ID); e.ID == 3 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || !slices.Equal(ids, []uint64{1, 2, 3}) || cut.opened.Load() < 2 {
		t.Errorf("events %v over %d connections, %v", ids, cut.opened.Load(), err)
	}
}

// cutting breaks the first answer that passes after a number of events.
type cutting struct {
	next   http.RoundTripper
	after  int
	opened atomic.Int32
}

func (c *cutting) RoundTrip(q *http.Request) (*http.Response, error) {
	res, err := c.next.RoundTrip(q)
	if n := c.opened.Add(1); err == nil && n == 1 {
		res.Body = &cutBody{ReadCloser: res.Body, in: bufio.NewReader(res.Body), left: c.after}
	}
	return res, err
}

type cutBody struct {
	io.ReadCloser
	in   *bufio.Reader
	left int
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	line, err := b.in.ReadString('\n')
	if line == "\n" {
		b.left--
	}
	return copy(p, line), err
}

func TestEventsGap(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.someCalls(10)
	r.fake.forget(6)
	for after, want := range map[uint64]string{
		0: "claimed7 claimed8 claimed9 claimed10 ", // did not ask to resume, so nothing is missing
		2: "gap6 claimed7 claimed8 claimed9 claimed10 ",
		6: "claimed7 claimed8 claimed9 claimed10 ",
		8: "claimed9 claimed10 ",
	} {
		var got strings.Builder
		if err := r.client("").Events(t.Context(), after, false, func(e history.Event) error { fmt.Fprintf(&got, "%s%d ", e.Kind, e.ID); return nil }); err != nil {
			t.Error(err)
		}
		if got.String() != want {
			t.Errorf("after %d: %s, want %s", after, got.String(), want)
		}
	}
}

func TestEventStreamsAreCapped(t *testing.T) {
	t.Parallel()
	r := openRoom(t, func(c *Config, _ *Deps) { c.Streams = 2 })
	open := func() *http.Response {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), "GET", r.url+"/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first, second := open(), open()
	a := r.ask("GET", "/v1/events", "").want(t, 503)
	if a.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	if res := r.ask("GET", "/console/stream", ""); res.StatusCode != 503 {
		t.Errorf("the console's stream answers %d", res.StatusCode)
	}
	// Closing the door ends the streams, or else a shutdown would wait for them.
	r.door.Close()
	r.door.Close()
	for _, res := range []*http.Response{first, second} {
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Errorf("a stream ended with %v", err)
		}
		res.Body.Close()
	}
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	c := r.client(api.RoleOperate)
	var file bytes.Buffer
	if err := c.SaveSnapshot(t.Context(), &file); err != nil || file.String() != "a whole table" {
		t.Fatalf("saved %q, %v", file.String(), err)
	}
	if err := c.RestoreSnapshot(t.Context(), &file, ownership.RestoreTerms{Tokens: true, Unsigned: true}); err != nil || r.fake.restored != "a whole table" || r.fake.terms != (ownership.RestoreTerms{Tokens: true, Unsigned: true}) {
		t.Errorf("restored %q, %v", r.fake.restored, err)
	}
	if a := r.ask("GET", "/v1/snapshot", "", as(api.RoleOperate)).want(t, 200); a.Header.Get("Content-Disposition") != `attachment; filename="tandem-emea-4711.snapshot"` {
		t.Errorf("its name: %s", a.Header.Get("Content-Disposition"))
	}
	var lines []string
	for _, c := range r.door.audit.list(10) {
		lines = append(lines, fmt.Sprint(c.Action, " ", c.Status))
	}
	if want := []string{"save-snapshot 200", "restore-snapshot 204", "save-snapshot 200"}; !slices.Equal(lines, want) {
		t.Errorf("the audit log holds %q, want %q", lines, want)
	}
}

// A snapshot that breaks off must not pass for a whole one.
func TestSnapshotThatBreaksOff(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.fake.set(func() { r.fake.fail = errors.New("reading page 7: it is damaged") })
	var file bytes.Buffer
	if err := r.client("").SaveSnapshot(t.Context(), &file); err == nil {
		t.Errorf("half a snapshot came without an error: %q", file.String())
	}
	if c := r.door.audit.list(1); len(c) != 1 || !strings.Contains(c[0].Detail, "it is damaged") {
		t.Errorf("the audit log says %+v", c)
	}
	r.fake.set(func() { r.fake.snapshot = "" })
	r.ask("GET", "/v1/snapshot", "").want(t, 500)
	r.fake.set(func() { r.fake.fail = ownership.ErrNoLeader })
	r.ask("GET", "/v1/snapshot", "").want(t, 503)
	r.fake.set(func() { r.fake.fail = nil })
	r.ask("GET", "/v1/snapshot", "").want(t, 500)
}

func TestB107_SnapshotRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"foreign":   {errors.New("restoring a snapshot: it belongs to the deployment fabrikam"), 422},
		"truncated": {errors.New("restoring a snapshot: it ends after 12 of 4096 bytes"), 422},
		"older":     {fmt.Errorf("restoring a snapshot: index 7 is behind: %w", ownership.ErrConflict), 409},
		"no leader": {ownership.ErrNoLeader, 503},
	} {
		r := openRoom(t)
		r.fake.set(func() { r.fake.fail = c.err })
		if a := r.ask("PUT", "/v1/snapshot", "bytes").want(t, c.want); !strings.Contains(a.text, c.err.Error()) {
			t.Errorf("B107 %s: the answer does not say why: %s", name, a.text)
		}
	}
	r := openRoom(t, func(c *Config, _ *Deps) { c.SnapshotLimit = 10 })
	r.ask("PUT", "/v1/snapshot", "more than ten bytes").want(t, 413)
}

// TestD14_OneTokenCannotTakeEveryStream: a quarter of the streams is the most that
// one token gets, and what it gives back it may take again.
func TestD14_OneTokenCannotTakeEveryStream(t *testing.T) {
	t.Parallel()
	p := newPlaces(8)
	one, other := [32]byte{1}, [32]byte{2}
	for i, c := range []struct {
		token [32]byte
		want  bool
	}{{one, true}, {one, true}, {one, false}, {other, true}, {other, true}, {other, false}, {[32]byte{3}, true}, {[32]byte{4}, true}, {[32]byte{5}, true}, {[32]byte{6}, true}, {[32]byte{7}, false}} {
		if got := p.enter(c.token); got != c.want {
			t.Errorf("follower %d: %v", i, got)
		}
	}
	p.leave(one)
	if !p.enter(one) || p.enter(one) {
		t.Error("a place that was given back is not there once")
	}
}
