package token

import (
	"net/http"
	"strings"
)

// bearer takes the token out of the headers of a request, as RFC 9110 11.6.2
// and RFC 6750 2.1 write it: one Authorization header, the scheme in any case,
// one or more spaces, a token. Query, body, cookies and trailers are not
// looked at. Bytes and length of the token itself are judged later.
func bearer(h http.Header) (string, Code) {
	values := h["Authorization"]
	switch {
	case len(values) > 1:
		return "", CodeSeveralHeaders
	case len(values) == 0 && len(h["Authentication"]) > 0:
		// The sample of Microsoft's page "Incoming call notifications" has this typo.
		return "", CodeHeaderTypo
	case len(values) == 0:
		return "", CodeNoToken
	}
	const scheme = "bearer"
	v := values[0]
	if len(v) <= len(scheme) || !strings.EqualFold(v[:len(scheme)], scheme) || v[len(scheme)] != ' ' {
		return "", CodeNotBearer
	}
	raw := strings.TrimLeft(v[len(scheme):], " ")
	if raw == "" {
		return "", CodeNotBearer
	}
	return raw, ""
}
