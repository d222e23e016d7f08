package graph

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// carrier is a good notification with a member that Decode ignores, to be filled
// with any JSON.
func carrier(v []byte) []byte {
	return []byte(body(callURL + `,"ignored":` + string(v)))
}

// FuzzStrict compares what Decode takes for JSON with two other readers, the v2
// and the v1 of encoding/json: what v2 refuses (duplicate names, bad UTF-8) or v1
// refuses is refused, although it stands in a member that nobody reads, and what
// both take is taken unless it is one of the few things that Decode is stricter
// about.
func FuzzStrict(f *testing.F) {
	for _, s := range []string{
		`1`, `"x"`, `null`, `true`, `[1,2]`, `{"a":{"b":[]}}`, ` 1 `, `-0`, `1e999`, `9223372036854775808`, `0.1e-7`,
		`{"a":1,"a":2}`, `{"a":1,"A":2}`, `{"a":{"b":1,"b":1}}`, `{"\u0061":1,"a":2}`, // B77
		strings.Repeat("[", 200) + strings.Repeat("]", 200), // B78
		"\"\xff\"", `"\ud800"`, `"\ud83d\ude00"`, "\"\x00\"", `"\u0000"`, // B79
		`01`, `+1`, `.5`, `1.`, `1e`, `-`, `NaN`, `Infinity`, `0x1`, `1_0`, // B85
		`1}`, `1} {`, `1,"value":[]`, `1],"x":[1`, // B86
		"\ufeff1", "1\ufeff", "'a'", `"a`, `{a:1}`, `[1,]`, `{"a":1,}`, `/*x*/1`, "\"\t\"", `"\x41"`, // B87 and looser dialects
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		if len(v) > 64<<10 {
			return
		}
		b := carrier(v)
		_, err := Decode(b, Limits{})
		var one json.RawMessage // not into any: 1e999 is JSON, though no float64
		var two jsontext.Value
		errV1, errV2 := json.Unmarshal(b, &one), jsonv2.Unmarshal(b, &two)
		if err == nil && errV2 != nil {
			t.Fatalf("taken, though json/v2 says %v: %q", errV2, v)
		}
		if err == nil && errV1 != nil {
			t.Fatalf("taken, though encoding/json says %v: %q", errV1, v)
		}
		if err != nil && errV1 == nil && errV2 == nil && !stricter(v) {
			t.Fatalf("refused with %v, though both take it: %q", err, v)
		}
	})
}

// stricter reports whether a value holds one of the things that Decode may
// refuse beyond the JSON readers: an escape or NUL in a text, names, depth.
func stricter(v []byte) bool {
	return bytes.ContainsAny(v, "\\\x00{") || bytes.Count(v, []byte("[")) > defaultDepth/2 || !json.Valid(v)
}
