package azure

import (
	"testing"
	"time"
)

// TestPlan: what the events for one machine come to, and that those of others come to
// nothing.
func TestPlan(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	event := func(kind string, in time.Duration, change ...func(*Event)) Event {
		e := Event{ID: kind, Type: kind, Status: "Scheduled", Resources: []string{"VM-1"}, NotBefore: now.Add(in), Duration: -time.Second}
		for _, c := range change {
			c(&e)
		}
		return e
	}
	nine := func(e *Event) { e.Duration = 9 * time.Second }
	other := func(e *Event) { e.Resources = []string{"vm-2", "vm-10"} }
	begun := func(e *Event) { e.Status, e.NotBefore = Started, time.Time{} }
	for name, c := range map[string]struct {
		all   []Event
		leave bool
		until time.Time
		away  time.Duration
	}{
		"nothing":                  {},
		"a freeze":                 {all: []Event{event(Freeze, 15*time.Minute, nine)}, leave: true, away: 15*time.Minute + 9*time.Second + settle},
		"a freeze under way":       {all: []Event{event(Freeze, 0, nine, begun)}, leave: true, away: 9*time.Second + settle},
		"of unknown length":        {all: []Event{event(Freeze, time.Minute)}, leave: true, away: time.Minute + settle},
		"that interrupts nothing":  {all: []Event{event(Freeze, time.Minute, func(e *Event) { e.Duration = 0 })}},
		"another machine's":        {all: []Event{event(Freeze, 0, nine, other), event(Terminate, 0, other)}},
		"a reboot":                 {all: []Event{event(Reboot, 15*time.Minute)}, leave: true, until: now.Add(13 * time.Minute)},
		"a redeploy in a minute":   {all: []Event{event(Redeploy, time.Minute)}, leave: true, until: now},
		"a failed host":            {all: []Event{event(Reboot, 0, begun)}, leave: true, until: now},
		"an eviction":              {all: []Event{event(Preempt, 30*time.Second)}, leave: true, until: now},
		"a termination":            {all: []Event{event(Terminate, 5*time.Minute)}, leave: true, until: now.Add(3 * time.Minute)},
		"the earlier one counts":   {all: []Event{event(Reboot, time.Hour), event(Terminate, 5*time.Minute)}, leave: true, until: now.Add(3 * time.Minute)},
		"a reboot after a freeze":  {all: []Event{event(Freeze, 0, nine, begun), event(Reboot, time.Hour)}, leave: true, until: now.Add(58 * time.Minute), away: 9*time.Second + settle},
		"what nobody knows so far": {all: []Event{event("Repaint", time.Minute)}},
	} {
		p := planOf(c.all, "vm-1", now)
		if p.leave != c.leave || !p.until.Equal(c.until) || p.away != c.away || (p.why != "") != c.leave {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// TestADrainIsNotMovedAtEachLook: "at once" is later each time, and the same.
func TestADrainIsNotMovedAtEachLook(t *testing.T) {
	now := time.Now()
	if !same(now, now) || !same(now.Add(time.Minute), now) || same(now.Add(-time.Hour), now) || same(time.Time{}, now) || same(now, time.Time{}) || !same(time.Time{}, time.Time{}) {
		t.Error("what is the same is told anew, or what is not, is not")
	}
}
