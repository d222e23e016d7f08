package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/schollz/progressbar/v3"

	"tandem/graphsim"
)

// settleTime is how long the calls of the last step get to end.
const settleTime = time.Minute

// beat is how often the progress is drawn.
const beat = 200 * time.Millisecond

// Run goes through the plan's steps with a cloud whose Config.Timed is the recorder's Hear.
// It tells each step on progress, with a bar if bar is set. The end of ctx ends the run with
// its calls; what was seen until then is reported.
func Run(ctx context.Context, cloud *graphsim.Cloud, r *Recorder, p Plan, version string, progress io.Writer, bar bool) (Report, error) {
	if err := p.Check(); err != nil {
		return Report{}, err
	}
	at, rates := time.Now(), p.Rates()
	draw := newDrawing(progress, bar, p, len(rates))
	defer draw.end()
	calls := func(rate float64, lasts time.Duration) error {
		err := cloud.Run(ctx, graphsim.Load{Rate: rate, Duration: lasts, MaxLive: math.MaxInt})
		if err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("making calls: %w", err)
		}
		return nil
	}
	if p.Warm > 0 {
		draw.warm()
		if err := calls(rates[0], p.Warm); err != nil {
			return Report{}, err
		}
	}
	for i, rate := range rates {
		r.begin(time.Now())
		draw.step(i, rate)
		if err := calls(rate, p.Each); err != nil {
			return Report{}, err
		}
		draw.told(r.told(rates)[i])
		if ctx.Err() != nil {
			break
		}
	}
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	if err := cloud.Settle(settle); err != nil {
		fmt.Fprintf(progress, "some calls had not ended: %v\n", err)
	}
	return newReport(version, at, p, r.told(rates), cloud.Report()), nil
}

// drawing shows how far a run is.
type drawing struct {
	to    io.Writer
	bar   *progressbar.ProgressBar // nil: the output is no terminal
	each  time.Duration
	steps int
	stop  chan struct{} // closed: the bar stands still
	still chan struct{} // closed: it does
}

func newDrawing(to io.Writer, bar bool, p Plan, steps int) *drawing {
	d := &drawing{to: to, each: p.Each, steps: steps, stop: make(chan struct{}), still: make(chan struct{})}
	if !bar {
		close(d.still)
		return d
	}
	total := p.Warm + time.Duration(steps)*p.Each
	d.bar = progressbar.NewOptions64(total.Milliseconds(), progressbar.OptionSetWriter(to), progressbar.OptionSetWidth(30),
		progressbar.OptionSetElapsedTime(false), progressbar.OptionClearOnFinish())
	go func() {
		defer close(d.still)
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for begun := time.Now(); ; {
			select {
			case <-d.stop:
				return
			case <-tick.C:
				_ = d.bar.Set64(min(time.Since(begun), total).Milliseconds()) // a terminal that is gone needs no bar
			}
		}
	}()
	return d
}

func (d *drawing) warm() {
	if d.bar != nil {
		d.bar.Describe("warming up")
	}
}

func (d *drawing) step(i int, rate float64) {
	if d.bar != nil {
		d.bar.Describe(fmt.Sprintf("step %d of %d, %s", i+1, d.steps, perSecond(rate)))
	}
}

// told prints a step that is over; calls of it may still be under way.
func (d *drawing) told(s Step) {
	if d.bar != nil {
		_ = d.bar.Clear()
	}
	fmt.Fprintf(d.to, "%s for %s: %d answers, p50 %s, p99 %s; %d later notifications, p50 %s, p99 %s; %d failed\n", perSecond(s.Rate), d.each,
		s.Answers.Count, ms(s.Answers.P50), ms(s.Answers.P99), s.FollowUps.Count, ms(s.FollowUps.P50), ms(s.FollowUps.P99), s.Answers.Failed+s.FollowUps.Failed)
}

func (d *drawing) end() {
	close(d.stop)
	<-d.still
	if d.bar != nil {
		_ = d.bar.Finish()
	}
}
