package mutate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const list = `# a remark

B01 D4 doorway TestOne/D4 a case
@ a.go
-	if guard {
+	if false {
-	second()
+

B02 because it is another's guard
`

func TestRead(t *testing.T) {
	all, err := Read(list)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	m := &all[0]
	if !m.Is("B01") || !m.Is("D4") || m.Is("B02") || m.Room != "doorway" || m.Top() != "TestOne" || m.pattern() != "^TestOne$/D4_a_case" {
		t.Errorf("%+v, pattern %s", m, m.pattern())
	}
	want := []Edit{{"a.go", "	if guard {\n", "	if false {\n"}, {"a.go", "	second()\n", "\n"}}
	if len(m.Edits) != 2 || m.Edits[0] != want[0] || m.Edits[1] != want[1] {
		t.Errorf("%+v", m.Edits)
	}
	if all[1].Because != "it is another's guard" {
		t.Errorf("%+v", all[1])
	}
	for _, bad := range []string{"-x", "B01", "B01 room", "hello room Test", "B01 room Test\n-x", "B02 because of it\n@ a.go"} {
		if _, err := Read(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestFits(t *testing.T) {
	dir := t.TempDir()
	for text, fits := range map[string]bool{
		"	if guard {\n	second()\n":              true,
		"	if guard {\n":                         false,
		"	if guard {\n	if guard {\n	second()\n": false,
	} {
		if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := Read(list)
		if err != nil {
			t.Fatal(err)
		}
		if err := all[0].Fits(dir); (err == nil) != fits {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := (&Mutation{Rows: []string{"B01"}}).Fits(dir); err == nil {
		t.Error("a mutation that changes nothing fits")
	}
}

func TestJudge(t *testing.T) {
	m := &Mutation{Test: "TestOne/a case"}
	failed := errors.New("exit status 1")
	for out, want := range map[string]Verdict{
		"=== RUN   TestOne\n=== RUN   TestOne/a_case\n--- FAIL: TestOne (0.00s)":               Red,
		"=== RUN   TestOne\npanic: test timed out after 4m0s":                                  Red,
		"# tandem/room [tandem/room.test]\na.go:1: declared and not used\nFAIL [build failed]": Broken,
	} {
		if got := m.judge(out, failed); got != want {
			t.Errorf("%q: %s, want %s", out, got, want)
		}
	}
	for out, want := range map[string]Verdict{
		"=== RUN   TestOne\n=== RUN   TestOne/a_case\n--- PASS: TestOne (0.00s)": Green,
		"=== RUN   TestOne\n=== RUN   TestOne/a_case\n--- SKIP: TestOne (0.00s)": Skipped,
		"testing: warning: no tests to run":                                      Broken,
		"=== RUN   TestOne\n--- PASS: TestOne (0.00s)":                           Broken,
	} {
		if got := m.judge(out, nil); got != want {
			t.Errorf("%q: %s, want %s", strings.TrimSpace(out), got, want)
		}
	}
}
