package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humahttprouter"
	jsonv2 "github.com/go-json-experiment/json"

	"tandem/admin/api"
	"tandem/ownership"
)

// Asking is the part of a read's input that chooses its consistency.
type Asking struct {
	Region      string `query:"region" maxLength:"64" doc:"Of which region; absent: of the one whose node is asked. all or *, for lists: of all, gathered."`
	Consistency string `query:"consistency" enum:"local,leader,linearizable" default:"local" doc:"How much the answering node makes sure of first."`
}

// Names of the entries in an operation's metadata.
const (
	metaRole  = "role"  // Role that the caller must have; absent: open to all
	metaAudit = "audit" // the operation changes something
)

// apiConfig is huma's configuration without what would reach outside: its own
// docs page loads from a CDN, its schema links trust the Host header.
func apiConfig(version string) huma.Config {
	c := huma.DefaultConfig("Tandem admin API", cmp.Or(version, "dev"))
	c.Info.Description = "The private door of a Tandem node. Any node takes any request of its region. " +
		"Reads take ?consistency= and say in the headers Tandem-Consistency, Tandem-Applied-Index and Tandem-As-Of how fresh they are. " +
		"Refusals are problems of RFC 9457."
	c.Servers = []*huma.Server{{URL: "/", Description: "The node that tells this."}}
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "/v1/openapi", "", ""
	c.CreateHooks = nil
	strict := huma.Format{
		Marshal: func(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) },
		// Refuses duplicate names and bad UTF-8, which encoding/json lets pass.
		Unmarshal: func(b []byte, v any) error { return jsonv2.Unmarshal(b, v) },
	}
	c.Formats = map[string]huma.Format{"application/json": strict, "json": strict}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A token of the region (POST /v1/tokens) or of the node's tokens file, with one of the roles read, operate (includes read), bot, join."},
	}
	return c
}

// plain leaves out of the document what is the library's own: what a pattern means is said in
// refusals, and OpenAPI has no word for it.
func plain(doc *huma.OpenAPI) {
	for _, s := range doc.Components.Schemas.Map() {
		for _, field := range s.Properties {
			field.PatternDescription = ""
		}
	}
}

// operation describes one path for the router and the document alike.
func (d *Door) operation(id, method, path string, role api.Role, summary string) huma.Operation {
	op := huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{d.tag(path)},
		MaxBodyBytes: d.cfg.BodyLimit,
		// A filter that is misspelt must not look like one that chose everything.
		RejectUnknownQueryParameters: true,
		Metadata:                     map[string]any{},
		Errors: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMisdirectedRequest,
			http.StatusTooManyRequests, http.StatusServiceUnavailable},
	}
	if strings.Contains(path, "{") {
		op.Errors = append(op.Errors, http.StatusNotFound)
	}
	if method == http.MethodPost || method == http.MethodPut {
		op.Errors = append(op.Errors, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if role == "" {
		op.Errors, op.Description, op.Security = nil, "Open to all.", []map[string][]string{{}}
		return op
	}
	op.Metadata[metaRole] = role
	op.Security = []map[string][]string{{"token": {string(role)}}}
	op.Description = "Role: " + string(role) + "."
	return op
}

// tag is what a path is about: by it the document's readers find their way.
func (d *Door) tag(path string) string {
	name := "health"
	if rest, ok := strings.CutPrefix(path, "/v1/"); ok {
		name, _, _ = strings.Cut(rest, "/")
	}
	doc := d.api.OpenAPI()
	if !slices.ContainsFunc(doc.Tags, func(t *huma.Tag) bool { return t.Name == name }) {
		doc.Tags = append(doc.Tags, &huma.Tag{Name: name})
	}
	return name
}

// change is an operation that changes something: its outcome is audited.
func (d *Door) change(id, method, path string, role api.Role, summary string) huma.Operation {
	op := d.operation(id, method, path, role, summary)
	op.Metadata[metaAudit] = true
	op.Errors = append(op.Errors, http.StatusConflict)
	return op
}

// admit lets a caller pass to an operation, or answers in its place, and audits
// changes, those refused for their role too.
func (d *Door) admit(ctx huma.Context, next func(huma.Context)) {
	op := ctx.Operation()
	role, guarded := op.Metadata[metaRole].(api.Role)
	if !guarded {
		next(ctx)
		return
	}
	r, w, _ := humahttprouter.Unwrap(ctx)
	who, refused := d.admitted(r, role)
	note := &remark{}
	// Without a name nobody has been told apart: such an attempt is limited and
	// not audited. Deferred, because a snapshot that breaks off ends in a panic.
	if _, audited := op.Metadata[metaAudit]; audited && who.Name != "" {
		record := func(status int) {
			d.audit.record(r.Context(), api.Change{
				At: d.now(), By: who.Name, From: r.RemoteAddr, Action: op.OperationID, Subject: r.URL.Path, Status: status, Detail: note.text,
			})
		}
		first := refused == nil && d.goes(op.OperationID, r.URL.Path)
		if first {
			note.text = "asked for, of " + string(d.cfg.Node)
			record(http.StatusAccepted)
		}
		defer func() {
			status := ctx.Status()
			if refused != nil {
				status = refused.status
			}
			if !first || status/100 != 2 {
				record(status)
			}
		}()
	}
	if refused != nil {
		d.refuse(w, refused)
		return
	}
	next(huma.WithContext(ctx, context.WithValue(withCaller(ownership.By(ctx.Context(), who.Name), who), remarkKey{}, note)))
}

// goes reports whether an operation takes this node out of its region: afterwards it enters
// nothing into the region's ledger, so it does before.
func (d *Door) goes(operation, path string) bool {
	return operation == "leave" || operation == "remove-node" && path == "/v1/nodes/"+url.PathEscape(string(d.cfg.Node))
}

// admitted says who sent the request and whether they have the role.
func (d *Door) admitted(r *http.Request, role api.Role) (visitor, *refusal) {
	who, refused := d.auth.identify(r)
	if refused == nil && !who.may(role) {
		refused = refusedRole
	}
	return who, refused
}

// refuse answers in the place of an operation.
func (d *Door) refuse(w http.ResponseWriter, why *refusal) {
	switch why.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="tandem admin"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	writeProblem(w, why.status, why.text)
}

// only puts a role in front of a plain handler.
func (d *Door) only(role api.Role, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, refused := d.admitted(r, role)
		if refused != nil {
			d.refuse(w, refused)
			return
		}
		h.ServeHTTP(w, r.WithContext(withCaller(r.Context(), who)))
	})
}

