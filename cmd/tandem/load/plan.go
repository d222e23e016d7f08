package load

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// MaxSteps bounds a plan, and with it a report.
const MaxSteps = 100

// Plan says which rates are tried, and for how long.
type Plan struct {
	From  float64       // new calls a second of the first step
	To    float64       // and of the last; 0: as of the first
	Steps int           // 0: one
	Each  time.Duration // how long a step lasts
	Warm  time.Duration // at the first rate, before anything counts: nodes meet the bots and the signing keys
}

// Check says what is wrong with a plan.
func (p Plan) Check() error {
	switch {
	case p.From <= 0 || p.To < 0:
		return errors.New("the rates must be above 0 calls a second")
	case p.Steps < 0 || p.Steps > MaxSteps:
		return fmt.Errorf("%d steps: 1 to %d are possible", p.Steps, MaxSteps)
	case p.Steps < 2 && p.To > 0 && p.To != p.From:
		return errors.New("to get from one rate to another takes 2 steps or more")
	case p.Each < time.Second:
		return fmt.Errorf("a step of %s is too short to tell anything: 1s or more", p.Each)
	case p.Warm < 0:
		return errors.New("the time to warm up must not be beneath 0")
	}
	return nil
}

// Rates are the steps' rates, evenly spaced.
func (p Plan) Rates() []float64 {
	if p.Steps < 2 {
		return []float64{p.From}
	}
	to := cmp.Or(p.To, p.From)
	rates := make([]float64, p.Steps)
	for i := range rates {
		rates[i] = p.From + (to-p.From)*float64(i)/float64(p.Steps-1)
	}
	return rates
}
