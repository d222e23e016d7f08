package graph

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var idGrammar = regexp.MustCompile(`^[a-z0-9]{1,128}$`)

// FuzzDecode holds Decode to what the rest relies on: an id that is accepted is
// clean, and encoding/json, which takes the last of duplicate names and names in
// any letter case, sees the same calls in the same bytes. On a callback URI more is
// taken, but nothing is read otherwise.
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
	for _, other := range unknowns {
		f.Add([]byte(`{"value":[` + other + `,{"resource":"/app/calls/c1"}]}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := string(b)
		msg, err := Decode(b, Limits{})
		addressed, errAddressed := Decode(b, Limits{Addressed: true})
		switch {
		case err == nil && !cmp.Equal(msg, addressed, cmp.AllowUnexported(Call{}, target{})):
			t.Fatalf("%+v on a callback URI, %+v (%v) off it", addressed, msg, errAddressed)
		case err != nil && errAddressed == nil && (addressed.Kind != Graph || len(addressed.Notifications) > 0 || addressed.Unknown == 0):
			t.Fatalf("only on a callback URI: %+v", addressed)
		case errAddressed == nil && (!json.Valid(b) || !utf8.Valid(b)):
			t.Fatalf("taken on a callback URI, though it is no JSON in UTF-8: %q", b)
		}
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
		if err := json.Unmarshal(b, &other); err != nil && msg.Unknown == 0 { // what is unknown may hold anything there
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		if len(other.Value) != len(msg.Notifications)+msg.Unknown {
			t.Fatalf("%d notifications and %d unknown, encoding/json sees %d", len(msg.Notifications), msg.Unknown, len(other.Value))
		}
		at := 0
		for i, n := range msg.Notifications {
			if !idGrammar.MatchString(n.CallID) || normalise(n.RawCallID) != n.CallID || strings.Contains(n.SubResource, "..") && strings.Contains("/"+n.SubResource+"/", "/../") {
				t.Fatalf("unclean: %+v", n)
			}
			names := func() bool {
				v := other.Value[at]
				for _, seen := range []string{v.Resource, v.ResourceURL} {
					if seen != "" && !strings.Contains(normalise(seen), "/calls/"+n.CallID) {
						return false
					}
				}
				return v.Resource != "" || v.ResourceURL != ""
			}
			for last := at + msg.Unknown; at <= last && at < len(other.Value) && !names(); at++ {
				if msg.Unknown == 0 {
					break
				}
			}
			if at == len(other.Value) || !names() {
				t.Fatalf("notification %d is of call %s here, and of none for encoding/json", i, n.CallID)
			}
			at++
			if n.Kind == EndOfCall && n.SubResource != "" || n.Kind == NewCall && (n.SubResource != "" || n.State != StateIncoming) {
				t.Fatalf("misjudged: %+v", n)
			}
		}
	})
}

// normalise does to any text what is done to a call's id.
func normalise(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "")) }
