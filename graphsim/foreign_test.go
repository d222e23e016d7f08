package graphsim

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestAForeignBotExcusesItsOwnFaultsOnly: a bot that failed at a call excuses what of that
// call was lost or late, and nothing else; one that is well excuses nothing.
func TestAForeignBotExcusesItsOwnFaultsOnly(t *testing.T) {
	long := time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		seen         []*sighting
		failed       time.Time // of the bot, elsewhere
		trial        bool
		lost, excuse bool
	}{
		"the sample bot":                       {lost: true},
		"a bot that is well":                   {trial: true, seen: []*sighting{{event: "incoming", status: 200}}, lost: true},
		"a bot that failed at it":              {trial: true, seen: []*sighting{{event: "incoming", foreign: tried{fault: true}}}, excuse: true},
		"one that failed at other calls":       {trial: true, failed: time.Now(), seen: []*sighting{{event: "incoming", status: 200}}, lost: true},
		"nothing handed over, ill meanwhile":   {trial: true, failed: time.Now(), excuse: true},
		"nothing handed over, ill long before": {trial: true, failed: long.Add(-time.Hour), lost: true},
		"nothing handed over, and well":        {trial: true, lost: true},
	} {
		k := &call{course: course{seen: c.seen, firstPost: long, over: true}, clock: time.Second, born: time.Now()}
		n := &notice{call: k, sentSeq: 1, gaveUp: "7 attempts"}
		tot := totals{}
		if c.trial {
			tot.trial = newTrial(Foreign{URL: "http://127.0.0.1:1/"})
			tot.trial.failed = c.failed
		}
		tot.judgeNotice(n)
		tot.judgeClock(k)
		if lost, late := tot.report.Lost == 1, tot.report.AnsweredLate == 1; lost != c.lost || late != c.lost {
			t.Errorf("%s: lost %t, late %t, want %t", name, lost, late, c.lost)
		}
		if excused := tot.notTaken == 1 && tot.unanswered == 1; excused != c.excuse {
			t.Errorf("%s: told as the bot's: %t, want %t", name, excused, c.excuse)
		}
	}
	// A wrong node stays a wrong node, whatever the bot did.
	k := &call{course: course{seen: []*sighting{
		{event: "incoming", node: "a", epoch: 1, foreign: tried{fault: true}},
		{event: "update", node: "b", epoch: 1, foreign: tried{fault: true}},
	}}}
	tot := totals{trial: newTrial(Foreign{}), report: Report{Summary: Summary{CallsByNode: map[string]int{}}}}
	if tot.judgeOwners(k); tot.report.Misrouted != 1 {
		t.Errorf("a foreign bot that failed hides that a call went to two nodes: %+v", tot.report)
	}
}

// TestAForeignBotsRepliesPassThrough: byte for byte, with status and headers, and are counted.
func TestAForeignBotsRepliesPassThrough(t *testing.T) {
	bot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Bot", r.Header.Get("Tandem-Event"))
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte("tea"))
	}))
	defer bot.Close()
	c, err := Start(t.Context(), Config{Foreign: &Foreign{URL: bot.URL, HealthURL: bot.URL}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.Bot("solo-1").URL, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Tandem-Event", "update")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusTeapot || res.Header.Get("X-Bot") != "update" || res.ContentLength != 3 {
		t.Errorf("the bot's reply did not pass through: %v", res)
	}
	b := c.Report().Bot
	if b == nil || b.HandedOver != 1 || b.Refused["418"] != 1 || b.OK() || len(b.Advice) != 1 || !strings.Contains(b.Advice[0], "418, which is final") {
		t.Errorf("the report says %+v", b)
	}
	http.DefaultClient.CloseIdleConnections()
}
