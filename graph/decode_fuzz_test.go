package graph

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

var idGrammar = regexp.MustCompile(`^[a-z0-9]{1,128}$`)

// FuzzDecode holds Decode to what the rest relies on: an id that is accepted is
// clean, and encoding/json, which takes the last of duplicate names and names in
// any letter case, sees the same calls in the same bytes.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/samples/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{
		body(`"resource":"/app/calls/c1","RESOURCE":"/app/calls/c2"`),
		body(`"resource":"/app/calls/c1","resourceUrl":"/communications/calls/C-1/operations/x"`),
		body(callURL + `,"resourceData":{"targets":{"id":"x"},"resultInfo":{"subCode":"1","code":2}}`),
		body(callURL + `,"x":"\ud800"`), `{"value":[],"callState":"x"}`, `[[[[`, "\ufeff{}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := string(b)
		msg, err := Decode(b, Limits{})
		if string(b) != before {
			t.Fatal("Decode wrote into the body")
		}
		if err != nil {
			if msg.Kind != 0 || msg.Notifications != nil {
				t.Fatalf("an error with a message: %+v, %v", msg, err)
			}
			return
		}
		if !json.Valid(b) || !utf8.Valid(b) {
			t.Fatalf("taken, though it is no JSON in UTF-8: %q", b)
		}
		if msg.Kind == Legacy {
			return
		}
		var other struct {
			Value []struct{ Resource, ResourceURL string }
		}
		if err := json.Unmarshal(b, &other); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		if len(other.Value) != len(msg.Notifications) {
			t.Fatalf("%d notifications, encoding/json sees %d", len(msg.Notifications), len(other.Value))
		}
		for i, n := range msg.Notifications {
			if !idGrammar.MatchString(n.CallID) || normalise(n.RawCallID) != n.CallID || strings.Contains(n.SubResource, "..") && strings.Contains("/"+n.SubResource+"/", "/../") {
				t.Fatalf("unclean: %+v", n)
			}
			for _, seen := range []string{other.Value[i].Resource, other.Value[i].ResourceURL} {
				if seen != "" && !strings.Contains(normalise(seen), "/calls/"+n.CallID) {
					t.Fatalf("call %s here, %q for encoding/json", n.CallID, seen)
				}
			}
			if n.Kind == EndOfCall && n.SubResource != "" || n.Kind == NewCall && (n.SubResource != "" || n.State != StateIncoming) {
				t.Fatalf("misjudged: %+v", n)
			}
		}
	})
}
