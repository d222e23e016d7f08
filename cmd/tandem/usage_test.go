package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestWrongUsageExitsWithTwo: whatever is wrong with the words alone is told
// apart from a failure.
func TestWrongUsageExitsWithTwo(t *testing.T) {
	for line, says := range map[string]string{
		"frob":                       `unknown command "frob"`,
		"nodse":                      "did you mean nodes?",
		"nodes --frob":               "unknown flag: --frob",
		"nodes a b":                  "write list, or show and one name",
		"nodes show":                 "write list, or show and one name",
		"regions list x":             "write list, or show and one name",
		"version --format foo":       "table, json or yaml",
		"config frob":                `unknown command "frob"`,
		"config":                     "needs one of its verbs",
		"nodes --consistency foo":    "local, leader or linearizable",
		"nodes --format foo":         "table, json or yaml",
		"tls cert --dir . --node a":  "required flag",
		"calls --limit -1":           "--limit is -1: it cannot be below zero",
		"calls --limit 0":            "write a number from 1 to 1000",
		"calls --limit 5000":         "write a number from 1 to 1000",
		"calls --limit abc":          `--limit is "abc": write a whole number`,
		"events --after abc":         `--after is "abc": write a whole number, 0 or more`,
		"events --after -1":          `--after is "-1": write a whole number, 0 or more`,
		"drain a --within abc":       `--within is "abc": write a duration such as 30s`,
		"drain a --within=-5m":       "--within is -5m0s: it cannot be below zero",
		"upgrade check a --wait=-1s": "--wait is -1s: it cannot be below zero",
		"dev --health http://h/":     "--health needs --bot",
		"dev --bot 127.0.0.1:9442":   "is no URL such as",
		"dev --answer both":          `--answer is "both": router or bot`,
		"sim --rate abc":             `--rate is "abc": write a number`,
		"sim --rate=-1":              "--rate is -1: it cannot be below zero",
		"drain a --wait=perhaps":     `--wait is "perhaps": write true or false`,
		"completion powrshell":       "did you mean powershell?",
		"completion":                 "needs one of its verbs",
		"help nosuch":                `there is no command "nosuch"`,
		"calls --at 5m --index 7":    "write only one of --at, --index; see",
		"log off":                    "write one of --call, --tenant, --node; see",
		"log off --call a --node b":  "write only one of --call, --tenant, --node; see",
		"nodes --at soon":            `--at is "soon": write how long ago (24h, 7d)`,
		"join notaddress":            "such as 10.0.0.2:8471",
		"join host:99999":            "such as 10.0.0.2:8471",
		"join http://host:8471":      "such as 10.0.0.2:8471",
	} {
		var out, errs bytes.Buffer
		if code := run(strings.Fields(line), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), says) {
			t.Errorf("tandem %s exits with %d and says %q, want %d and %q", line, code, &errs, exitUsage, says)
		}
	}
}

// TestAnEmptyWordIsNone: a script's empty variable names nothing, and surely not all.
func TestAnEmptyWordIsNone(t *testing.T) {
	for _, line := range [][]string{{"drain", ""}, {"remove", ""}, {"nodes", "show", ""}, {"release", ""}, {"move", "1", ""}, {"raft", "transfer-leader", ""}} {
		var out, errs bytes.Buffer
		if code := run(line, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "one of its words is empty") {
			t.Errorf("tandem %q exits with %d and says %q", line, code, &errs)
		}
	}
}

// TestNoParserIsQuoted: no flag of any command answers a wrong value in the words of Go's
// parsers.
func TestNoParserIsQuoted(t *testing.T) {
	looked := 0
	var look func(c *cobra.Command, path []string)
	look = func(c *cobra.Command, path []string) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if strings.HasPrefix(f.Value.Type(), "string") {
				return
			}
			looked++
			var out, errs bytes.Buffer
			code := run(append(slices.Clone(path), "--"+f.Name+"=~"), &out, &errs)
			if code != exitUsage || strings.Contains(errs.String(), "strconv") || !strings.Contains(errs.String(), "write ") {
				t.Errorf("tandem %s --%s=~ exits with %d and says %q", strings.Join(path, " "), f.Name, code, &errs)
			}
		})
		for _, sub := range c.Commands() {
			look(sub, append(slices.Clone(path), sub.Name()))
		}
	}
	look((&app{out: io.Discard, err: io.Discard}).root(), nil)
	if looked < 20 {
		t.Errorf("only %d flags were looked at", looked)
	}
}

// TestSimSaysThatNobodyListens: the refused connection and its address.
func TestSimSaysThatNobodyListens(t *testing.T) {
	var out, errs bytes.Buffer
	code := run(strings.Fields("sim --listen 127.0.0.1:0 --target emea/emea-1=http://127.0.0.1:1 --region-url emea=http://127.0.0.1:1 --kind --duration 300ms"), &out, &errs)
	if code != exitUnavailable || !strings.Contains(errs.String(), "emea-1 at http://127.0.0.1:1: ") || !strings.Contains(errs.String(), "refused") {
		t.Errorf("exit code %d: %s", code, &errs)
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
