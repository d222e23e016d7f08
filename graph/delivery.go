package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"
)

// The cloud's clocks from the first notification of a call to the answer
// (https://learn.microsoft.com/graph/api/call-answer).
const (
	AnswerIn          = 15 * time.Second
	RecordingAnswerIn = 5 * time.Second
)

// The headers that name a delivery.
const (
	HeaderMessage = "X-Microsoft-Skype-Message-Id"
	HeaderRequest = "Client-Request-Id"
)

// maxPlain bounds ids that come in headers, in bytes; real ones have 36.
const maxPlain = 256

// IsPlain takes short printable ASCII: what an id in a header may be.
func IsPlain(s string) bool {
	if s == "" || len(s) > maxPlain {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// MessageID returns the id of a delivery, the same on the cloud's retries: the
// Skype message id, else the client's request id, else a hash of the body.
func MessageID(header http.Header, body []byte) string {
	for _, name := range []string{HeaderMessage, HeaderRequest} {
		if v := header[name]; len(v) == 1 && IsPlain(v[0]) {
			return v[0]
		}
	}
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:16])
}
