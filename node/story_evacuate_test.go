package node

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"tandem/admin"
	"tandem/admin/api"
	"tandem/forecast"
	"tandem/ownership"
)

// TestARegionIsEvacuated: the dry run says where new calls will go, and they do; what a
// hard rule binds stays; live calls stay and are counted; another region's door can
// order it, and the way back.
func TestARegionIsEvacuated(t *testing.T) {
	long(t, "it takes 6 s")
	t.Parallel()
	s := deploy(t, plan{regions: []string{"emea", "amer"}, nodes: 2, token: "the-operators", shape: func(x *seat, c *Config) {
		inProcess(x, c)
		c.Rules = []Rule{{When: `call.tenant == "` + tenantOf(1) + `"`, Region: "emea", Residency: "hard"}}
		file := x.s.path(x.region + "-tokens.yaml")
		must(x.s.t, os.WriteFile(file, fmt.Appendf(nil, "tokens:\n  - {name: alice, roles: [operate], sha256: %s}\n", admin.HashToken(x.s.plan.token)), 0o600))
		c.Admin.TokensFile = file
	}})
	s.knowNodes()
	emea, amer := s.of("emea"), s.of("amer")
	eventually(t, "the regions see each other", func() error {
		return not(emea[1].node.regions.Healthy("amer") && amer[0].node.regions.Healthy("emea"), "they do not")
	})
	// mix posts new calls of two tenants at emea, and counts where they go.
	mix := func() map[string]int {
		went := map[string]int{}
		for i := range 20 {
			x := emea[i%2]
			switch a := s.post(x.webhook(), s.token(tenantOf(i%4/3)), sample(t, incoming, newCall())); {
			case a.status == http.StatusFound && strings.HasPrefix(a.location(), regionURL("amer")):
				went["amer"]++
			case a.status == http.StatusAccepted, a.status == http.StatusFound:
				went["emea"]++
			default:
				t.Fatalf("a new call at %s gets %d %s", x.name, a.status, a.body)
			}
		}
		return went
	}
	if went := mix(); went["emea"] != 20 {
		t.Fatalf("before it went %v", went)
	}
	predicted := func(e api.Evacuation) map[string]int {
		by := map[string]int{}
		for _, n := range e.NewCalls {
			by[n.Region] = n.After
		}
		return by
	}
	dry, err := amer[1].api().Evacuation(t.Context(), "emea")
	must(t, err)
	if dry.Region != "emea" || dry.Evacuated || len(dry.To) != 1 || dry.To[0] != "amer" || dry.Recorded != 20 || len(dry.Missing) != 0 || dry.Live == 0 || len(dry.Tenants) != 2 {
		t.Errorf("the dry run, asked at amer, says %+v", dry)
	}
	if _, err := amer[1].api().Evacuate(t.Context(), "emea", api.EvacuationAsk{To: []ownership.Region{"apac"}}); err == nil || !strings.Contains(err.Error(), "apac") {
		t.Errorf("to a region that nobody knows: %v", err)
	}
	v, err := amer[1].api().Evacuate(t.Context(), "emea", api.EvacuationAsk{Note: "the power is worked on"})
	must(t, err)
	s.holds(v.Number, "emea", "amer")
	went := mix()
	if p := predicted(dry); p["amer"] != went["amer"] || p["emea"] != went["emea"] || went["amer"] != 15 {
		t.Errorf("it went %v, the dry run said %v", went, p)
	}
	during, err := emea[0].api().Evacuation(t.Context(), "emea")
	must(t, err)
	if !during.Evacuated || during.By != "alice" || during.Note != "evacuation of emea: the power is worked on" || during.Live <= dry.Live || time.Since(during.Since) > time.Minute {
		t.Errorf("while it is evacuated: %+v", during)
	}
	kept := forecast.Arrival{}
	for _, n := range during.NewCalls {
		if n.Region == "emea" {
			kept = n
		}
	}
	if kept.After != 10 || len(kept.Why) == 0 || !strings.Contains(kept.Why[0].Text, "region rule 1 matches") {
		t.Errorf("what stays is told as %+v", kept)
	}
	if went := s.goes(amer[0], tenantOf(0)); went != "here" {
		t.Errorf("a call that arrives at amer goes %s", went)
	}

	lost, err := amer[1].api().LoseRegion(t.Context(), "emea")
	must(t, err)
	if !lost.Lost || lost.Recorded != 1 || len(lost.NewCalls) != 1 || lost.NewCalls[0].Region != "amer" || lost.NewCalls[0].After != 1 {
		t.Errorf("were emea lost, amer would see %+v", lost)
	}
	there := amer[0].api()
	there.Region = "emea"
	eventually(t, "amer tells what the loss of a node of emea would bring", func() error {
		f, err := there.ForecastNode(t.Context(), emea[0].node.ID())
		must(t, err)
		own := emea[1].node.table.Live(emea[0].node.ID()) // the node that answers may lag
		return not(f.Live == own && f.Bound+f.Movable+f.Ringing == own && f.Ringing > 0 && f.Room > 0 && f.Needs == f.Movable+f.Ringing && f.Enough == (f.Room >= f.Needs),
			"it has %d calls, and this is told: %+v", own, f)
	})

	v, err = emea[1].api().RestoreRegion(t.Context(), "emea")
	must(t, err)
	s.holds(v.Number, "emea", "amer")
	if went := mix(); went["emea"] != 20 {
		t.Errorf("after it is restored it goes %v", went)
	}
	if _, err := emea[1].api().RestoreRegion(t.Context(), "emea"); err == nil || !strings.Contains(err.Error(), "is not evacuated") {
		t.Errorf("restored twice: %v", err)
	}
}
