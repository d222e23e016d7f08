package conformance

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzReplies: whatever a bot replies is judged, and what passes is what the contract says.
func FuzzReplies(f *testing.F) {
	for _, seed := range []string{"", " ", "OK", "null", "{}", `{"answer":{"acceptedModalities":["audio"],"mediaConfig":{}}}`, `{"reject":{"reason":"busy"}}`,
		`{"reject":null}`, `{"answer":1,"reject":{}}`, `{"load":0.5,"capacity":50,"draining":true}`, `{"load":null}`, `{"capacity":1e99}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		d, err := Decision([]byte(body))
		var members map[string]json.RawMessage
		object := json.Unmarshal([]byte(body), &members) == nil && members != nil
		switch {
		case err != nil && d != "":
			t.Errorf("%q is wrong and yet decides %s", body, d)
		case d == "none" && strings.TrimSpace(body) != "", (d == "answer" || strings.HasPrefix(d, "reject")) && (!object || len(members) != 1):
			t.Errorf("%q passes as %s", body, d)
		}
		if Health([]byte(body)) == nil && strings.TrimSpace(body) != "" && !object {
			t.Errorf("%q passes as a health reply", body)
		}
	})
}
