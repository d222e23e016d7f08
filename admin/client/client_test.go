package client

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"tandem/admin/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClientAddresses(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"127.0.0.1:8470": "http://127.0.0.1:8470", "https://tandem.example/": "https://tandem.example/", "tandem.example:443": "https://tandem.example:443", "http://localhost:8470": "http://localhost:8470",
	} {
		c, err := New(addr, "secret", "")
		if err != nil || c.base.String() != want {
			t.Errorf("%s becomes %v, %v", addr, c, err)
		}
	}
	for _, addr := range []string{"ftp://x", "http://", "::::", "http://10.0.0.1:8470", "tandem.example:8470"} {
		if _, err := New(addr, "canary-secret", ""); err == nil || strings.Contains(err.Error(), "canary-secret") {
			t.Errorf("B110 %s with a token: %v", addr, err)
		}
	}
	if _, err := New("10.0.0.1:8470", "", ""); err != nil {
		t.Errorf("plain http without a token: %v", err)
	}
}

// B112: a redirect does not carry the token away.
func TestB112_ClientFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the client followed a redirect") }))
	defer thief.Close()
	door := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer door.Close()
	c, err := New(door.URL, "secret", "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var p *Problem
	if _, err := c.Status(t.Context()); !errors.As(err, &p) || p.Status != http.StatusTemporaryRedirect {
		t.Errorf("got %v", err)
	}
}

func TestClientTrust(t *testing.T) {
	t.Parallel()
	door := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewEncoder(w).Encode(api.Status{Identity: api.Identity{Deployment: r.Header.Get("Authorization")}}); err != nil {
			t.Error(err)
		}
	}))
	defer door.Close()
	door.Config.ErrorLog = nil
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: door.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimPrefix(door.URL, "https://")
	c, err := New(addr, "secret", ca)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if who, err := c.Status(t.Context()); err != nil || who.Deployment != "Bearer secret" {
		t.Errorf("with the CA: %+v, %v", who, err)
	}
	stranger, err := New(door.URL, "secret", "")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "--cacert") {
		t.Errorf("without the CA: %v", err)
	}
	for _, file := range []string{"/does/not/exist", os.DevNull} {
		if _, err := New(addr, "", file); err == nil {
			t.Errorf("the CA file %s was taken", file)
		}
	}
}
