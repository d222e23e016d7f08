// Package tandem holds no code: its tests keep the rules of the house.
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

type listed struct {
	Standard                           bool
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Dir                                string
	GoFiles, TestGoFiles, XTestGoFiles []string
}

// room gives whose folder a package is: that of the deepest room around it.
func room(path string) string {
	name := strings.TrimPrefix(path, "tandem/")
	for {
		at := strings.LastIndexByte(name, '/')
		if _, known := rooms[name]; known || at < 0 {
			return name
		}
		name = name[:at]
	}
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
