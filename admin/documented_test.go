package admin

import (
	"encoding/json"
	"mime"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// documented holds every answer that a test gets against the door's own OpenAPI document:
// its status is named there, and its body is of the schema.
func (r *room) documented(method, path string, a answered) {
	r.t.Helper()
	doc := r.door.api.OpenAPI()
	path, _, _ = strings.Cut(path, "?")
	op := operationOf(doc, method, path)
	if op == nil {
		return // a page of the console, or nothing that the API knows
	}
	resp := op.Responses[strconv.Itoa(a.StatusCode)]
	if resp == nil {
		resp = op.Responses["default"]
	}
	if resp == nil {
		r.t.Errorf("%s %s answers %d, which the document does not name", method, path, a.StatusCode)
		return
	}
	kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	media := resp.Content[kind]
	switch {
	case a.text == "" && (len(resp.Content) == 0 || method == "HEAD"):
	case err != nil || media == nil:
		r.t.Errorf("%s %s answers %d with %q, which the document does not name", method, path, a.StatusCode, a.Header.Get("Content-Type"))
	case media.Schema == nil || !strings.HasSuffix(kind, "json"):
	default:
		var body any
		if err := json.Unmarshal([]byte(a.text), &body); err != nil {
			r.t.Errorf("%s %s answers %d with no JSON: %v", method, path, a.StatusCode, err)
			return
		}
		var res huma.ValidateResult
		huma.Validate(doc.Components.Schemas, media.Schema, huma.NewPathBuffer([]byte("body"), len("body")), huma.ModeReadFromServer, body, &res)
		for _, err := range res.Errors {
			r.t.Errorf("%s %s answers %d otherwise than the document says: %v", method, path, a.StatusCode, err)
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
