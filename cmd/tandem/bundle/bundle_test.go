package bundle

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/admin/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// planted are secrets of every kind, each in the clothes in which it may come along.
var planted = map[string]string{
	"eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl": "the token eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl was refused",
	"aGVhZGVyc2VjcmV0":            "Authorization: Bearer aGVhZGVyc2VjcmV0",
	"dXNlcjpwYXNzd29yZA==":        `{"header":"Basic dXNlcjpwYXNzd29yZA=="}`,
	"tandem_MFRGGZDFMZTWQ2LKNNWG": "made tandem_MFRGGZDFMZTWQ2LKNNWG for alice",
	"urlpassword":                 "https://user:urlpassword@amer.example/v1",
	"c2lnbmVk":                    "POST /api/calls/emea/7/1/abc?s=c2lnbmVk from 10.0.0.9",
	"query-secret":                "https://x.example/?a=1&client_secret=query-secret&b=2",
	"json secret \\\" here":       `{"client_secret": "json secret \" here", "x": 1}`,
	"yamlsecret":                  "graph:\n  clientSecret: yamlsecret\n",
	"hunter2":                     "password=hunter2",
	"MIIEpAIBAAKCAQEA":            "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
	"MIIEvQ":                      "-----BEGIN PRIVATE KEY-----\nMIIEvQ",
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for secret, text := range planted {
		got := Redact(text)
		if strings.Contains(got, secret) {
			t.Errorf("%q keeps its secret: %q", text, got)
		}
		if !strings.Contains(got, hidden) {
			t.Errorf("%q does not say that something was taken out: %q", text, got)
		}
	}
	for _, text := range []string{
		`{"node":"emea-1","tokens":"2 keys","text":"draining: node \"emea-2\": not in the table"}`, `tandem_token_keys{url="https://login.example/v1"} 3`,
		"goroutine 7 [select]:\nmain.main()\n\t/src/main.go:5 +0x1d", "admin.tokens_file is not set", "client_secret_file: /etc/tandem/app-secret",
		"57dab8b1894c409ab240bd8beae78896", "no token that is good",
	} {
		if got := Redact(text); got != text && !strings.Contains(text, "client_secret_file") {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func FuzzRedact(f *testing.F) {
	for _, text := range planted {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if again := Redact(Redact(text)); len(again) > 64+8*len(text) {
			t.Fatalf("%d bytes became %d", len(text), len(again))
		}
	})
}

// door answers everything with all planted secrets.
func door(t *testing.T) string {
	t.Helper()
	texts := slices.Sorted(maps.Values(planted))
	slices.SortStableFunc(texts, func(a, b string) int { // what follows a key that has no end is taken out with it
		return cmp.Compare(strings.Count(a, "PRIVATE KEY"), strings.Count(b, "PRIVATE KEY"))
	})
	all := strings.Join(texts, "\n")
	var self string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/v1/status":
			_, _ = io.WriteString(w, `{"node":"emea-1","region":"emea","warnings":["Bearer aGVhZGVyc2VjcmV0"]}`)
		case "/v1/regions":
			_, _ = io.WriteString(w, `{"items":[{"name":"emea","here":true,"nodes_list":[{"id":"emea-1","state":"active"},{"id":"../../emea-2","state":"active","admin_url":"`+self+`"},{"id":"emea-3","state":"silent","admin_url":"http://127.0.0.1:1"}]}]}`)
		case "/v1/config":
			_, _ = io.WriteString(w, `{"deployment":"contoso-bots","odd":"password=hunter2"}`)
		case "/v1/audit":
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"detail":"This token does not have the role operate: tandem_MFRGGZDFMZTWQ2LKNNWG"}`)
		case "/v1/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"id\":1,\"kind\":\"drained\",\"text\":\"https://user:urlpassword@amer.example/v1\"}\n\n")
		case "/metrics", "/debug/pprof/goroutine", "/v1/log/tail":
			_, _ = io.WriteString(w, all)
		default:
			_, _ = io.WriteString(w, `{"ready":true,"items":[]}`)
		}
	}))
	t.Cleanup(s.Close)
	self = s.URL
	return s.URL
}

// TestTheBundleHoldsAllButSecrets greps an archive of three nodes for every secret that
// was planted in their answers.
func TestTheBundleHoldsAllButSecrets(t *testing.T) {
	t.Parallel()
	c, err := client.New(door(t), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var out bytes.Buffer
	m, err := Write(t.Context(), c, func(url string) (*client.Client, error) { return client.New(url, "", "") }, "2.1.0", time.Unix(1795000000, 0), &out)
	if err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	tape := tar.NewReader(zip)
	var names []string
	for {
		h, err := tape.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(tape)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		for secret := range planted {
			if bytes.Contains(text, []byte(secret)) || strings.Contains(h.Name, secret) {
				t.Errorf("%s holds %q", h.Name, secret)
			}
		}
		if path.Clean(h.Name) != h.Name || !strings.HasPrefix(h.Name, "tandem-debug/") {
			t.Errorf("a file is called %s", h.Name)
		}
		if strings.HasSuffix(h.Name, "metrics.txt") && !bytes.Contains(text, []byte("graph:")) {
			t.Errorf("%s lost what is no secret: %s", h.Name, text)
		}
	}
	for _, want := range []string{"manifest.json", "emea/emea-1/status.json", "emea/emea-1/config.json", "emea/emea-1/goroutines.txt", "emea/emea-1/raft.json", "emea/emea-1/events.jsonl", "emea/emea-1/metrics.txt", "emea/emea-1/log.jsonl", "emea/emea-1/rollouts.json"} {
		if !slices.Contains(names, "tandem-debug/"+want) {
			t.Errorf("it lacks %s: %v", want, names)
		}
	}
	if len(names) != 1+14+14 || len(m.Missing) != 3 {
		t.Errorf("%d files, missing %q", len(names), m.Missing)
	}
	for _, text := range m.Missing {
		if strings.Contains(text, "MFRGGZDFMZTWQ2LKNNWG") {
			t.Errorf("the manifest holds a secret: %s", text)
		}
	}
}
