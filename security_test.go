package tandem

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// badInputs is how many bad inputs SECURITY.md lists, B01 to B112.
const badInputs = 112

var (
	// inputNumber finds the numbers in names such as TestB07_B08_Header and in
	// subtests such as "B07 lower case".
	inputNumber = regexp.MustCompile(`(?:^|[^A-Za-z0-9])(?:Test)?B([0-9]{2,3})(?:[^0-9]|$)`)
	inputRow    = regexp.MustCompile(`^\| B([0-9]{2,3})(?:–B([0-9]{2,3}))? \|(.*)\|$`)
	testName    = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
)

// numbers gives the numbers of bad inputs that a text names.
func numbers(text string) (all []int) {
	for text != "" {
		at := inputNumber.FindStringSubmatchIndex(text)
		if at == nil {
			return all
		}
		n, err := strconv.Atoi(text[at[2]:at[3]])
		if err == nil && n >= 1 && n <= badInputs {
			all = append(all, n)
		}
		text = text[at[3]:]
	}
	return all
}

// tests reads all test files: the names of their tests, and which numbers stand
// in a test's name or in a text inside of a test file.
func tests(t *testing.T) (names map[string]bool, tested map[int]bool) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-co", "--exclude-standard", "--", "*_test.go").Output()
	if err != nil {
		t.Skipf("the test files are listed by git, which says: %v", err)
	}
	names, tested = map[string]bool{}, map[int]bool{}
	for file := range strings.Lines(string(out)) {
		file = strings.TrimSpace(file)
		if file == "security_test.go" {
			continue // its own examples prove nothing
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Errorf("reading %s: %v", file, err)
			continue
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if strings.HasPrefix(n.Name.Name, "Test") || strings.HasPrefix(n.Name.Name, "Fuzz") {
					names[n.Name.Name] = true
					for _, k := range numbers(strings.TrimPrefix(n.Name.Name, "Test")) {
						tested[k] = true
					}
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING {
					if text, err := strconv.Unquote(n.Value); err == nil {
						for _, k := range numbers(text) {
							tested[k] = true
						}
					}
				}
			}
			return true
		})
	}
	return names, tested
}

// TestEveryBadInputIsAnswered: SECURITY.md has a row for each of the 112 bad
// inputs, each row names tests that exist, and each number stands in the name of
// a test or of one of its cases.
func TestEveryBadInputIsAnswered(t *testing.T) {
	text, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	names, tested := tests(t)
	rows := map[int]bool{}
	var argued []int
	for line := range strings.Lines(string(text)) {
		row := inputRow.FindStringSubmatch(strings.TrimSpace(line))
		if row == nil {
			continue
		}
		first, last := must(t, row[1]), must(t, row[1])
		if row[2] != "" {
			last = must(t, row[2])
		}
		for n := first; n <= last; n++ {
			if rows[n] {
				t.Errorf("SECURITY.md has two rows for B%02d", n)
			}
			rows[n] = true
			if strings.Contains(row[3], "argued") {
				argued = append(argued, n)
			}
		}
		named := testName.FindAllStringSubmatch(row[3], -1)
		if len(named) == 0 {
			t.Errorf("SECURITY.md names no test for B%02d", first)
		}
		for _, m := range named {
			if !names[m[1]] {
				t.Errorf("SECURITY.md names %s for B%02d: there is no such test", m[1], first)
			}
		}
	}
	for n := 1; n <= badInputs; n++ {
		if !rows[n] {
			t.Errorf("SECURITY.md has no row for B%02d", n)
		}
		if !tested[n] {
			t.Errorf("B%02d stands in the name of no test and of no case", n)
		}
	}
	slices.Sort(argued)
	t.Logf("%d of %d bad inputs have a row and a test; the answer differs from the list and is argued for: B%02d", len(rows), badInputs, argued)
}

func must(t *testing.T, number string) int {
	t.Helper()
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNumbersOfNames(t *testing.T) {
	for text, want := range map[string][]int{
		"B13_B14_B15_Algorithm": {13, 14, 15},
		"B07 lower case":        {7},
		"see B112, B01.":        {112, 1},
		"AB12 B1 B113 B000 xB5": nil,
		"F16_B33_Times":         {33},
	} {
		if got := numbers(text); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q names %v, want %v", text, got, want)
		}
	}
}
