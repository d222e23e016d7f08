// Package tandem holds no code: this test keeps the floors of the house.
package tandem

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// floors gives each room its floor; rooms of one floor do not know each other.
// A folder below a room belongs to it.
var floors = map[string]int{
	"spelling":  0, // plain rules of text, which every room may know
	"ownership": 1, "token": 1, "graph": 1, "doorway": 1,
	"store":   2,
	"webhook": 3, "admin": 3, "bot": 3, "federation": 3,
	"cluster":   4,
	"node":      5,
	"cmd":       6,
	"graphsim":  0, // apart: knows no room, and only cmd, the fault rig and tests know it
	"faultrig":  7, // apart: drives the built program; knows graphsim, admin's client and ownership
	"machines":  8, // apart: holds tests only, which may know everything
	"regionsim": 8, // the same
}

type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Dir                                string
	GoFiles, TestGoFiles, XTestGoFiles []string
}

func room(path string) string {
	return strings.SplitN(strings.TrimPrefix(path, "tandem/"), "/", 2)[0]
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json", "./...").Output()
	if err != nil {
		t.Fatalf("listing the packages: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("reading go list: %v", err)
		}
		all = append(all, p)
	}
	return all
}

// upward says what is wrong with one import, or nothing.
func upward(from, to string) string {
	if !strings.HasPrefix(to, "tandem/") || room(from) == room(to) {
		return ""
	}
	below, known := floors[room(to)]
	if !known {
		return "the room " + room(to) + " has no floor: add it to the map in ARCHITECTURE.md and here"
	}
	switch above := floors[room(from)]; {
	case room(from) == "faultrig" && room(to) != "graphsim" && room(to) != "admin" && room(to) != "ownership":
		return "the fault rig judges from outside"
	case room(to) == "graphsim" && room(from) != "cmd" && room(from) != "faultrig":
		return "only cmd, the fault rig and tests know the simulator"
	case room(from) == "graphsim":
		return "the simulator shares nothing with the product"
	case above <= below:
		return "an import only goes down a floor"
	}
	return ""
}

func TestImportsOnlyGoDownAFloor(t *testing.T) {
	all := packages(t)
	if len(all) < len(floors)-1 {
		t.Fatalf("go list names %d packages, fewer than there are rooms", len(all))
	}
	for _, p := range all {
		if p.ImportPath == "tandem" || room(p.ImportPath) == "bench" {
			continue
		}
		if _, known := floors[room(p.ImportPath)]; !known {
			t.Errorf("%s: its room has no floor: add it to the map in ARCHITECTURE.md and here", p.ImportPath)
		}
		for _, to := range p.Imports {
			if why := upward(p.ImportPath, to); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, to, why)
			}
		}
	}
}

func TestTheRuleItselfFindsOffenders(t *testing.T) {
	for _, c := range []struct {
		from, to string
		bad      bool
	}{
		{"tandem/webhook", "tandem/ownership", false},
		{"tandem/cmd/tandem", "tandem/graphsim", false},
		{"tandem/store/tablepb", "tandem/store", false},
		{"tandem/ownership", "tandem/store", true},
		{"tandem/webhook", "tandem/bot", true},
		{"tandem/node", "tandem/graphsim", true},
		{"tandem/graphsim", "tandem/graph", true},
		{"tandem/node", "tandem/util", true},
		{"tandem/faultrig/cmd/faultrig", "tandem/faultrig", false},
		{"tandem/faultrig", "tandem/admin", false},
		{"tandem/faultrig", "tandem/cluster", true},
		{"tandem/cmd/tandem", "tandem/faultrig", true},
	} {
		if got := upward(c.from, c.to); (got != "") != c.bad {
			t.Errorf("%s importing %s: verdict %q, wanted an objection: %v", c.from, c.to, got, c.bad)
		}
	}
}

var forbiddenRooms = regexp.MustCompile(`(^|/)(util|utils|common|types|model|models|helper|helpers|manager)(/|$)`)

func TestNoRoomIsCalledUtil(t *testing.T) {
	for _, p := range packages(t) {
		if forbiddenRooms.MatchString(p.ImportPath) {
			t.Errorf("%s: name it after what it does", p.ImportPath)
		}
	}
}

// largestFile is the length at which a file must say at its top why it is one
// file ("// One file because …").
const largestFile = 400

// largestRoom is the share of the product's lines that one room may hold.
const largestRoom = 0.20

func TestNoFileAndNoRoomOwnsEverything(t *testing.T) {
	lines := map[string]int{}
	total := 0
	for _, p := range packages(t) {
		for _, f := range append(append(p.GoFiles, p.TestGoFiles...), p.XTestGoFiles...) {
			path := filepath.Join(p.Dir, f)
			n, generated, excused := measure(t, path)
			if generated {
				continue
			}
			if n > largestFile && !excused {
				t.Errorf("%s has %d lines: find the seam, or say at its top \"One file because …\"", path, n)
			}
			if !strings.HasSuffix(f, "_test.go") {
				lines[room(p.ImportPath)] += n
				total += n
			}
		}
	}
	for r, n := range lines {
		if float64(n) > largestRoom*float64(total) {
			t.Errorf("the room %s holds %d of %d lines (%.0f %%): too much for one room", r, n, total, 100*float64(n)/float64(total))
		}
	}
}

func measure(t *testing.T, path string) (lines int, generated, excused bool) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		lines++
		if lines <= 20 {
			generated = generated || strings.Contains(s.Text(), "DO NOT EDIT")
			excused = excused || strings.Contains(s.Text(), "One file because")
		}
	}
	return lines, generated, excused
}

func TestMainIsShort(t *testing.T) {
	n, _, _ := measure(t, "cmd/tandem/main.go")
	if n > 15 {
		t.Errorf("cmd/tandem/main.go has %d lines, at most 15", n)
	}
}
