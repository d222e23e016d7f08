package admin

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// witness keeps what a handler answers.
type witness struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *witness) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *witness) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *witness) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.body.Write(p)
	return w.ResponseWriter.Write(p)
}

// witnessed holds every answer of the door, whoever asks, against its own OpenAPI document:
// its status is named there, and its body is of the schema.
func (r *room) witnessed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		seen := &witness{ResponseWriter: w}
		next.ServeHTTP(seen, q)
		if seen.status != 0 { // who went away before a stream began got no answer
			r.documented(q.Method, q.URL.EscapedPath(), seen)
		}
	})
}

func (r *room) documented(method, path string, a *witness) {
	r.t.Helper()
	doc := r.door.api.OpenAPI()
	op := operationOf(doc, method, path)
	if op == nil {
		return // a page of the console, or nothing that the API knows
	}
	resp := op.Responses[strconv.Itoa(a.status)]
	if resp == nil {
		resp = op.Responses["default"]
	}
	if resp == nil {
		r.t.Errorf("%s %s answers %d, which the document does not name", method, path, a.status)
		return
	}
	kind, _, err := mime.ParseMediaType(a.Header().Get("Content-Type"))
	media := resp.Content[kind]
	switch {
	case a.body.Len() == 0 && (len(resp.Content) == 0 || method == "HEAD"):
	case err != nil || media == nil:
		r.t.Errorf("%s %s answers %d with %q, which the document does not name", method, path, a.status, a.Header().Get("Content-Type"))
	case media.Schema == nil || !strings.HasSuffix(kind, "json"):
	default:
		var body any
		if err := json.Unmarshal(a.body.Bytes(), &body); err != nil {
			r.t.Errorf("%s %s answers %d with no JSON: %v", method, path, a.status, err)
			return
		}
		var res huma.ValidateResult
		huma.Validate(doc.Components.Schemas, media.Schema, huma.NewPathBuffer([]byte("body"), len("body")), huma.ModeReadFromServer, body, &res)
		for _, err := range res.Errors {
			r.t.Errorf("%s %s answers %d otherwise than the document says: %v", method, path, a.status, err)
		}
	}
}

// operationOf finds the operation that answers a path; nil: there is none. A path without
// a parameter is closer than one with.
func operationOf(doc *huma.OpenAPI, method, path string) (found *huma.Operation) {
	for template, item := range doc.Paths {
		if !fits(template, path) {
			continue
		}
		op := map[string]*huma.Operation{
			"GET": item.Get, "POST": item.Post, "PUT": item.Put, "DELETE": item.Delete, "PATCH": item.Patch, "HEAD": item.Head,
		}[method]
		if op != nil && (found == nil || !strings.Contains(template, "{")) {
			found = op
		}
	}
	return found
}

func fits(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i] != got[i] && !strings.HasPrefix(want[i], "{") || got[i] == "" && want[i] != "" {
			return false
		}
	}
	return true
}
