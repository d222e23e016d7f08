package admin

import (
	"strings"
	"testing"
)

// TestOpenDoorStaysOnLoopback: without tokens the door is loopback's, and no page of
// another site gets in there.
func TestOpenDoorStaysOnLoopback(t *testing.T) {
	t.Parallel()
	f := newFake()
	if _, err := New(Config{}, Deps{Table: f, Journal: f, Cluster: f}); err == nil || !strings.Contains(err.Error(), "tokens_file") {
		t.Errorf("a door beyond loopback without tokens gives %v", err)
	}
	r := openRoom(t)
	if a := r.ask("GET", "/v1/status", "").want(t, 200); !strings.Contains(a.text, "The admin door is OPEN") {
		t.Errorf("no loud warning in %s", a.text)
	}
	// A page whose name was pointed at 127.0.0.1 (DNS rebinding), and a form on
	// another site.
	r.ask("GET", "/v1/status", "", "Host: evil.example").want(t, 403)
	r.ask("POST", "/v1/leave", "", "Origin: https://evil.example", "Sec-Fetch-Site: cross-site").want(t, 403)
	for _, host := range []string{"localhost:8470", "127.0.0.1:8470", "[::1]:8470"} {
		r.ask("GET", "/v1/status", "", "Host: "+host).want(t, 200)
	}
	if got := r.fake.done(); len(got) != 0 {
		t.Errorf("the cluster was asked for %v", got)
	}
}
