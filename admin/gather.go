package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// gatheredMark stands before the cursor of a list that several regions told: where each of
// them is to go on.
const gatheredMark = "all-"

// ownAnswer is what this door answers itself with.
type ownAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *ownAnswer) Header() http.Header { return a.header }
func (a *ownAnswer) WriteHeader(status int) {
	a.status = cmp.Or(a.status, status)
}
func (a *ownAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// gathered is a list that several regions told. Each item names its region.
type gathered struct {
	Items []json.RawMessage `json:"items"`
	Next  string            `json:"next,omitempty"`
	Parts []api.Part        `json:"parts"`
	// Partial: a part is missing.
	Partial bool `json:"partial,omitempty"`
}

// gather answers with what all regions say, this one first. Who does not answer in time is
// named with the reason, and is no part of the cursor: a reader would follow it for ever.
func (x *abroad) gather(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	regions := append([]ownership.Region{x.self}, x.others()...)
	cursors := map[ownership.Region]string{}
	if cursor := r.URL.Query().Get("cursor"); cursor != "" {
		if cursors = readCursors(cursor); cursors == nil {
			writeProblem(w, http.StatusBadRequest, fmt.Sprintf("cursor is %q: give the next of the page before, or leave it out for the first page.", cut(cursor, 64)))
			return
		}
		regions = slices.DeleteFunc(regions, func(r ownership.Region) bool { return cursors[r] == "" })
	}
	paths := map[ownership.Region]string{}
	for _, region := range regions {
		paths[region] = hence(r, "region", "cursor")
		if c := cursors[region]; c != "" {
			q := r.URL.Query()
			q.Del("region")
			q.Set("cursor", c)
			paths[region] = r.URL.EscapedPath() + "?" + q.Encode()
		}
	}
	own, asked := paths[x.self]
	delete(paths, x.self)
	within, cancel := context.WithTimeout(ctx, gatherIn)
	defer cancel()
	coming := x.askAll(within, paths)
	answers := map[ownership.Region]answerOf{}
	if asked {
		a := x.askSelf(ctx, r, own)
		if a.status/100 == 4 { // what is wrong with the question is so everywhere
			passOn(w, &http.Response{StatusCode: a.status, Header: a.header, Body: a.reader()}, x.self)
			return
		}
		answers[x.self] = a
	}
	for range paths {
		a := <-coming
		answers[a.region] = a
	}
	out, next := gathered{Items: []json.RawMessage{}}, map[ownership.Region]string{}
	for _, region := range regions {
		part := out.take(answers[region])
		if part.Next != "" {
			next[region] = part.Next
		}
		out.Partial = out.Partial || part.Partial
		out.Parts = append(out.Parts, part)
	}
	if len(next) > 0 {
		out.Next = writeCursors(next)
	}
	writeJSON(w, http.StatusOK, out)
}

// askSelf asks this door what the other regions are asked.
func (x *abroad) askSelf(ctx context.Context, r *http.Request, path string) answerOf {
	self := r.Clone(ctx)
	_, self.URL.RawQuery, _ = strings.Cut(path, "?")
	self.Header.Set(forwarded, string(x.self))
	got := &ownAnswer{header: http.Header{}}
	x.router.ServeHTTP(got, self)
	a := answerOf{region: x.self, status: got.status, header: got.header, body: got.body.Bytes()}
	if a.status != http.StatusOK {
		a.err = refusalOf(&http.Response{StatusCode: a.status, Body: a.reader()}, a.region)
	}
	return a
}

// take appends one region's items, and says how many came and how fresh they are.
func (g *gathered) take(a answerOf) api.Part {
	p := api.Part{Region: a.region}
	var told struct {
		Items []json.RawMessage `json:"items"`
		Next  string            `json:"next"`
	}
	err := a.err
	if err == nil {
		err = json.Unmarshal(a.body, &told)
	}
	if err != nil {
		p.Partial, p.Error = true, err.Error()
		return p
	}
	p.AsOf, _ = time.Parse(time.RFC3339Nano, a.header.Get("Tandem-As-Of")) // absent: zero
	p.Items, p.Next = len(told.Items), told.Next
	for _, item := range told.Items {
		g.Items = append(g.Items, named(item, a.region))
	}
	return p
}

// named puts the region into an item that does not say it.
func named(item json.RawMessage, region ownership.Region) json.RawMessage {
	var has struct {
		Region string `json:"region"`
	}
	rest, object := bytes.CutPrefix(item, []byte("{"))
	if json.Unmarshal(item, &has) != nil || has.Region != "" || !object {
		return item
	}
	name, _ := json.Marshal(region) // a string
	comma := ","
	if bytes.HasPrefix(bytes.TrimSpace(rest), []byte("}")) {
		comma = ""
	}
	return slices.Concat([]byte(`{"region":`), name, []byte(comma), rest)
}

func writeCursors(next map[ownership.Region]string) string {
	text, _ := json.Marshal(next) // strings
	return gatheredMark + base64.RawURLEncoding.EncodeToString(text)
}

// readCursors returns nil for what is no cursor of a gathered list.
func readCursors(cursor string) map[ownership.Region]string {
	body, marked := strings.CutPrefix(cursor, gatheredMark)
	text, err := base64.RawURLEncoding.Strict().DecodeString(body)
	var next map[ownership.Region]string
	if !marked || err != nil || json.Unmarshal(text, &next) != nil || len(next) == 0 {
		return nil
	}
	return next
}
