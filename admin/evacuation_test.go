package admin

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// Plan implements Evacuations, as the rest below.
func (f *fake) Plan(_ context.Context, to []ownership.Region) (api.Evacuation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.plan
	out.Region, out.To = "emea", to
	return out, nil
}

func (f *fake) Forecast(_ context.Context, id ownership.NodeID) (api.NodeForecast, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.forecast
	out.Node, out.State = id, ownership.NodeActive
	return out, nil
}

func (f *fake) Lose(_ context.Context, region ownership.Region) (api.Evacuation, error) {
	return api.Evacuation{Region: region, Lost: true}, nil
}

func (f *fake) StandIns(but ownership.Region) []ownership.Region {
	if but == "amer" {
		return nil
	}
	return []ownership.Region{"amer"}
}

func (f *fake) Text(region ownership.Region, to []ownership.Region) (string, uint64, error) {
	if len(to) == 0 {
		return "", 0, fmt.Errorf("region %s: it is not evacuated: %w", region, ownership.ErrConflict)
	}
	return fmt.Sprintf("%s to %v", region, to), uint64(len(f.Rules())), nil
}

// TestEvacuationIsAChangeOfTheRules: under the operator's name, from the rules in force.
func TestEvacuationIsAChangeOfTheRules(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	c := r.client(api.RoleOperate)
	v, err := c.Evacuate(t.Context(), "emea", api.EvacuationAsk{Note: "power"})
	if err != nil || v.Number != 1 || v.Text != "emea to [amer]" || v.Note != "evacuation of emea: power" || v.By == "" {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := c.Evacuate(t.Context(), "emea", api.EvacuationAsk{To: []ownership.Region{"apac", "amer"}}); err != nil || v.Text != "emea to [apac amer]" || v.Number != 2 {
		t.Errorf("%+v, %v", v, err)
	}
	for region, want := range map[ownership.Region]string{"amer": "No other region is well", "mars": `There is no region \"mars\"`} {
		if a := r.ask("PUT", "/v1/regions/"+string(region)+"/evacuation", "{}", "Authorization: Bearer canary-operate-77aa"); a.StatusCode < 400 || !strings.Contains(a.text, want) {
			t.Errorf("%s: %d %s", region, a.StatusCode, a.text)
		}
	}
	if _, err := c.RestoreRegion(t.Context(), "emea"); err == nil || !strings.Contains(err.Error(), "is not evacuated") {
		t.Error(err)
	}
	if e, err := c.LoseRegion(t.Context(), "amer"); err != nil || !e.Lost || e.Region != "amer" {
		t.Errorf("%+v, %v", e, err)
	}
	for region, want := range map[ownership.Region]string{"emea": "ask a node of another region", "mars": "region mars"} {
		if _, err := c.LoseRegion(t.Context(), region); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the loss of %s: %v", region, err)
		}
	}
	if e, err := c.Evacuation(t.Context(), "emea", "amer"); err != nil || len(e.To) != 1 || e.Tenants == nil {
		t.Errorf("%+v, %v", e, err)
	}
}

// Regions are the others.
func (f *fake) Regions() []api.Region {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.far != nil {
		return f.far
	}
	return []api.Region{{Name: "amer", URL: "https://amer.bot.contoso.com", AdminURL: "https://amer-admin.contoso.com", Healthy: true,
		AsOf: start.Add(-time.Second), Nodes: 3, Live: 12, Capacity: 150, Partial: true}}
}
