package bot

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// constants are the texts of a room's constants of a type (empty: of none) whose name
// begins so.
func constants(t *testing.T, room, prefix, kind string) (texts []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(room, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Values) != 1 || !strings.HasPrefix(v.Names[0].Name, prefix) || typeName(v.Type) != kind {
				return true
			}
			if text, err := strconv.Unquote(literal(v.Values[0])); err == nil {
				texts = append(texts, text)
			}
			return true
		})
	}
	return texts
}

func typeName(e ast.Expr) string {
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok {
		return l.Value
	}
	return ""
}

// section is what a document says below a heading.
func section(text, heading string) string {
	_, after, _ := strings.Cut(text, "\n## "+heading+"\n")
	within, _, _ := strings.Cut(after, "\n## ")
	return within
}

// TestThePageForBotsIsTheCode: docs/bots.md and docs/bot.openapi.yaml tell each header and
// each event that the code sends, and none that it does not.
func TestThePageForBotsIsTheCode(t *testing.T) {
	page, err := os.ReadFile("../docs/bots.md")
	if err != nil {
		t.Fatal(err)
	}
	api, err := os.ReadFile("../docs/bot.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sent := constants(t, ".", "header", "")
	if len(sent) < 9 {
		t.Fatalf("only these headers were found in the code: %q", sent)
	}
	for _, name := range sent {
		if !strings.Contains(section(string(page), "What is POSTed"), "\n| `"+name+"` |") {
			t.Errorf("docs/bots.md has no row for the header %s", name)
		}
		if !strings.Contains(string(api), "name: "+name+"\n") {
			t.Errorf("docs/bot.openapi.yaml has no header %s", name)
		}
	}
	for file, text := range map[string]string{"docs/bots.md": string(page), "docs/bot.openapi.yaml": string(api)} {
		for _, name := range regexp.MustCompile(`Tandem-[A-Z][A-Za-z-]+`).FindAllString(text, -1) {
			if !slices.Contains(sent, name) {
				t.Errorf("%s tells of a header %s that nobody sends", file, name)
			}
		}
	}

	events := constants(t, "../ownership", "Event", "Event")
	if len(events) < 5 {
		t.Fatalf("only these events were found in the code: %q", events)
	}
	told := regexp.MustCompile("(?m)^\\| `([a-z]+)` \\|").FindAllStringSubmatch(section(string(page), "Events"), -1)
	var rows []string
	for _, m := range told {
		rows = append(rows, m[1])
	}
	for _, e := range events {
		if !slices.Contains(rows, e) {
			t.Errorf("docs/bots.md has no row for the event %s", e)
		}
	}
	for _, e := range rows {
		if !slices.Contains(events, e) {
			t.Errorf("docs/bots.md tells of an event %s that nobody sends", e)
		}
	}
	if !strings.Contains(section(string(page), "Events"), `{"event":"confirm",…}`) {
		t.Error("docs/bots.md does not tell of confirm")
	}
}
