package load

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"tandem/graphsim"
)

// Report is what a run showed. As JSON it is what --report writes and --against reads.
type Report struct {
	Format  int             `json:"tandem_load"` // 1
	Version string          `json:"version"`     // of the program that made the load
	At      time.Time       `json:"at"`
	Machine string          `json:"machine"` // such as linux/amd64, 2 processors
	Seconds float64         `json:"seconds"` // that each step lasted
	Steps   []Step          `json:"steps"`
	Held    float64         `json:"held"`  // the highest rate up to which nothing failed, in calls a second; 0: none
	Cloud   graphsim.Report `json:"cloud"` // what the cloud judged over all steps
}

// Step is one rate.
type Step struct {
	Rate      float64 `json:"rate"`       // new calls a second
	Answers   Latency `json:"answers"`    // from when a call should ring to its answer
	FollowUps Latency `json:"follow_ups"` // from when a later notification was to be posted to its 2xx
}

// Latency tells durations in milliseconds.
type Latency struct {
	Count  int64   `json:"count"`
	Failed int64   `json:"failed"` // not answered in time, or never taken
	P50    float64 `json:"p50"`
	P90    float64 `json:"p90"`
	P99    float64 `json:"p99"`
	P999   float64 `json:"p999"`
	Max    float64 `json:"max"`
}

// reportFormat is the form of Report as a file.
const reportFormat = 1

// maxReport bounds a report that is read.
const maxReport = 8 << 20

func newReport(version string, at time.Time, p Plan, steps []Step, cloud graphsim.Report) Report {
	r := Report{Format: reportFormat, Version: version, At: at.UTC(), Seconds: p.Each.Seconds(), Steps: steps, Cloud: cloud,
		Machine: fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())}
	for _, s := range steps {
		if s.Answers.Count == 0 || s.Answers.Failed+s.FollowUps.Failed > 0 {
			break
		}
		r.Held = s.Rate
	}
	return r
}

// ReadReport reads a report that an earlier run wrote.
func ReadReport(file string) (Report, error) {
	f, err := os.Open(file)
	if err != nil {
		return Report{}, fmt.Errorf("reading the report of an earlier run: %w", err)
	}
	defer f.Close() // nothing was written
	return decodeReport(f, file)
}

func decodeReport(from io.Reader, name string) (r Report, err error) {
	text, err := io.ReadAll(io.LimitReader(from, maxReport))
	if err != nil {
		return r, fmt.Errorf("reading the report of an earlier run: %w", err)
	}
	if err := json.Unmarshal(text, &r); err != nil || r.Format != reportFormat || len(r.Steps) > MaxSteps {
		return Report{}, fmt.Errorf("%s is no report that 'tandem sim load --report' wrote", name)
	}
	return r, nil
}

// Rows are the report as a table, its heading first; each step has a line for answers and
// one for later notifications.
func (r Report) Rows() [][]string {
	rows := [][]string{{"RATE", "WHAT", "COUNT", "FAILED", "P50", "P90", "P99", "P99.9", "MAX"}}
	for _, s := range r.Steps {
		for _, kind := range s.kinds() {
			l := kind.of
			rows = append(rows, []string{perSecond(s.Rate), kind.name, fmt.Sprint(l.Count), fmt.Sprint(l.Failed), ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.Max)})
		}
	}
	return rows
}

// Against are two runs side by side, for the rates that both have: this one's figures, the
// earlier one's, and how many times as long this one took.
func (r Report) Against(before Report) [][]string {
	rows := [][]string{{"RATE", "WHAT", "P50", "BEFORE", "RATIO", "P99", "BEFORE", "RATIO", "FAILED", "BEFORE"}}
	for _, s := range r.Steps {
		for _, b := range before.Steps {
			if b.Rate != s.Rate {
				continue
			}
			old := b.kinds()
			for i, kind := range s.kinds() {
				l, was := kind.of, old[i].of
				rows = append(rows, []string{perSecond(s.Rate), kind.name, ms(l.P50), ms(was.P50), ratio(l.P50, was.P50),
					ms(l.P99), ms(was.P99), ratio(l.P99, was.P99), fmt.Sprint(l.Failed), fmt.Sprint(was.Failed)})
			}
		}
	}
	return rows
}

// kind is a latency under its name.
type kind struct {
	name string
	of   Latency
}

func (s Step) kinds() [2]kind {
	return [2]kind{{"answers", s.Answers}, {"follow-ups", s.FollowUps}}
}

func perSecond(rate float64) string { return fmt.Sprintf("%.4g/s", rate) }

func ms(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g ms", v)
}

func ratio(now, before float64) string {
	if now == 0 || before == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", now/before)
}
