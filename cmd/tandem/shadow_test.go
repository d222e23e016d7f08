package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/shadow"
)

// TestShadow runs for a moment and leaves its report; what it cannot go by is told with what
// to write instead.
func TestShadow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shadow.json")
	var out, errs bytes.Buffer
	var log heard // the fetcher of keys writes to it, too
	code := run([]string{"shadow", "--upstream", "http://127.0.0.1:1", "--app", demoApp, "--set", "auth.profiles=[{name: public, openid_url: http://127.0.0.1:1/, issuers: [x]}]",
		"--listen", "127.0.0.1:0", "--page", "127.0.0.1:0", "--report", file, "--for", "50ms"}, &out, &log)
	if code != exitOK || !strings.Contains(out.String(), "Shadow report") || !strings.Contains(log.lines.String(), "misroutes cannot be seen") {
		t.Fatalf("exit %d\n%s%s", code, &out, &log.lines)
	}
	text, err := os.ReadFile(file)
	var r shadow.Report
	if err != nil || json.Unmarshal(text, &r) != nil || r.Since.IsZero() {
		t.Errorf("%s: %v", text, err)
	}
	for _, c := range []struct{ args, want string }{
		{"", "needs --upstream"},
		{"--upstream ftp://x", "write [NAME=]http(s)://HOST"},
		{"--upstream http://x/y", "without a path"},
		{"--upstream http://x", "name your app with --app"},
		{"--upstream http://x --instance x", "write header:NAME, cookie:NAME or location"},
		{"--upstream http://x --every 1s", "names the file"},
		{"--upstream http://x extra", "unknown command"},
	} {
		errs.Reset()
		if code := run(append([]string{"shadow"}, strings.Fields(c.args)...), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), c.want) {
			t.Errorf("shadow %s: exit %d, %s", c.args, code, &errs)
		}
	}
}
