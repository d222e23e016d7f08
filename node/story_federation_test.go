package node

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/admin"
	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
	"tandem/ownership/history"
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
	long(t, "it takes 10 s")
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
	eventually(t, "all of amer's doors tell by streams", func() error {
		for _, d := range emea.node.regions.Regions()[0].Doors {
			if !d.Streaming {
				return fmt.Errorf("%s does not", d.URL)
			}
		}
		return nil
	})
	var ages []time.Duration
	died := time.Now()
	s.seat("amer-1").stop()
	for time.Since(died) < 5*time.Second {
		if !emea.node.regions.Healthy("amer") {
			t.Fatalf("amer is down %s after the named node went: %+v", time.Since(died), emea.node.regions.Regions())
		}
		ages = append(ages, time.Since(emea.node.regions.Regions()[0].AsOf))
		time.Sleep(50 * time.Millisecond) // the view is watched over a time
	}
	slices.Sort(ages)
	p99 := ages[len(ages)*99/100]
	t.Logf("what is known of amer is %s old (p99), %s at worst; a request there takes %s", p99, ages[len(ages)-1], emea.node.regions.Regions()[0].RTT)
	if p99 > 2*time.Second {
		t.Errorf("what is known of amer is %s old (p99)", p99)
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

// TestOneViewFromAnyNode: at one node of emea, with emea's token, all of amer is seen;
// with amer cut off, what is missing is marked, and the answer comes in time.
func TestOneViewFromAnyNode(t *testing.T) {
	long(t, "it takes 7 s")
	t.Parallel()
	s := deploy(t, plan{regions: []string{"emea", "amer"}, nodes: 2, token: "the-operators", shape: guarded})
	emea, amer := s.seat("emea-2"), s.seat("amer-2")
	id := newCall()
	if a := s.post(amer.webhook(), s.token(testTenant), sample(t, incoming, id)); a.status >= 400 {
		t.Fatalf("a call at amer: %d %s", a.status, a.body)
	} else if a.location() != "" {
		s.post(a.location(), s.token(testTenant), sample(t, incoming, id))
	}
	c, err := client.New(emea.admin, s.plan.token, "")
	must(t, err)
	t.Cleanup(c.Close)
	var told api.Gathered
	c.Gathered = func(g api.Gathered) { told = g }
	eventually(t, "emea sees amer", func() error {
		return not(emea.node.regions.Look("amer", testApp).Up, "%+v", emea.node.regions.Regions())
	})
	call, err := c.Call(t.Context(), string(id))
	must(t, err)
	why, err := c.ExplainCall(t.Context(), string(id))
	if err != nil || call.ID != id || why.Call != id || !strings.HasPrefix(string(why.Partition.Owner), "amer-") {
		t.Errorf("of amer's call emea says %+v, %+v, %v", call, why, err)
	}
	c.Region = "amer"
	nodes, err := c.Nodes(t.Context())
	if err != nil || len(nodes) != 2 || nodes[0].ID != "amer-1" {
		t.Errorf("amer's nodes are %+v, %v", nodes, err)
	}
	seen := false
	must(t, c.Events(t.Context(), 0, false, func(e history.Event) error { seen = seen || e.Call == id; return nil }))
	if !seen {
		t.Error("amer's events do not tell of its call")
	}
	c.Region = "all"
	page, err := c.Calls(t.Context(), ownership.CallFilter{}, "", 0)
	if err != nil || !contains(page, id) || page.Items[0].Region != "amer" || told.Partial || len(told.Parts) != 2 {
		t.Errorf("all calls are %+v, %v", page, err)
	}
	c.Region = ""
	eventually(t, "emea shows all of amer", func() error {
		all, err := c.Regions(t.Context())
		must(t, err)
		r := all[1]
		return not(len(r.Doors) == 2 && r.RTT != "" && r.Age != "" && len(r.List) == 2 && len(r.Apps) == 1 && len(r.Drift) == 0, "it shows %+v", r)
	})
	for _, x := range s.of("amer") {
		x.stop()
	}
	c.Region = "all"
	began := time.Now()
	nodes, err = c.Nodes(t.Context())
	if took := time.Since(began); err != nil || len(nodes) != 2 || !told.Partial || told.Parts[1].Error == "" || took > 4*time.Second {
		t.Errorf("without amer, after %s: %+v, %+v, %v", took, nodes, told, err)
	}
	// Three seconds of this machine's time: on one that stands still ticks are dropped.
	const beat = 20 * time.Millisecond
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for range 3 * time.Second / beat {
		if !emea.node.regions.Healthy("amer") {
			return
		}
		<-tick.C
	}
	t.Errorf("amer is up 3 s after its death: %+v", emea.node.regions.Regions())
}

// TestF23_ARegionThatStandsStill answers nothing and refuses nothing: it is down within
// three seconds, what is asked of all regions comes in time without it, and it is up again
// soon after it goes on.
func TestF23_ARegionThatStandsStill(t *testing.T) {
	long(t, "it needs nodes that are processes of their own")
	t.Parallel()
	s := deploy(t, plan{regions: []string{"emea", "amer"}, nodes: 1, children: true})
	emea, amer := s.seat("emea-1"), s.seat("amer-1")
	c := emea.api()
	up := func() bool {
		all, err := c.Regions(t.Context())
		must(t, err)
		return all[1].Healthy
	}
	eventually(t, "emea calls amer up", func() error { return not(up(), "it does not") })
	amer.pause()
	still := time.Now()
	for up() {
		if time.Since(still) > 4*time.Second { // three, and the machine is busy
			t.Fatalf("amer is up %s after it stood still", time.Since(still))
		}
		time.Sleep(10 * time.Millisecond) // the view is watched over a time
	}
	t.Logf("amer is down %s after it stood still", time.Since(still))
	all, err := client.New(emea.admin, s.plan.token, "")
	must(t, err)
	t.Cleanup(all.Close)
	var told api.Gathered
	all.Region, all.Gathered = "all", func(g api.Gathered) { told = g }
	began := time.Now()
	nodes, err := all.Nodes(t.Context())
	if took := time.Since(began); err != nil || len(nodes) != 1 || !told.Partial || !told.Parts[1].Partial || told.Parts[1].Error == "" || took > 4*time.Second {
		t.Errorf("without amer, after %s: %+v, %+v, %v", took, nodes, told, err)
	}
	amer.resume()
	again := time.Now()
	eventually(t, "emea calls amer up again", func() error { return not(up(), "it does not") })
	t.Logf("amer is up %s after it went on", time.Since(again))
}
