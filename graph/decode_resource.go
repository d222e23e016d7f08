package graph

import "strings"

// maxID is the longest call id accepted, in bytes; real ones have 32 or 36.
const maxID = 128

// maxSub bounds what may follow the id in a resource, in bytes.
const maxSub = 512

// resource is where a notification points: a call, or a part of one.
type resource struct {
	id  string // as the cloud spelled it
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
	if !isID(id) {
		return resource{}, malformed("the call id of its resource is outside [A-Za-z0-9-]{1,128}")
	}
	if more && !isSub(sub) {
		return resource{}, malformed("its resource is no clean path below a call")
	}
	return resource{id: id, sub: sub}, nil
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
	case normalise(a.id) != normalise(b.id):
		return resource{}, malformed("resource and resourceUrl name different calls")
	}
	if b.sub == "" {
		b.sub = a.sub
	}
	return b, nil
}

// isID checks the grammar of call ids: they reach paths, keys and logs.
func isID(s string) bool {
	if len(s) == 0 || len(s) > maxID {
		return false
	}
	dashes := 0
	for i := range len(s) {
		switch c := s[i]; {
		case isAlphanumeric(c):
		case c == '-':
			dashes++
		default:
			return false
		}
	}
	return dashes < len(s)
}

// isSub takes clean relative paths of names and ids.
func isSub(s string) bool {
	if len(s) > maxSub {
		return false
	}
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
		for i := range len(segment) {
			if c := segment[i]; !isAlphanumeric(c) && !strings.ContainsRune("-_.:@=+~$", rune(c)) {
				return false
			}
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// normalise strips dashes and lowers letters: one documentation page spells the
// same call 57DAB8B1894C… and 57dab8b1-894c-….
func normalise(id string) string {
	clean := true
	for i := range len(id) {
		if c := id[i]; c == '-' || c >= 'A' && c <= 'Z' {
			clean = false
			break
		}
	}
	if clean {
		return id
	}
	b := make([]byte, 0, maxID)
	for i := range len(id) {
		switch c := id[i]; {
		case c == '-':
		case c >= 'A' && c <= 'Z':
			b = append(b, c+'a'-'A')
		default:
			b = append(b, c)
		}
	}
	return string(b)
}
