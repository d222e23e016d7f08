package load

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"tandem/graphsim"
)

// longest is the longest duration that is told apart, in microseconds; digits are the
// decimal digits that a duration keeps.
const (
	longest = int64(2 * time.Minute / time.Microsecond)
	digits  = 3
)

// Recorder sorts what it hears by the step in which it was due. It is safe for
// concurrent use.
type Recorder struct {
	mu    sync.Mutex
	steps []stepRecord // the last one is under way
}

type stepRecord struct {
	begun            time.Time
	answers, follows record
}

// record is one kind of thing within one step.
type record struct {
	took   *hdrhistogram.Histogram
	failed int64
}

// begin opens a step: what is due from now on is its.
func (r *Recorder) begin(now time.Time) {
	fresh := func() record { return record{took: hdrhistogram.New(1, longest, digits)} }
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, stepRecord{begun: now, answers: fresh(), follows: fresh()})
}

// Hear is graphsim.Config.Timed. What comes before the first step is not counted.
func (r *Recorder) Hear(t graphsim.Timing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := len(r.steps) - 1
	for at >= 0 && t.Due.Before(r.steps[at].begun) {
		at--
	}
	if at < 0 {
		return
	}
	to := &r.steps[at].answers
	if t.What == graphsim.TimedFollowUp {
		to = &r.steps[at].follows
	}
	if t.Failed {
		to.failed++
		return
	}
	_ = to.took.RecordValue(min(max(t.Took.Microseconds(), 1), longest)) // it is within the bounds
}

// latency tells a record.
func (r record) latency() Latency {
	ms := func(q float64) float64 { return float64(r.took.ValueAtQuantile(q)) / 1000 }
	l := Latency{Count: r.took.TotalCount(), Failed: r.failed}
	if l.Count > 0 {
		l.P50, l.P90, l.P99, l.P999, l.Max = ms(50), ms(90), ms(99), ms(99.9), float64(r.took.Max())/1000
	}
	return l
}

// steps tells what was heard so far.
func (r *Recorder) told(rates []float64) []Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Step, len(r.steps))
	for i, s := range r.steps {
		out[i] = Step{Rate: rates[i], Answers: s.answers.latency(), FollowUps: s.follows.latency()}
	}
	return out
}
