package tandem

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// below lists a package and all that it needs, tests left out.
func below(t *testing.T, pkg string) []listed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports,Standard", pkg).Output()
	if err != nil {
		t.Fatalf("listing what %s needs: %v", pkg, err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("reading go list: %v", err)
		}
		all = append(all, p)
	}
}

// raftMetrics are the only ones through which the store reaches HTTP: raft's.
var raftMetrics = []string{"github.com/hashicorp/go-metrics", "github.com/armon/go-metrics"}

// TestTheGroundNeedsLittle keeps the rules' language, the wire's encoding and HTTP
// out of the words, the language and HTTP out of the store, and what a door is built of
// out of the admin door's API, its client and whoever asks by it.
func TestTheGroundNeedsLittle(t *testing.T) {
	asks := []string{"cel.dev/", "github.com/google/cel-go", "google.golang.org/protobuf", "github.com/danielgtaylor/huma",
		"github.com/julienschmidt/httprouter", "github.com/prometheus"}
	for room, without := range map[string][]string{
		"ownership":    {"cel.dev/", "google.golang.org/protobuf", "net/http"},
		"store":        {"cel.dev/", "net/http"},
		"admin/api":    append(asks, "net/http"),
		"admin/client": asks,
		"faultrig":     asks,
	} {
		all := below(t, "./"+room)
		if len(all) < 50 {
			t.Fatalf("go list names %d packages below %s: it was not read", len(all), room)
		}
		for _, p := range all {
			if p.Standard || room == "store" && slices.Contains(raftMetrics, p.ImportPath) {
				continue
			}
			for _, to := range p.Imports {
				if slices.ContainsFunc(without, func(w string) bool { return strings.HasPrefix(to, w) }) {
					t.Errorf("%s needs %s, through %s: keep it out", room, to, p.ImportPath)
				}
			}
		}
	}
}
