package ownership

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseCallID(t *testing.T) {
	tests := []struct {
		name, in string
		want     CallID // "": refused
	}{
		{"undashed upper case", "57DAB8B1894C409AB240BD8BEAE78896", "57dab8b1894c409ab240bd8beae78896"},
		{"dashed", "57dab8b1-894c-409a-b240-bd8beae78896", "57dab8b1894c409ab240bd8beae78896"},
		{"longest", strings.Repeat("a", MaxCallIDLen), CallID(strings.Repeat("a", MaxCallIDLen))},
		{"B83 empty", "", ""},
		{"B83 too long", strings.Repeat("a", MaxCallIDLen+1), ""},
		{"B83 4 KiB", strings.Repeat("a", 4096), ""},
		{"B83 nothing but dashes", "----", ""},
		{"B83 dot dot", "..", ""},
		{"B83 slash", "a/b", ""},
		{"B83 percent", "%2e%2e", ""},
		{"B83 newline", "a\nb", ""},
		{"B83 NUL", "a\x00b", ""},
		{"B83 look-alike letter", "аbc", ""},
		{"B83 underscore", "a_b", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseCallID(tt.in)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func FuzzParseCallID(f *testing.F) {
	for _, s := range []string{"57DAB8B1-894C", "", "--", "a/b", "\xff", "0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseCallID(s)
		if err != nil {
			if id != "" {
				t.Fatalf("refused, and yet it gave %q", id)
			}
			return
		}
		if id == "" || len(id) > len(s) || strings.Trim(string(id), "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Fatalf("%q gave %q", s, id)
		}
		if again, err := ParseCallID(string(id)); err != nil || again != id {
			t.Fatalf("%q reads again as %q, %v", id, again, err)
		}
		if upper, err := ParseCallID(strings.ToUpper(s)); err != nil || upper != id {
			t.Fatalf("in upper case %q reads as %q, %v", s, upper, err)
		}
	})
}

// TestStateWords: states cross every door as words, and come back.
func TestStateWords(t *testing.T) {
	type states struct {
		Node NodeState
		Call CallState
	}
	for _, s := range []states{{NodeActive, CallClaimed}, {NodeDraining, CallAnswered}, {NodeGone, CallOrphaned}, {NodeGone, CallEnded}, {0, CallEnded}} {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back states
		if err := json.Unmarshal(text, &back); err != nil || back != s {
			t.Errorf("%s came back as %+v, %v", text, back, err)
		}
	}
	var s states
	for _, bad := range []string{`{"Node":"asleep"}`, `{"Node":""}`, `{"Call":"unknown"}`, `{"Call":""}`} {
		if err := json.Unmarshal([]byte(bad), &s); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
	if NodeState(9).String() != "unknown" || CallState(0).String() != "unknown" {
		t.Error("a state without a word is not called unknown")
	}
}
