package load

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/graphsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRatesOfAPlan(t *testing.T) {
	for _, c := range []struct {
		plan Plan
		want []float64
		err  string
	}{
		{Plan{From: 5, Each: time.Second}, []float64{5}, ""},
		{Plan{From: 5, Steps: 2, Each: time.Second}, []float64{5, 5}, ""},
		{Plan{From: 10, To: 40, Steps: 4, Each: time.Second}, []float64{10, 20, 30, 40}, ""},
		{Plan{From: 40, To: 10, Steps: 2, Each: time.Second}, []float64{40, 10}, ""},
		{Plan{From: 0, Each: time.Second}, nil, "above 0"},
		{Plan{From: 1, To: -1, Each: time.Second}, nil, "above 0"},
		{Plan{From: 1, To: 2, Steps: 1, Each: time.Second}, nil, "2 steps or more"},
		{Plan{From: 1, Steps: MaxSteps + 1, Each: time.Second}, nil, "1 to 100"},
		{Plan{From: 1, Each: time.Millisecond}, nil, "too short"},
		{Plan{From: 1, Each: time.Second, Warm: -1}, nil, "beneath 0"},
	} {
		err := c.plan.Check()
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: %v, wanted %q", c.plan, err, c.err)
			}
			continue
		}
		if got := c.plan.Rates(); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, %v", c.plan, got, err)
		}
	}
}

// TestEachThingCountsInTheStepInWhichItWasDue, whenever it is over.
func TestEachThingCountsInTheStepInWhichItWasDue(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := &Recorder{}
	hear := func(what graphsim.TimedWhat, due, took time.Duration, failed bool) {
		r.Hear(graphsim.Timing{What: what, Due: at.Add(due), Took: took, Failed: failed})
	}
	r.begin(at)
	hear(graphsim.TimedAnswer, -time.Second, time.Second, false) // before the run
	for i := range 100 {
		hear(graphsim.TimedAnswer, time.Second, time.Duration(i+1)*time.Millisecond, false)
	}
	r.begin(at.Add(10 * time.Second))
	hear(graphsim.TimedAnswer, 9*time.Second, 5*time.Second, false) // of the first step, and over in the second
	hear(graphsim.TimedFollowUp, 11*time.Second, 2*time.Millisecond, false)
	hear(graphsim.TimedFollowUp, 12*time.Second, time.Second, true)
	hear(graphsim.TimedAnswer, 12*time.Second, time.Hour, false) // beyond what is told apart
	steps := r.told([]float64{10, 20})
	first, second := steps[0].Answers, steps[1]
	near := func(got, want float64) bool { return got > want*0.99 && got < want*1.01 }
	if first.Count != 101 || first.Failed != 0 || !near(first.P50, 51) || !near(first.P90, 91) || !near(first.P99, 100) || !near(first.Max, 5000) {
		t.Errorf("the answers of the first step are told as %+v", first)
	}
	if second.Rate != 20 || second.FollowUps.Count != 1 || second.FollowUps.Failed != 1 || !near(second.FollowUps.P99, 2) || second.Answers.Count != 1 || !near(second.Answers.Max, 120_000) {
		t.Errorf("the second step is told as %+v", second)
	}
}

func TestARunHoldsUpToTheFirstFailure(t *testing.T) {
	step := func(rate float64, count, failed int64) Step {
		return Step{Rate: rate, Answers: Latency{Count: count, Failed: failed}}
	}
	for _, c := range []struct {
		steps []Step
		want  float64
	}{
		{[]Step{step(10, 5, 0), step(20, 5, 0)}, 20},
		{[]Step{step(10, 5, 0), step(20, 5, 1), step(30, 5, 0)}, 10},
		{[]Step{step(10, 5, 1)}, 0},
		{[]Step{step(10, 0, 0)}, 0},
		{nil, 0},
	} {
		if got := newReport("1", time.Now(), Plan{Each: time.Second}, c.steps, graphsim.Report{}).Held; got != c.want {
			t.Errorf("%+v holds up to %v, wanted %v", c.steps, got, c.want)
		}
	}
}

// TestTwoRunsSideBySide: what one wrote, the other reads; only rates that both have are compared.
func TestTwoRunsSideBySide(t *testing.T) {
	l := Latency{Count: 9, P50: 4, P99: 8}
	before := newReport("1", time.Now(), Plan{Each: time.Second}, []Step{{Rate: 10, Answers: l, FollowUps: l}, {Rate: 15, Answers: l}}, graphsim.Report{})
	file := filepath.Join(t.TempDir(), "r.json")
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := ReadReport(file)
	if err != nil {
		t.Fatal(err)
	}
	now := Latency{Count: 9, Failed: 1, P50: 2, P99: 12}
	rows := newReport("2", time.Now(), Plan{Each: time.Second}, []Step{{Rate: 10, Answers: now}, {Rate: 20, Answers: now}}, graphsim.Report{}).Against(read)
	want := [][]string{rows[0],
		{"10/s", "answers", "2 ms", "4 ms", "0.50", "12 ms", "8 ms", "1.50", "1", "0"},
		{"10/s", "follow-ups", "-", "4 ms", "-", "-", "8 ms", "-", "0", "0"},
	}
	if len(rows) != 3 || !slices.Equal(rows[1], want[1]) || !slices.Equal(rows[2], want[2]) {
		t.Errorf("compared as\n%v, wanted\n%v", rows, want)
	}
	if err := os.WriteFile(file, []byte(`{"calls": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, file + ".gone"} {
		if _, err := ReadReport(name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecodeReport: any file is a report or an error, and a report has its tables.
func FuzzDecodeReport(f *testing.F) {
	for _, seed := range []string{``, `{}`, `{"tandem_load":1}`, `{"tandem_load":1,"steps":[{"rate":1,"answers":{"count":1,"p50":2}}]}`, `[1]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := decodeReport(strings.NewReader(text), "file")
		if err != nil {
			return
		}
		if rows := r.Rows(); len(rows) != 1+2*len(r.Steps) {
			t.Errorf("%d steps have %d rows", len(r.Steps), len(rows))
		}
		if rows := r.Against(r); len(rows) < 1+2*len(r.Steps) {
			t.Errorf("beside itself %d steps have %d rows", len(r.Steps), len(rows))
		}
	})
}
