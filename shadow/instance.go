package shadow

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unique"

	"golang.org/x/net/http/httpguts"

	"tandem/graph"
)

// Source says by what a response tells which instance handled the request. The zero one is
// the upstream that the request was passed to: with one upstream that says nothing.
type Source struct{ kind, name string }

// The kinds of a Source.
const (
	byHeader   = "header"
	byCookie   = "cookie"
	byLocation = "location"
)

// ReadSource reads header:NAME, cookie:NAME, location, or nothing.
func ReadSource(text string) (Source, error) {
	kind, name, named := strings.Cut(text, ":")
	s := Source{kind: kind, name: name}
	switch {
	case text == "":
		return Source{}, nil
	case kind == byLocation && !named, (kind == byHeader || kind == byCookie) && httpguts.ValidHeaderFieldName(name):
		return s, nil
	}
	return Source{}, fmt.Errorf("%.64q does not say where a response names its instance: write header:NAME, cookie:NAME or location", text)
}

// of tells the instance; empty: the response does not. upstream is the name of the upstream
// that gave it. Of a redirect it is the one that is sent to, not the one that sends.
func (s Source) of(upstream string, resp *http.Response) string {
	name := ""
	if (resp.StatusCode/100 == 3) != (s.kind == byLocation) {
		return ""
	}
	switch s.kind {
	case "":
		name = upstream
	case byHeader:
		if v := resp.Header.Values(s.name); len(v) == 1 {
			// nginx' $upstream_addr lists all that were tried; the last one answered.
			name = strings.TrimSpace(v[0][strings.LastIndexByte(v[0], ',')+1:])
		}
	case byCookie:
		for _, c := range resp.Cookies() {
			if c.Name == s.name {
				name = c.Value
			}
		}
	case byLocation:
		if to, err := url.Parse(resp.Header.Get("Location")); err == nil {
			name = to.Host
		}
	}
	if !graph.IsPlain(name) || len(name) > mostNameBytes {
		return ""
	}
	return unique.Make(name).Value() // one copy for all calls
}

// mostNameBytes bounds the name of an instance.
const mostNameBytes = 128
