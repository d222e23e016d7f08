package rollout

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"tandem/ownership"
)

// Decision is what a rule should become, with the reason in it.
type Decision struct {
	Rollout ownership.Rollout
	Expect  uint64 // the rule's number that it was made from; 0: there is none
}

// Decide says which rules are to change, and what people are to be told once: of the fresh
// versions and those with rules, by app and version.
func (j *Judge) Decide(rules []ownership.Rollout, now time.Time) (all []Decision, tell []ownership.TellRollout) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(j.apps)) {
		a := j.apps[id]
		halted := haltedOf(rules, id)
		for _, v := range slices.Sorted(maps.Keys(a.versions)) {
			r, ruled := ruleOf(rules, id, v)
			if text := a.loneliness(v, r, ruled, now); text != "" {
				tell = append(tell, ownership.TellRollout{App: id, Text: text})
			}
			if s := a.versions[v]; v == "" || len(a.nodes(v)) == 0 || r.Halted || !ruled && !s.fresh {
				continue
			}
			others := a.others(v, halted)
			if d, ok := a.decide(v, r, &others); ok {
				all = append(all, d)
				halted[v] = halted[v] || d.Rollout.Halted
			}
		}
	}
	return all, tell
}

func ruleOf(rules []ownership.Rollout, id ownership.AppID, version string) (ownership.Rollout, bool) {
	for _, r := range rules {
		if r.App == id && r.Version == version {
			return r, true
		}
	}
	return ownership.Rollout{App: id, Version: version, Share: ownership.WholeShare}, false
}

// decide judges one version by what has become of its calls.
func (a *app) decide(v string, r ownership.Rollout, others *ownership.VersionTally) (Decision, bool) {
	s := a.versions[v]
	total := a.total(v)
	mine := total.Since(&r.Base)
	evidence := mine
	if s.window.Taken > r.Base.Taken {
		evidence = total.Since(&s.window)
	}
	d := Decision{Rollout: r, Expect: r.Number}
	if why := Worse(&evidence, others); why != "" && !s.alone {
		d.Rollout.Halted, d.Rollout.Reason, d.Rollout.By = true, "halted: "+why, "tandem"
		s.proven = false
		return d, true
	}
	s.proven = s.proven || Proven(&mine, others)
	if s.proven && evidence.Ended() >= window && Proven(&evidence, others) {
		s.window = total
	}
	next := nextStep(r.Share)
	ended := total.Ended()
	if ended >= r.Ended { // else processes have ended, and their calls are counted no more
		ended -= r.Ended
	}
	if !r.Steps || !s.proven || next == r.Share || ended < perStep {
		return d, false
	}
	d.Rollout.Share, d.Rollout.Ended, d.Rollout.By = next, total.Ended(), "tandem"
	d.Rollout.Reason = fmt.Sprintf("proven at %s: %d of its %d ended calls ended as calls do", Percent(r.Share), mine.Well+mine.Short, mine.Well+mine.Short+mine.Bad)
	return d, true
}

func nextStep(share int) int {
	for _, s := range steps {
		if s > share {
			return s
		}
	}
	return share
}

// loneliness says once that a version which is held back is the only one there, or no
// longer.
func (a *app) loneliness(v string, r ownership.Rollout, ruled bool, now time.Time) string {
	s := a.versions[v]
	runs, alone := false, true
	for _, h := range a.hosts {
		switch {
		case !h.well || now.Sub(h.heard) > awayAfter:
		case h.runs == v:
			runs = true
		default:
			alone = false
		}
	}
	alone = alone && runs
	was := s.alone
	if s.alone = alone; alone == was || !ruled || !r.Halted && r.Share >= ownership.WholeShare {
		return ""
	}
	held := "is to get only " + Percent(r.Share) + " of the new calls"
	if r.Halted {
		held = "is halted"
	}
	if alone {
		return fmt.Sprintf("version %s of app %s %s, but no node has a healthy bot of another one: it takes the calls", v, r.App, held)
	}
	return fmt.Sprintf("a node has a healthy bot of another version again: version %s of app %s %s", v, r.App, held)
}
