package webhook

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"tandem/ownership"
	"tandem/policy"
)

// matrixFile holds the matrix that TestRegionFailureMatrix proves, cell by cell.
const matrixFile = "../docs/regions.md"

// TestRegionFailureMatrix: what becomes of each kind of notification that arrives in
// emea, in each trouble between emea and amer. The table in the documents is what was
// seen here: UPDATE_GOLDEN=1 writes it.
func TestRegionFailureMatrix(t *testing.T) {
	rules := []policy.RuleSpec{
		{When: `call.source.countryCode == "US"`, Region: "amer"},
		{When: `call.source.countryCode == "CA"`, Region: "amer", Residency: "hard"},
	}
	troubles := []struct {
		name string
		make func(w *world, emea, amer *region)
	}{
		{"none", func(*world, *region, *region) {}},
		{"the link between the nodes is lost, amer's doors answer", func(w *world, _, _ *region) { w.cut("amer", ownership.ErrNotTaken) }},
		{"amer is cut off or gone", func(w *world, _, _ *region) { w.fell("amer", true); w.cut("amer", ownership.ErrNotTaken) }},
		{"amer stands still: what it got may have been taken", func(w *world, _, _ *region) { w.fell("amer", true); w.cut("amer", ownership.ErrUnreachable) }},
		{"emea has no leader", func(_ *world, emea, _ *region) {
			emea.refuse = ownership.ErrNoLeader
			for _, nd := range emea.nodes {
				nd.cutOff = ownership.ErrNoLeader
			}
		}},
		{"amer has no leader", func(_ *world, _, amer *region) {
			amer.refuse = ownership.ErrNoLeader
			for _, nd := range amer.nodes {
				nd.cutOff = ownership.ErrNoLeader
			}
		}},
	}
	messages := []struct {
		name string
		post func(emea, amer *region) (url, body string)
	}{
		{"a new call that no rule places", func(e, _ *region) (string, string) { return e.nodes["emea-1"].url + hookPath, incoming("c1") }},
		{"a new call of amer, soft rule", func(e, _ *region) (string, string) {
			return e.nodes["emea-1"].url + hookPath, incoming("c2", `"source":{"countryCode":"US"}`)
		}},
		{"a new call of amer, hard rule", func(e, _ *region) (string, string) {
			return e.nodes["emea-1"].url + hookPath, incoming("c3", `"source":{"countryCode":"CA"}`)
		}},
		{"a follow-up on emea's callback URI", func(e, _ *region) (string, string) {
			return e.nodes["emea-1"].uri(1, 1, "own"), update("own")
		}},
		{"a follow-up on amer's callback URI", func(e, _ *region) (string, string) {
			return e.nodes["emea-1"].abroad("amer", 1, "theirs"), update("theirs")
		}},
		{"a follow-up of amer's call on the webhook path", func(e, _ *region) (string, string) {
			return e.nodes["emea-1"].url + hookPath, update("theirs")
		}},
		{"the end of amer's ringing call on the webhook path", func(e, _ *region) (string, string) {
			return e.nodes["emea-1"].url + hookPath, end("rings")
		}},
	}
	var table strings.Builder
	table.WriteString("| trouble |")
	for _, m := range messages {
		table.WriteString(" " + m.name + " |")
	}
	table.WriteString("\n|---|" + strings.Repeat("---|", len(messages)) + "\n")
	for _, trouble := range troubles {
		table.WriteString("| " + trouble.name + " |")
		for _, m := range messages {
			w, emea, amer := twoRegions(t, setup{rules: rules})
			emea.knows("own", 1, ownership.CallAnswered)
			amer.knows("theirs", 1, ownership.CallAnswered)
			amer.knows("rings", 1, ownership.CallClaimed)
			trouble.make(w, emea, amer)
			url, body := m.post(emea, amer)
			got := outcomeOf(t, emea, amer, post(t, url, body))
			if emeas := len(emea.claimed()); emeas > 0 && strings.Contains(m.name, "amer's") {
				t.Errorf("%s, %s: emea claimed it, too (I1)", trouble.name, m.name)
			}
			table.WriteString(" " + got + " |")
		}
		table.WriteString("\n")
	}
	const begin, finish = "<!-- the matrix begins -->\n", "<!-- the matrix ends -->\n"
	text, err := os.ReadFile(matrixFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), begin)
	old, after, found := strings.Cut(rest, finish)
	switch {
	case !found:
		t.Fatalf("%s has no place for the matrix", matrixFile)
	case os.Getenv("UPDATE_GOLDEN") != "":
		if err := os.WriteFile(matrixFile, []byte(before+begin+table.String()+finish+after), 0o644); err != nil {
			t.Fatal(err)
		}
	case old != table.String():
		t.Errorf("%s says\n%s\nand this is so:\n%s", matrixFile, old, table.String())
	}
}

// outcomeOf says in words what became of a notification: who handled it, or what the
// cloud was told.
func outcomeOf(t *testing.T, emea, amer *region, a answered) string {
	t.Helper()
	handed := func(r *region) (n int) {
		for _, nd := range r.nodes {
			n += len(nd.handed())
		}
		return n
	}
	here, there := handed(emea), handed(amer)
	switch {
	case here+there > 1:
		t.Errorf("it was handed over %d times", here+there)
		return "TWICE"
	case a.status == http.StatusServiceUnavailable && here+there > 0:
		t.Error("it was handed over, and the cloud was told to come again")
		return "TWICE"
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "":
		t.Error("503 without Retry-After")
		return "503"
	case a.status == http.StatusServiceUnavailable:
		return "503, repeat"
	case a.status == http.StatusFound && strings.HasPrefix(a.location(), amer.nodes["amer-1"].url):
		return "302 to amer"
	case a.status == http.StatusAccepted && here == 1:
		return "handled in emea"
	case a.status == http.StatusAccepted && there == 1:
		return "carried to amer"
	case a.status == http.StatusAccepted:
		return "202, nothing to do"
	}
	return fmt.Sprintf("%d", a.status)
}
