package admin

import (
	"cmp"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"

	_ "embed"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed docs.html
var docsText string

var docsPage = template.Must(template.New("docs").Parse(docsText))

// docsOperation is one line of the docs page.
type docsOperation struct {
	Method, Path, Summary, Description, Role string
	Params                                   []*huma.Param
}

// docsRoutes serves the API's description as a page. Everything it needs is in
// this program: it works on a machine without internet.
func docsRoutes(d *Door) {
	ops := sync.OnceValue(func() []docsOperation { return docsOperations(d.api.OpenAPI()) })
	d.router.HandlerFunc(http.MethodGet, "/v1/docs", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		if err := docsPage.Execute(w, ops()); err != nil {
			d.log.Debug("writing the docs page stopped", "err", err)
		}
	})
}

func docsOperations(doc *huma.OpenAPI) []docsOperation {
	var out []docsOperation
	for path, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete} {
			if op == nil {
				continue
			}
			role := cmp.Or(strings.Join(op.Security[0]["token"], ", "), "open")
			out = append(out, docsOperation{op.Method, path, op.Summary, op.Description, role, op.Parameters})
		}
	}
	slices.SortFunc(out, func(a, b docsOperation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
	return out
}
