package graph

import (
	"net/http"
	"strings"
	"testing"
)

// TestMessageID: the cloud's id, else the client's, else the body's hash.
func TestMessageID(t *testing.T) {
	body := []byte("b")
	for _, c := range []struct {
		header http.Header
		want   string
	}{
		{http.Header{"X-Microsoft-Skype-Message-Id": {"m"}, "Client-Request-Id": {"r"}}, "m"},
		{http.Header{"Client-Request-Id": {"r"}}, "r"},
		{http.Header{}, "sha256:3e23e8160039594a33894f6564e1b134"},
		{http.Header{"X-Microsoft-Skype-Message-Id": {"a", "b"}}, "sha256:3e23e8160039594a33894f6564e1b134"},
		{http.Header{"X-Microsoft-Skype-Message-Id": {strings.Repeat("x", 300)}}, "sha256:3e23e8160039594a33894f6564e1b134"},
		{http.Header{"X-Microsoft-Skype-Message-Id": {"\x1b[31m"}}, "sha256:3e23e8160039594a33894f6564e1b134"},
	} {
		if got := MessageID(c.header, body); got != c.want {
			t.Errorf("%v: %s, want %s", c.header, got, c.want)
		}
	}
}
