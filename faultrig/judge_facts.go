package faultrig

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"tandem/faultrig/fleet"
	"tandem/graphsim"
	"tandem/ownership"
	"tandem/ownership/history"
)

const (
	factWithin = 2 * time.Second // a healthy region has an answer in its table
	censusFor  = 5 * time.Second
	mostOfKind = 5 // sentences of one kind
)

// census holds the answered calls at the cloud against the tables, when the fault
// is over and calls still come: what was answered there is answered here.
func (j judge) census(ctx context.Context) {
	if err := j.AwaitAll(ctx, fleet.HealWithin); err != nil {
		return // judge tells of it
	}
	from := time.Now()
	seen, wrong := map[ownership.CallID]bool{}, map[string]string{}
	for time.Since(from) < censusFor && fleet.Pause(ctx, 250*time.Millisecond) {
		for _, n := range j.Nodes {
			before, asked := j.Cloud.Fates(), time.Now()
			t, err := readTable(ctx, n)
			if err != nil {
				continue
			}
			for id, f := range j.Cloud.Fates() {
				// Alive at the cloud before and after the table was read, and answered
				// long enough before, with every node well.
				if f.AnsweredAt.IsZero() || f.AnsweredAt.Before(from) || !f.OverAt.IsZero() ||
					before[id].AnsweredAt.IsZero() || asked.Sub(f.AnsweredAt) < factWithin {
					continue
				}
				seen[ownership.CallID(id)] = true
				if c, ok := t.calls[ownership.CallID(id)]; !ok {
					wrong[id] = fmt.Sprintf("is not in the table of %s", n.ID)
				} else if c.State == ownership.CallClaimed {
					wrong[id] = fmt.Sprintf("is %s in the table of %s", c.State, n.ID)
				}
			}
		}
	}
	if len(seen) == 0 {
		j.Note("no simulated call lived long enough to look its answer up")
	}
	j.some("I3: answered at the cloud, but not in the table", wrong, len(seen))
}

// fates holds the ended calls at the cloud against the tables: what ended
// there, and was told, has ended in every one.
func (j judge) fates(ctx context.Context) {
	fates := j.Cloud.Fates()
	var wrong map[string]string
	var ended int
	fleet.Until(ctx, convergeWithin, 200*time.Millisecond, func() bool {
		wrong, ended = map[string]string{}, 0
		for _, n := range j.Nodes {
			t, err := readTable(ctx, n)
			if err != nil {
				wrong[string(n.ID)] = err.Error()
				continue
			}
			ended = j.unended(n, t, fates, wrong)
		}
		return len(wrong) == 0
	})
	j.some("I3: ended at the cloud, and alive in the table", wrong, ended)
}

func (j judge) unended(n *fleet.Node, t table, fates map[string]graphsim.Fate, wrong map[string]string) (ended int) {
	for id, f := range fates {
		if !f.Told || f.OverAt.IsZero() {
			continue
		}
		ended++
		c, ok := t.calls[ownership.CallID(id)]
		if ok && c.State != ownership.CallEnded {
			how := "answered"
			if f.AnsweredAt.IsZero() {
				how = "never answered"
			}
			wrong[id] = fmt.Sprintf("(%s) is %s in the table of %s %s after its end", how, c.State, n.ID, time.Since(f.OverAt).Round(time.Second))
		}
	}
	return ended
}

// some breaks with the first sentences of a kind and their number.
func (j judge) some(kind string, wrong map[string]string, of int) {
	if len(wrong) == 0 {
		return
	}
	var text []string
	for id, what := range wrong {
		text = append(text, fmt.Sprintf("call %s %s", id, what))
	}
	slices.Sort(text)
	j.Break("%s: %d of %d calls; %s", kind, len(wrong), of, join(text[:min(len(text), mostOfKind)]))
}

func join(text []string) string {
	out := ""
	for i, t := range text {
		if i > 0 {
			out += "; "
		}
		out += t
	}
	return out
}

// history: the history is a part of the table, the same on every node over
// the stretch that all still have.
func (j judge) history(ctx context.Context) {
	all := map[*fleet.Node][]history.Event{}
	var from, to uint64
	for _, n := range j.Nodes {
		reading, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := n.API.Events(reading, 0, false, func(e history.Event) error {
			all[n] = append(all[n], e)
			return nil
		})
		cancel()
		events := all[n]
		if err != nil || len(events) == 0 {
			j.Break("I7: the history of %s could not be read: %d events, %v", n.ID, len(events), err)
			return
		}
		from = max(from, events[0].ID)
		if last := events[len(events)-1].ID; to == 0 || last < to {
			to = last
		}
	}
	first, sum := j.Nodes[0], ""
	for _, n := range j.Nodes {
		all[n] = slices.DeleteFunc(all[n], func(e history.Event) bool { return e.ID < from || e.ID > to })
		hash := sha256.New()
		for _, e := range all[n] {
			text, _ := json.Marshal(e) // plain fields always marshal
			_, _ = hash.Write(text)    // never fails
		}
		switch got := hex.EncodeToString(hash.Sum(nil)[:6]); {
		case sum == "":
			sum = got
		case sum != got:
			j.Break("I7: the histories of %s and %s differ: %s", first.ID, n.ID, apart(all[first], all[n]))
		}
	}
}

// apart names the first event in which two histories differ.
func apart(a, b []history.Event) string {
	for i := range min(len(a), len(b)) {
		if !reflect.DeepEqual(a[i], b[i]) {
			return fmt.Sprintf("%+v here, %+v there", a[i], b[i])
		}
	}
	return fmt.Sprintf("%d events here, %d there", len(a), len(b))
}
