package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestWrongUsageExitsWithTwo: whatever is wrong with the words alone is told
// apart from a failure.
func TestWrongUsageExitsWithTwo(t *testing.T) {
	for line, says := range map[string]string{
		"frob":                      `unknown command "frob"`,
		"nodse":                     "did you mean nodes?",
		"nodes --frob":              "unknown flag: --frob",
		"nodes a b":                 "write list, or show and one name",
		"nodes show":                "write list, or show and one name",
		"regions list x":            "write list, or show and one name",
		"version --format foo":      "table, json or yaml",
		"config frob":               `unknown command "frob"`,
		"config":                    "needs one of its verbs",
		"nodes --consistency foo":   "local, leader or linearizable",
		"nodes --format foo":        "table, json or yaml",
		"tls cert --dir . --node a": "required flag",
	} {
		var out, errs bytes.Buffer
		if code := run(strings.Fields(line), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), says) {
			t.Errorf("tandem %s exits with %d and says %q, want %d and %q", line, code, &errs, exitUsage, says)
		}
	}
}

// TestTokensAreNotRepeated: a token that was given where none is read stands in
// no output, which logs and terminals keep.
func TestTokensAreNotRepeated(t *testing.T) {
	const secret = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl"
	for _, line := range []string{"token explain " + secret, "token " + secret, "token explain --config x Bearer " + secret} {
		var out, errs bytes.Buffer
		if code := run(strings.Fields(line), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "standard input or --file") {
			t.Errorf("exit code %d, %q", code, &errs)
		}
		if strings.Contains(out.String()+errs.String(), secret[:12]) {
			t.Errorf("the token is repeated: %s%s", &out, &errs)
		}
	}
}
