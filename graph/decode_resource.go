package graph

import (
	"cmp"
	"strings"

	"tandem/spelling"
)

// maxSub bounds what may follow the id in a resource, in bytes.
const maxSub = 512

// resource is where a notification points: a call, or a part of one.
type resource struct {
	id  string // as the cloud spelled it
	key string // the same as it counts, see spelling.CallID
	sub string // path below the call, without a leading slash

	other bool // it points at something else
}

// resource reads `resource` or `resourceUrl`; null counts as absent. Both
// members are seen with either prefix, so both are taken in both. What points
// into the calls must do so in one clean way; all else is about something else.
func (r *reader) resource(usual string) (resource, error) {
	text, err := r.optional()
	if err != nil || text == nil {
		return resource{}, err
	}
	rest, ok := strings.CutPrefix(string(text), usual)
	for _, prefix := range []string{"/communications/calls/", "/app/calls/"} {
		if !ok {
			rest, ok = strings.CutPrefix(string(text), prefix)
		}
	}
	if !ok {
		return resource{other: true}, nil
	}
	return parseResource(rest)
}

func parseResource(rest string) (resource, error) {
	id, sub, more := strings.Cut(rest, "/")
	key, err := spelling.CallID(id)
	if err != nil {
		return resource{}, malformed("the call id of its resource is outside [A-Za-z0-9-]{1,128}")
	}
	if more && !isSub(sub) {
		return resource{}, malformed("its resource is no clean path below a call")
	}
	return resource{id: id, key: key, sub: sub}, nil
}

// join puts `resource` and `resourceUrl` together: one is enough, both must
// name the same call. If only one points below the call, that one counts, so
// that the end of a part is never taken for the end of the call. An empty id says
// that neither names a call.
func (a resource) join(b resource) (resource, error) {
	switch {
	case a.id == "" && b.id == "":
		return resource{}, nil
	case a.other || b.other:
		return resource{}, malformed("resource and resourceUrl name different things")
	case a.id == "":
		return b, nil
	case b.id == "":
		return a, nil
	case a.key != b.key:
		return resource{}, malformed("resource and resourceUrl name different calls")
	}
	b.sub = cmp.Or(b.sub, a.sub)
	return b, nil
}

// isSub takes clean relative paths of names and ids.
func isSub(s string) bool {
	if len(s) > maxSub {
		return false
	}
	for segment := range strings.SplitSeq(s, "/") {
		odd := func(c rune) bool { return !isAlphanumeric(c) && !strings.ContainsRune("-_.:@=+~$", c) }
		if segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, odd) {
			return false
		}
	}
	return true
}

func isAlphanumeric(c rune) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
