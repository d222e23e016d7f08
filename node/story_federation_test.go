package node

import (
	"fmt"
	"os"
	"testing"
	"time"

	"tandem/admin"
	"tandem/ownership"
)

// guarded sets up an admin token in each region, and none towards the other: the doors
// open by the keys that all share.
func guarded(x *seat, c *Config) {
	inProcess(x, c)
	file := x.s.path(x.region + "-tokens.yaml")
	must(x.s.t, os.WriteFile(file, fmt.Appendf(nil, "tokens:\n  - {name: alice, roles: [operate], sha256: %s}\n", admin.HashToken(x.s.plan.token)), 0o600))
	c.Admin.TokensFile = file
}

// TestRegionsKnowEachOther: with no token configured between them, they know each other's
// nodes, partitions and apps, and the death of the node that the configuration names
// takes nothing of that away.
func TestRegionsKnowEachOther(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{regions: []string{"emea", "amer"}, nodes: 3, token: "the-operators", shape: guarded})
	emea, amer := s.seat("emea-2"), s.seat("amer-2")
	knows := func() error {
		nodes := emea.node.regions.Nodes("amer")
		if err := not(len(nodes) == 3, "it knows %+v", nodes); err != nil {
			return err
		}
		for _, p := range amer.node.table.Partitions() {
			if n, ok := emea.node.regions.Owner("amer", p.ID); !p.Retired && (!ok || n.ID != p.Owner || n.Cluster == "") {
				return fmt.Errorf("partition %d is %s's, and emea knows %+v", p.ID, p.Owner, n)
			}
		}
		look := emea.node.regions.Look("amer", ownership.AppID(testApp))
		return not(look.Up && look.Room > 0 && look.RTT > 0, "for a new call it is %+v", look)
	}
	eventually(t, "emea knows amer", knows)
	streams := 0
	for _, d := range emea.node.regions.Regions()[0].Doors {
		if d.Streaming {
			streams++
		}
	}
	if streams != 3 {
		t.Errorf("of amer's doors %d tell by streams", streams)
	}
	died := time.Now()
	s.seat("amer-1").stop()
	for time.Since(died) < 5*time.Second {
		if !emea.node.regions.Healthy("amer") {
			t.Fatalf("amer is down %s after the named node went: %+v", time.Since(died), emea.node.regions.Regions())
		}
		if age := time.Since(emea.node.regions.Regions()[0].AsOf); age > 2*time.Second {
			t.Errorf("what is known of amer is %s old", age)
		}
		time.Sleep(50 * time.Millisecond) // the view is watched over a time
	}
	eventually(t, "emea says which door is lost", func() error {
		r := emea.node.regions.Regions()[0]
		for _, d := range r.Doors {
			if d.URL == "http://"+s.seats[3].admin && !d.Answered {
				return nil
			}
		}
		return fmt.Errorf("%+v", r)
	})
	eventually(t, "emea knows amer again", func() error {
		for _, n := range emea.node.regions.Nodes("amer") {
			if n.ID == "amer-1" && n.State != "silent" {
				return fmt.Errorf("amer-1 is %s", n.State)
			}
		}
		return knows()
	})
}
