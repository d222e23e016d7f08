package webhook

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
)

// answered is what a caller gets.
type answered struct {
	status int
	header http.Header
	body   string
}

func (a answered) location() string { return a.header.Get("Location") }

// code reads the error's code, and fails if the body is no error of this door.
func (a answered) code(t testing.TB) string {
	t.Helper()
	var e struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || e.Error.Code == "" || e.Error.Message == "" {
		t.Fatalf("status %d with the body %q, which is no error: %v", a.status, a.body, err)
	}
	return e.Error.Code
}

// post sends a notification as the cloud does; it follows nothing.
func post(t testing.TB, url, body string, change ...func(*http.Request)) answered {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+mint(t, ourApp, ourTenant))
	r.Header.Set("X-Microsoft-Skype-Message-ID", "m-1")
	for _, c := range change {
		c(r)
	}
	return send(t, r)
}

func send(t testing.TB, r *http.Request) answered {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport: transport, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Header, string(b)}
}

// follow posts as the calling cloud does: it repeats the POST at a Location, up
// to the given number of hops, and gives all answers.
func follow(t testing.TB, url, body string, most int) []answered {
	t.Helper()
	var all []answered
	for range most + 1 {
		a := post(t, url, body)
		all = append(all, a)
		if a.location() == "" {
			break
		}
		url = a.location()
	}
	return all
}

func header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del(name)
		for _, v := range values {
			r.Header.Add(name, v)
		}
	}
}

// incoming is the first notification of a call, with more members of the call.
func incoming(call string, more ...string) string {
	return notification("created", call, append([]string{`"state":"incoming"`}, more...)...)
}

func update(call string, more ...string) string {
	return notification("updated", call, append([]string{`"state":"established"`}, more...)...)
}

func end(call string) string { return notification("deleted", call, `"state":"terminated"`) }

func notification(change, call string, members ...string) string {
	return fmt.Sprintf(`{"@odata.type":"#microsoft.graph.commsNotifications","value":[%s]}`, entry(change, call, members...))
}

func entry(change, call string, members ...string) string {
	return fmt.Sprintf(`{"@odata.type":"#microsoft.graph.commsNotification","changeType":%q,"resourceUrl":"/communications/calls/%s","resourceData":{"@odata.type":"#microsoft.graph.call",%s}}`,
		change, call, strings.Join(members, ","))
}

const legacyBody = `{"id":"x","participants":[],"isMultiparty":false,"presentedModalityTypes":["audio"],"callState":"incoming"}`

// uri returns a callback URI on this node's own address.
func (nd *node) uri(p ownership.PartitionID, e ownership.Epoch, ref string) string {
	return testKeys().CallbackURI(nd.url+hookPath, Handle{Region: nd.in.name, Partition: p, Epoch: e, Ref: ref})
}

// raw writes bytes to the node's port and gives all that comes back until the
// server closes the connection or the time is over.
func (nd *node) raw(t testing.TB, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(nd.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		_, _ = io.WriteString(conn, text)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	b, _ := io.ReadAll(conn)
	return string(b)
}

// statuses reads the status lines of all responses in raw output.
func statuses(t testing.TB, out string) []int {
	t.Helper()
	var all []int
	in := bufio.NewReader(strings.NewReader(out))
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return all
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		all = append(all, resp.StatusCode)
	}
}

// sampleBody reads a published body from graph's test data.
func sampleBody(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "graph", "testdata", "samples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
