package forecast

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEvacuate(t *testing.T) {
	q := Question{
		Live: []Live{{"bank", 30 * time.Second}, {"bank", 10 * minute}, {"shop", 2 * time.Hour}},
		Over: 10 * minute, Room: map[string]int{"emea": 50, "amer": 5},
	}
	for range 40 {
		q.Ended = append(q.Ended, 20*minute, 20*minute, 3*time.Hour)
	}
	for i := range 100 {
		c := Routed{Before: "emea", After: "amer", Why: "region emea is evacuated", Calls: 1}
		if i < 10 {
			c = Routed{Before: "emea", After: "emea", Why: "a hard rule", Calls: 1}
		}
		q.Traffic = append(q.Traffic, c)
	}
	q.Traffic = append(q.Traffic, Routed{"amer", "amer", "no rule", 1}, Routed{"apac", "", "apac is down", 1})
	p := Evacuate(q)
	want := []Tenant{{"bank", 2, 600}, {"shop", 1, 7200}}
	if diff := cmp.Diff(want, p.Tenants); diff != "" || p.Live != 3 {
		t.Error(p.Live, diff)
	}
	if diff := cmp.Diff([]Ages{{60, 1}, {300, 0}, {900, 1}, {3600, 0}, {14400, 1}, {86400, 0}}, p.Ages); diff != "" {
		t.Error(diff)
	}
	// The two young ones end at 20 minutes or at 3 hours, the old one at 3 hours.
	if p.Ends.P50 != 3*3600-600 || p.Ends.P99 != 3*3600-30 || p.Ends.Learned != 120 {
		t.Errorf("%+v", p.Ends)
	}
	if len(p.NewCalls) != 4 {
		t.Fatalf("%+v", p.NewCalls)
	}
	nobody, amer, apac, emea := p.NewCalls[0], p.NewCalls[1], p.NewCalls[2], p.NewCalls[3]
	if nobody.Region != "" || nobody.After != 1 || nobody.Enough {
		t.Errorf("what nobody may take: %+v", nobody)
	}
	// 90 calls in ten minutes that last 73 minutes: some 660 at a time.
	if amer.Before != 1 || amer.After != 91 || amer.PerMinute != 9.1 || amer.Needs < 600 || amer.Needs > 720 || amer.Room != 5 || amer.Enough {
		t.Errorf("amer: %+v", amer)
	}
	if apac.Room != -1 || apac.Needs != 0 || !apac.Enough {
		t.Errorf("apac: %+v", apac)
	}
	if emea.After != 10 || emea.Needs != 0 || !emea.Enough || len(emea.Why) != 1 || emea.Why[0] != (Why{"a hard rule", 10}) {
		t.Errorf("emea: %+v", emea)
	}
}

func TestPlansAreBounded(t *testing.T) {
	var q Question
	for i := range 500 {
		q.Live = append(q.Live, Live{Tenant: fmt.Sprint(i / 2), Age: time.Duration(i) * minute})
		q.Traffic = append(q.Traffic, Routed{"emea", "amer", fmt.Sprint(i), 1})
	}
	p := Evacuate(q)
	if n := len(p.Tenants); n != mostTenants+1 || p.Tenants[n-1].Tenant != "" || p.Tenants[n-1].Live != 500-2*mostTenants {
		t.Errorf("%+v", p.Tenants)
	}
	if n := len(p.NewCalls[0].Why); n != mostReasons {
		t.Errorf("%d reasons", n)
	}
	if p := Evacuate(Question{}); p.Live != 0 || p.Ends.P99 != 0 || len(p.NewCalls) != 0 {
		t.Errorf("of nothing: %+v", p)
	}
}