// remark is what an operation adds to its line of the audit log.
type remark struct{ text string }

type remarkKey struct{}

// note adds a text to the request's line of the audit log.
func note(ctx context.Context, text string) {
	if n, ok := ctx.Value(remarkKey{}).(*remark); ok {
		n.text = text
	}
}

// freshen makes sure of what the caller asked for and says how fresh the table
// is now.
func (d *Door) freshen(ctx context.Context, a Asking) (api.Freshness, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Patience)
	defer cancel()
	if a.Consistency == api.Leader || a.Consistency == api.Linearizable {
		if err := d.deps.Cluster.ReadBarrier(ctx); err != nil {
			return api.Freshness{}, problem(err)
		}
	}
	return api.Freshness{Consistency: cmp.Or(a.Consistency, api.Local), Applied: d.deps.Table.Applied(), AsOf: d.now().UTC()}, nil
}

// answer is a read's output: the body, and in the headers how fresh it is.
type answer[T any] struct {
	api.Freshness
	Body T
}

// freshly answers a read with what get gives.
func freshly[T any](ctx context.Context, d *Door, a Asking, get func() (T, error)) (*answer[T], error) {
	fresh, err := d.freshen(ctx, a)
	if err != nil {
		return nil, err
	}
	body, err := get()
	if err != nil {
		return nil, problem(err)
	}
	return &answer[T]{fresh, body}, nil
}

// reply is the output of an operation that has no freshness.
type reply[T any] struct {
	Body T
}

// within asks with the door's patience and replies with what came.
func within[T any](ctx context.Context, d *Door, ask func(context.Context) (T, error)) (*reply[T], error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Patience)
	defer cancel()
	body, err := ask(ctx)
	if err != nil {
		return nil, problem(err)
	}
	return &reply[T]{body}, nil
}

// list is a body that holds several things of one kind.
func list[T any](items []T) api.List[T] { return api.List[T]{Items: orEmpty(items)} }

// read registers a read whose input is nothing but its region and consistency.
func read[T any](d *Door, how reach, id, path, summary string, get func(context.Context) (T, error)) {
	huma.Register(d.api, far(d.operation(id, http.MethodGet, path, api.RoleRead, summary), how),
		func(ctx context.Context, in *struct{ Asking }) (*answer[T], error) {
			return freshly(ctx, d, in.Asking, func() (T, error) { return get(ctx) })
		})
}
