// Package mutate takes guards out of a copy of the product, one at a time, to see
// that the test which SECURITY.md names for each misses it. The product itself has no
// switch for that: scripts/mutations says which text is replaced by which.
package mutate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Mutation is one guard taken out, or the reason why that cannot be done by an edit.
type Mutation struct {
	Rows    []string // of SECURITY.md, such as B07 and D4
	Because string   // why there is nothing to take out; else empty, and the rest is there
	Room    string   // directory of the package with the test
	Test    string   // its name, and after a slash that of a case
	Edits   []Edit
}

// Edit is one changed place. Old stands in the file exactly once.
type Edit struct {
	File, Old, New string
}

// Is reports whether it is a mutation for a row of SECURITY.md.
func (m *Mutation) Is(row string) bool { return slices.Contains(m.Rows, row) }

// Top is the test's name without its case.
func (m *Mutation) Top() string {
	top, _, _ := strings.Cut(m.Test, "/")
	return top
}

func (m *Mutation) String() string {
	return strings.Join(m.Rows, " ") + " " + m.Room + " " + m.Test
}

var rowID = regexp.MustCompile(`^[A-Z][0-9]+$`)

// Read reads a list of mutations. Lines that begin with # and empty ones say nothing.
// Each mutation begins with the rows, the directory and the test; each of its edits
// with "@ " and the file, then come the lines of before with - and those of after with
// +. A row without a mutation is followed by "because" and the reason.
func Read(text string) ([]Mutation, error) {
	var all []Mutation
	for i, line := range strings.Split(text, "\n") {
		var err error
		switch {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "-"), strings.HasPrefix(line, "+"), strings.HasPrefix(line, "@ "):
			err = edit(all, line)
		default:
			var m Mutation
			m, err = head(line)
			all = append(all, m)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return all, nil
}

// head reads a mutation's first line.
func head(line string) (m Mutation, err error) {
	words := strings.Fields(line)
	for len(words) > 0 && rowID.MatchString(words[0]) {
		m.Rows, words = append(m.Rows, words[0]), words[1:]
	}
	switch {
	case len(m.Rows) > 0 && len(words) > 1 && words[0] == "because":
		m.Because = strings.Join(words[1:], " ")
	case len(m.Rows) > 0 && len(words) >= 2:
		m.Room, m.Test = words[0], strings.Join(words[1:], " ")
	default:
		err = fmt.Errorf("%q names no rows, or neither a test nor a reason", line)
	}
	return m, err
}

// edit reads one line of an edit of the last mutation.
func edit(all []Mutation, line string) error {
	if len(all) == 0 || all[len(all)-1].Because != "" {
		return errors.New("an edit stands under no mutation")
	}
	m := &all[len(all)-1]
	if file, ok := strings.CutPrefix(line, "@ "); ok {
		m.Edits = append(m.Edits, Edit{File: file})
		return nil
	}
	if len(m.Edits) == 0 {
		return errors.New("an edit names no file")
	}
	e := &m.Edits[len(m.Edits)-1]
	if line[0] == '-' {
		if e.New != "" { // another place of the same file
			m.Edits = append(m.Edits, Edit{File: e.File})
			e = &m.Edits[len(m.Edits)-1]
		}
		e.Old += line[1:] + "\n"
	} else {
		e.New += line[1:] + "\n"
	}
	return nil
}

// Fits says what is wrong with a mutation in the tree at root; nil: each of its texts
// stands there exactly once, so it takes out what it means to.
func (m *Mutation) Fits(root string) error {
	if m.Because == "" && len(m.Edits) == 0 {
		return fmt.Errorf("%s changes nothing", m)
	}
	for i := range m.Edits {
		if _, err := m.Edits[i].changed(root); err != nil {
			return fmt.Errorf("%s: %w", m, err)
		}
	}
	return nil
}

// changed returns the text of the file with the edit made.
func (e *Edit) changed(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, e.File))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), e.Old); e.Old == "" || n != 1 {
		return "", fmt.Errorf("%s holds the text to replace %d times, not once:\n%s", e.File, n, e.Old)
	}
	return strings.Replace(string(text), e.Old, e.New, 1), nil
}

// Copy makes a copy of the tree at root, of what git knows or would take.
func Copy(ctx context.Context, root, to string) error {
	cmd := exec.CommandContext(ctx, "git", "ls-files", "-co", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("listing the tree by git: %w", err)
	}
	for file := range strings.Lines(string(out)) {
		file = strings.TrimSpace(file)
		info, err := os.Stat(filepath.Join(root, file))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, and not yet committed
		}
		if err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return err
		}
		copied := filepath.Join(to, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(copied), 0o700), os.WriteFile(copied, text, info.Mode().Perm())); err != nil {
			return err
		}
	}
	return nil
}

// Verdict is what a test said of a guard's absence.
type Verdict string

// The verdicts. Only Red is right.
const (
	Red     Verdict = "red"
	Green   Verdict = "GREEN"
	Skipped Verdict = "SKIPPED" // the test did not run on this machine
	Broken  Verdict = "BROKEN"  // it does not compile, or there is no such test
)

// longest bounds one test. One that hangs without the guard misses it.
const longest = 4 * time.Minute

// Try makes the mutation in a copy of the tree, runs its test, and makes it undone.
func (m *Mutation) Try(ctx context.Context, tree string) (v Verdict, output string, err error) {
	undo := map[string][]byte{}
	defer func() {
		for file, text := range undo {
			err = errors.Join(err, os.WriteFile(file, text, 0o600))
		}
	}()
	for i := range m.Edits {
		file := filepath.Join(tree, m.Edits[i].File)
		before, err := os.ReadFile(file)
		if err != nil {
			return "", "", err
		}
		after, err := m.Edits[i].changed(tree)
		if err != nil {
			return "", "", err
		}
		if _, ok := undo[file]; !ok {
			undo[file] = before
		}
		if err := os.WriteFile(file, []byte(after), 0o600); err != nil {
			return "", "", err
		}
	}
	// Without the tree's path in what is built, the next copy finds it in the cache.
	cmd := exec.CommandContext(ctx, "go", "test", "./"+m.Room, "-run", m.pattern(), "-count=1", "-v", "-vet=off", "-ldflags=-s -w",
		"-timeout", longest.String())
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "GOFLAGS=-trimpath")
	out, failed := cmd.CombinedOutput()
	return m.judge(string(out), failed), string(out), ctx.Err()
}

// pattern returns the regular expression that only the test matches, and its case.
func (m *Mutation) pattern() string {
	name, part, cased := strings.Cut(m.Test, "/")
	if name = "^" + name + "$"; cased {
		name += "/" + regexp.QuoteMeta(strings.ReplaceAll(part, " ", "_"))
	}
	return name
}

// judge reads what the test wrote.
func (m *Mutation) judge(out string, failed error) Verdict {
	switch {
	case failed != nil && (strings.Contains(out, "--- FAIL: "+m.Top()) || strings.Contains(out, "panic: ") || strings.Contains(out, "fatal error: ")):
		return Red
	case failed != nil, !strings.Contains(out, "=== RUN   "+strings.ReplaceAll(m.Test, " ", "_")):
		return Broken
	case strings.Contains(out, "--- SKIP: "+m.Top()):
		return Skipped
	default:
		return Green
	}
}
