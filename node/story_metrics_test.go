package node

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/admin/api"
	"tandem/graphsim"
	"tandem/ownership"
	"tandem/pulse"
)

var (
	describedName  = regexp.MustCompile(`fqName: "(tandem_[a-z0-9_]+)"`)
	documentedName = regexp.MustCompile("(?m)^\\| `((?:tandem|raft)_[a-zA-Z0-9_]+)`")
)

// TestMetricsAreTheDocumentedOnes: a node in a deployment of two regions has every metric of
// docs/metrics.md and no other, raft's own that it names among them; and what has happened
// shows in them.
func TestMetricsAreTheDocumentedOnes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/metrics.md")
	must(t, err)
	documented := map[string]bool{}
	for _, m := range documentedName.FindAllStringSubmatch(string(text), -1) {
		if !strings.HasPrefix(m[1], "tandem_acme_") { // TestARegionOrdersItsCertificateOnce sees these
			documented[m[1]] = true
		}
	}
	s := deploy(t, plan{regions: []string{"emea", "amer"}, nodes: 2, sim: longCalls})
	x := s.seats[0]
	s.runAll(graphsim.Load{Rate: 50, MaxCalls: 10})
	there := map[string]bool{}
	described := make(chan *prometheus.Desc)
	go func() { x.node.cfg.Registry.Describe(described); close(described) }()
	for d := range described {
		if m := describedName.FindStringSubmatch(d.String()); m != nil {
			there[m[1]] = true
		}
	}
	var scraped string
	eventually(t, "calls in the metrics", func() error {
		scraped = s.metrics(x)
		return not(regexp.MustCompile(`tandem_calls\{app="`+testApp+`",state="answered"\} [1-9]`).MatchString(scraped), "none")
	})
	for name := range documented {
		if strings.HasPrefix(name, "raft_") && strings.Contains(scraped, "\n"+name) {
			there[name] = true
		}
	}
	if want, got := slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(there)); !slices.Equal(want, got) {
		t.Errorf("documented are %d metrics, there are %d:\n%v\n%v", len(want), len(got), want, got)
	}
	for _, line := range []string{
		`tandem_lease_valid 1`, `tandem_region_leader 1`, `tandem_region_voters 2`, `tandem_node_capacity 500`, `tandem_disk_trouble 0`,
		`tandem_region_nodes{standing="active"} 2`, `tandem_region_nodes{standing="silent"} 0`, `tandem_promise_holds{promise="claims"} 1`, `tandem_promise_holds{promise="survives-one-node"} 0`,
		`tandem_federation_region_up{region="amer"} 1`, `tandem_build_info{format=`,
	} {
		if !strings.Contains(scraped, "\n"+line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if a := s.send(http.MethodGet, "http://"+x.admin+"/v1/scaling?target=0.1", "", nil); a.status != http.StatusOK || !strings.Contains(a.body, `"nodes":2`) {
		t.Errorf("the signal for autoscalers is %d %s", a.status, a.body)
	}
}

// TestEachNodeTellsHowItWas to whichever node of its region is asked, out of the metrics
// that it really has; one that is down is named with the reason.
func TestEachNodeTellsHowItWas(t *testing.T) {
	long(t, "it takes 5 s")
	t.Parallel()
	s := deploy(t, plan{nodes: 3, secure: true, sim: longCalls})
	must(t, s.seats[0].node.pulse.Beat())
	s.runAll(graphsim.Load{Rate: 50, MaxCalls: 10})
	ask := func() map[ownership.NodeID]api.PulseNode {
		out := map[ownership.NodeID]api.PulseNode{}
		for _, n := range (pulses{s.seats[1].node}).of(t.Context(), api.PulseAsk{Points: pulse.Kept}) {
			out[n.Node] = n
		}
		return out
	}
	var told map[ownership.NodeID]api.PulseNode
	eventually(t, "the nodes tell of the calls' claims and answers", func() error { // runAll leaves calls under way
		for _, x := range s.seats {
			must(t, x.node.pulse.Beat())
		}
		told = ask()
		claims, took := 0.0, 0.0
		for _, n := range told {
			for _, sample := range n.Samples {
				claims, took = claims+sample.Claims, max(took, sample.P99)
			}
		}
		if claims == 0 || took == 0 {
			return fmt.Errorf("10 calls came, and the nodes tell of %v claims a second and answers of %v ms", claims, took)
		}
		return nil
	})
	first := told[s.seats[0].id()]
	if len(told) != 3 || first.Error != "" || len(first.Samples) == 0 || len(first.Bots) == 0 || !first.Bots[0].Healthy || len(first.Ends) == 0 {
		t.Fatalf("the nodes tell %+v", told)
	}
	one := (pulses{s.seats[1].node}).of(t.Context(), api.PulseAsk{Node: s.seats[2].id(), Points: 1})
	if len(one) != 1 || one[0].Node != s.seats[2].id() {
		t.Errorf("of one node is told %+v", one)
	}
	s.seats[2].stop()
	if told := ask(); told[s.seats[2].id()].Error == "" {
		t.Errorf("of a node that is down is told %+v", told)
	}
}
