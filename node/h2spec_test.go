package node

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// TestB70_H2SpecNoWorseThanABareServer runs h2spec, the conformance tests of
// HTTP/2 (RFC 9113), against a node's public door and against a bare net/http
// server that answers as the door does, at once and with a body: what fails at
// the door must fail there, too. Some cases are a race between two right answers
// that h2spec knows only one of (a GOAWAY that a reset overtakes); so a case counts
// that fails at the door six times and at the bare server never.
func TestB70_H2SpecNoWorseThanABareServer(t *testing.T) {
	long(t, "B70: h2spec twice takes half a minute")
	t.Parallel()
	tool, err := exec.LookPath("h2spec")
	if err != nil {
		t.Skip("B70: h2spec is not installed (cd tools && go install github.com/summerwind/h2spec/cmd/h2spec)")
	}
	bare := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusMethodNotAllowed) // without a body, as the door refuses strangers
	}))
	bare.EnableHTTP2 = true
	bare.Config.ErrorLog = log.New(io.Discard, "", 0)
	bare.StartTLS()
	defer bare.Close()
	s := deploy(t, plan{nodes: 1, https: true})
	var suspects map[string]string
	known := map[string]string{}
	for range 6 {
		var fails map[string]string
		var cases int
		var bareErr error
		var beside sync.WaitGroup // it waits for nearly all of its time
		beside.Go(func() { fails, cases, bareErr = h2spec(t, tool, bare.Listener.Addr().String(), "/") })
		found, same, err := h2spec(t, tool, s.seats[0].public, "/api/calls")
		beside.Wait()
		if err = errors.Join(err, bareErr); errors.Is(err, errUnfinished) { // it says nothing of the door
			t.Log(err)
			continue
		}
		must(t, err)
		maps.Copy(known, fails)
		if cases < 100 || same != cases {
			t.Fatalf("h2spec ran %d cases against a bare server and %d against the door", cases, same)
		}
		t.Logf("of %d cases %d fail at a bare server and %d at the door", cases, len(fails), len(found))
		if suspects == nil {
			suspects = found
		}
		maps.DeleteFunc(suspects, func(name, _ string) bool {
			_, also := known[name]
			_, again := found[name]
			return also || !again
		})
		if len(suspects) == 0 {
			return
		}
	}
	if suspects == nil {
		t.Error("h2spec has not finished once")
	}
	for name, why := range suspects {
		t.Errorf("B70 fails at the door only: %s: %s", name, why)
	}
}

// errUnfinished: a connection that takes the machine longer than h2spec waits ends the whole run.
var errUnfinished = errors.New("h2spec gave up in the middle: it could not connect in time")

// h2spec gives the cases that failed at an address, and how many were run. It
// waits for 2 s: net/http hangs up 1 s after a GOAWAY, and waiting just as long
// would make each such case a toss-up.
func h2spec(t *testing.T, tool, addr, path string) (failed map[string]string, cases int, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, 0, err
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	cmd := exec.CommandContext(t.Context(), tool, "-h", host, "-p", port, "-P", path, "-t", "-k", "-o", "2", "-j", report)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) { // it exits with 1 when a case fails
		return nil, 0, fmt.Errorf("running h2spec: %w\n%s", err, out)
	}
	text, err := os.ReadFile(report)
	if bytes.HasSuffix(bytes.TrimSpace(out), []byte("Error: "+context.DeadlineExceeded.Error())) {
		return nil, 0, errUnfinished
	}
	if err != nil {
		return nil, 0, fmt.Errorf("h2spec left no report: %w\n%s", err, out)
	}
	var suites struct {
		Suite []struct {
			Case []struct {
				Package string `xml:"package,attr"`
				Class   string `xml:"classname,attr"`
				Failure string `xml:"failure"`
				Error   string `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &suites); err != nil {
		return nil, 0, fmt.Errorf("reading h2spec's report: %w", err)
	}
	failed = map[string]string{}
	for _, s := range suites.Suite {
		for _, c := range s.Case {
			cases++
			if why := c.Failure + c.Error; why != "" {
				failed[c.Package+" "+c.Class] = why
			}
		}
	}
	return failed, cases, nil
}
