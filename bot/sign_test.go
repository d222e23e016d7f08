package bot

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
)

// TestD12_TheBotCanTellItsRouter: with a secret each hand-over is signed, over the
// body, what the headers say and the time; without one nothing is.
func TestD12_TheBotCanTellItsRouter(t *testing.T) {
	const secret = "a secret of the bot and its router"
	got := make(chan http.Header, 8)
	bodies := make(chan []byte, 8)
	serve := func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r.Header
		bodies <- b
	}
	s := newHTTPStand(t, serve, func(c *HTTPConfig, _ *App) { c.Secret = func() string { return secret } })
	before := time.Now().Unix()
	h := incoming("m1")
	h.Header = map[string][]string{"Tandem-Signature": {"t=1,v1=00"}}
	handOver(t, s, h)
	head, body := <-got, <-bodies
	sum, found := strings.CutPrefix(head.Get("Tandem-Signature"), "t=")
	unix, sum, _ := strings.Cut(sum, ",v1=")
	if !found || len(head["Tandem-Signature"]) != 1 {
		t.Fatalf("the signature is %q", head["Tandem-Signature"])
	}
	lines := []string{unix}
	for _, name := range []string{"Event", "Call", "App", "Tenant", "Partition", "Epoch", "Callback-Uri", "Deadline"} {
		lines = append(lines, head.Get("Tandem-"+name))
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strings.Join(lines, "\n") + "\n" + string(body)))
	if want := hex.EncodeToString(mac.Sum(nil)); sum != want {
		t.Errorf("signed as %s, want %s", sum, want)
	}
	if at, err := strconv.ParseInt(unix, 10, 64); err != nil || at < before || at > time.Now().Unix() {
		t.Errorf("the time is %q", unix)
	}

	bare := newHTTPStand(t, serve, nil)
	handOver(t, bare, h)
	if head := <-got; head.Get("Tandem-Signature") != "" {
		t.Errorf("signed without a secret: %q", head.Get("Tandem-Signature"))
	}
}

// TestO40_TheBodyOfOurEventsIsAsWritten: docs/bots.md shows what a bot gets with
// Tandem's own events; each name there is one that a body has.
func TestO40_TheBodyOfOurEventsIsAsWritten(t *testing.T) {
	text, err := os.ReadFile("../docs/bots.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "```json\n")
	sample, _, ok := strings.Cut(after, "```")
	var written, sent map[string]any
	if err := json.Unmarshal([]byte(sample), &written); !ok || err != nil {
		t.Fatalf("the sample of docs/bots.md: %v\n%s", err, sample)
	}
	h, err := eventOf(ownership.EventAdopted, ownership.Call{ID: "c1", RawCall: "C1", App: "a", Tenant: "t", Thread: "19:x", Partition: 24, Owner: "emea-1", Epoch: 2, State: ownership.CallAnswered}, "https://uri")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(h.Body, &sent); err != nil {
		t.Fatal(err)
	}
	var compare func(at string, written, sent map[string]any)
	compare = func(at string, written, sent map[string]any) {
		for name, value := range written {
			got, ok := sent[name]
			if !ok || (fmt.Sprintf("%T", got) != fmt.Sprintf("%T", value)) {
				t.Errorf("docs/bots.md shows %s%s as a %T; a body has %T", at, name, value, got)
			}
			if inner, ok := value.(map[string]any); ok {
				of, _ := got.(map[string]any)
				compare(at+name+".", inner, of)
			}
		}
	}
	compare("", written, sent)
}

// TestO14_TenantAndApp: every hand-over names the call's tenant and app, and
// nobody outside can.
func TestO14_TenantAndApp(t *testing.T) {
	for _, event := range []ownership.Event{ownership.EventIncoming, ownership.EventUpdate, ownership.EventAdopted, ownership.EventRejoin, ownership.EventLost} {
		h := headersToBot(ownership.HandOver{Event: event, App: "app-1", Tenant: "tenant-1", Header: map[string][]string{"tandem-tenant": {"forged"}, "Tandem-App": {"forged"}}})
		if h.Get("Tandem-App") != "app-1" || h.Get("Tandem-Tenant") != "tenant-1" {
			t.Errorf("%s: app %q, tenant %q", event, h["Tandem-App"], h["Tandem-Tenant"])
		}
	}
	if h := headersToBot(ownership.HandOver{App: "app-1"}); h["Tandem-Tenant"] != nil {
		t.Errorf("an unknown tenant is told as %q", h["Tandem-Tenant"])
	}
}

func TestD12_SecretFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	for name, tc := range map[string]struct {
		text string
		mode os.FileMode
		says string
	}{
		"good":      {" 0123456789abcdef\n", 0o640, ""},
		"short":     {"0123456789abcde\n\n\n", 0o600, "shorter than 16 bytes"},
		"everybody": {"0123456789abcdef", 0o644, "everybody on this machine"},
		"huge":      {strings.Repeat("x", 5000), 0o600, "larger than"},
	} {
		if err := os.WriteFile(file, []byte(tc.text), tc.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, tc.mode); err != nil {
			t.Fatal(err)
		}
		secret, err := ReadSecret(file)
		if tc.says == "" && (err != nil || secret != "0123456789abcdef") {
			t.Errorf("%s: %q, %v", name, secret, err)
		}
		if tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func handOver(t *testing.T, s *stand, h ownership.HandOver) {
	t.Helper()
	if _, err := s.Incoming(t.Context(), h); err != nil {
		t.Fatal(err)
	}
}
