package tandem

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// metric is one that the code declares.
type metric struct {
	name, kind, help string
	labels           []string
}

// raftsOwn are those of raft's many that an operator looks at; all of them are at /metrics.
var raftsOwn = []metric{
	{"raft_apply", "counter", "Entries that this leader was asked to commit.", nil},
	{"raft_commitTime", "summary", "Milliseconds from an entry's arrival at the leader to its commit.", nil},
	{"raft_fsm_apply", "summary", "Milliseconds to apply an entry to the table.", nil},
	{"raft_leader_dispatchLog", "summary", "Milliseconds that the leader's disk took for an append.", nil},
	{"raft_leader_lastContact", "summary", "Milliseconds since the voters were last heard, as the leader's lease sees it.", nil},
	{"raft_state_leader", "counter", "Elections won.", nil},
	{"raft_state_candidate", "counter", "Elections begun.", nil},
}

// TestMetricsReference: docs/metrics.md is made from the code. That a running node has these
// metrics and no others is a story of the room node.
func TestMetricsReference(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Metrics\n\nMade from the code: `UPDATE_GOLDEN=1 go test . -run MetricsReference`.\n" +
		"`GET /metrics` of the admin door gives them, in Prometheus' text format, to a token with the role read.\n" +
		"A node tells of itself; what begins with `tandem_region_` is of its region, as that node sees it.\n" +
		"Which of them matter when, [runbooks.md](runbooks.md) says; `deploy/alerts.yaml` and `deploy/dashboard.json` use them.\n\n" +
		"| metric | kind | labels | meaning |\n|---|---|---|---|\n")
	row := func(m metric) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, cmp.Or(strings.Join(m.labels, ", "), "–"), strings.ReplaceAll(m.help, "|", "\\|"))
	}
	for _, m := range declaredMetrics(t) {
		row(m)
	}
	b.WriteString("\n## Raft's own\n\nAll that hashicorp/raft counts, and what the Go runtime and the process do (`go_…`, `process_…`), is there, too. Of raft's, these help most:\n\n" +
		"| metric | kind | labels | meaning |\n|---|---|---|---|\n")
	for _, m := range raftsOwn {
		row(m)
	}
	const name = "docs/metrics.md"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(name)
	if err != nil || string(have) != b.String() {
		t.Errorf("%s is not what the code says (%v): UPDATE_GOLDEN=1 go test . -run MetricsReference", name, err)
	}
}

// declaredMetrics reads the product's sources for what they declare, by name.
func declaredMetrics(t *testing.T) []metric {
	t.Helper()
	var all []metric
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "tools" || len(d.Name()) > 1 && d.Name()[0] == '.'):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if m := declared(call); strings.HasPrefix(m.name, "tandem_") {
					all = append(all, m)
				}
			}
			return true
		})
		return nil
	})
	if err != nil || len(all) < 50 {
		t.Fatalf("the sources declare %d metrics, %v", len(all), err)
	}
	slices.SortFunc(all, func(a, b metric) int { return cmp.Compare(a.name, b.name) })
	return all
}

// declared reads prometheus.NewX(XOpts{Name, Help}, labels), prometheus.NewDesc(name, help,
// labels, nil), and the rooms' own short forms of gauges, f(name, help, …).
func declared(call *ast.CallExpr) (m metric) {
	kind := "gauge"
	if s, ok := call.Fun.(*ast.SelectorExpr); ok {
		for _, k := range []string{"Counter", "Histogram", "Summary"} {
			if strings.HasPrefix(s.Sel.Name, "New"+k) {
				kind = strings.ToLower(k)
			}
		}
	}
	if len(call.Args) < 2 {
		if len(call.Args) == 1 {
			m = options(call.Args[0])
		}
		m.kind = kind
		return m
	}
	if m = options(call.Args[0]); m.name == "" {
		m.name, m.help = literal(call.Args[0]), literal(call.Args[1])
	}
	m.kind = kind
	for _, arg := range call.Args[1:] {
		if c, ok := arg.(*ast.CompositeLit); ok {
			m.labels = append(m.labels, literals(c)...)
		}
	}
	return m
}

// options reads the literal of a metric's options.
func options(e ast.Expr) (m metric) {
	c, ok := e.(*ast.CompositeLit)
	if !ok {
		return m
	}
	for _, elt := range c.Elts {
		kv, ok := elt.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		switch name, _ := kv.Key.(*ast.Ident); {
		case name == nil:
		case name.Name == "Name":
			m.name = literal(kv.Value)
		case name.Name == "Help":
			m.help = literal(kv.Value)
		case name.Name == "ConstLabels":
			m.labels = literals(kv.Value.(*ast.CompositeLit))
		}
	}
	return m
}

func literals(c *ast.CompositeLit) (all []string) {
	for _, e := range c.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			e = kv.Key
		}
		if s := literal(e); s != "" {
			all = append(all, s)
		}
	}
	return all
}

func literal(e ast.Expr) string {
	if b, ok := e.(*ast.BasicLit); ok && b.Kind == token.STRING {
		s, _ := strconv.Unquote(b.Value)
		return s
	}
	return ""
}
