package admin

import (
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// TestASilentNodeCountsForNothing: it is shown as what it is, and its capacity and room are
// nobody's.
func TestASilentNodeCountsForNothing(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	before, err := r.client("").Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	since := start.Add(-time.Minute)
	r.fake.set(func() {
		r.fake.fitness.Silent = []ownership.Silence{{Node: "emea-2", Since: since, Cause: ownership.Refuses,
			Went: []ownership.Inherited{{Node: "emea-1", Partitions: 5}, {Node: "emea-3", Partitions: 3}}}}
	})
	n, err := r.client("").Node(t.Context(), "emea-2")
	if err != nil || n.Standing != api.NodeSilent || !n.Silence.Since.Equal(since) {
		t.Fatalf("%+v, %v", n, err)
	}
	want := "emea-2 fell silent at 2026-11-23T09:29:00Z: its cluster port refuses connections, so its process has most likely ended; " +
		"its 8 partitions went to emea-1 (5) and emea-3 (3); it keeps 3 partitions until its lease is certainly over and another node can take them"
	if n.Silence.Text != want {
		t.Errorf("it says %q", n.Silence.Text)
	}
	st, err := r.client("").Status(t.Context())
	if err != nil || st.Capacity != before.Capacity-50 || st.Room != before.Room-50 || st.Nodes != before.Nodes || !slices.Contains(st.Warnings, want) {
		t.Errorf("the status is %+v, before %+v, %v", st, before, err)
	}
}

// TestWhoHasALeaseIsHeard: a node that has just come back is told of its own silence with
// its first lease.
func TestWhoHasALeaseIsHeard(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.fake.set(func() { r.fake.fitness.Silent = []ownership.Silence{{Node: "emea-1", Since: start.Add(-time.Minute)}} })
	if n, err := r.client("").Node(t.Context(), "emea-1"); err != nil || n.Standing != "active" || n.Silence != nil {
		t.Errorf("%+v, %v", n, err)
	}
}

// TestWhoHasNoLeaseKnowsNothingOfOthers and says so.
func TestWhoHasNoLeaseKnowsNothingOfOthers(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.fake.set(func() { r.fake.status.LeaseUntil = start.Add(-time.Minute) })
	nodes, err := r.client("").Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range nodes {
		got = append(got, n.Standing)
		if n.Silence != nil && !strings.Contains(n.Silence.Text, "lease since 2026-11-23T09:29:00Z") {
			t.Errorf("of %s it says %q", n.ID, n.Silence.Text)
		}
	}
	if !slices.Equal(got, []string{"silent", "unknown", "unknown", "gone"}) {
		t.Errorf("they are shown as %v", got)
	}
}

// TestScaling: as many nodes as make the region as full as asked; what is silent or drains
// is no place for a call.
func TestScaling(t *testing.T) {
	t.Parallel()
	node := func(standing string, live int) api.Node {
		n := api.Node{Standing: standing, Live: live}
		n.Capacity = 50
		return n
	}
	for name, tc := range map[string]struct {
		nodes  []api.Node
		target float64
		want   api.Scaling
	}{
		"empty":            {[]api.Node{node("active", 0), node("active", 0)}, .7, api.Scaling{Capacity: 100, Nodes: 2, Wanted: 1}},
		"as full as asked": {[]api.Node{node("active", 35), node("active", 35)}, .7, api.Scaling{Live: 70, Capacity: 100, Used: .7, Nodes: 2, Wanted: 2}},
		"one more call":    {[]api.Node{node("active", 36), node("active", 35)}, .7, api.Scaling{Live: 71, Capacity: 100, Used: .71, Nodes: 2, Wanted: 3}},
		"one is silent":    {[]api.Node{node("active", 40), node("silent", 30)}, .7, api.Scaling{Live: 70, Capacity: 50, Used: 1.4, Nodes: 1, Wanted: 2}},
		"one drains":       {[]api.Node{node("active", 10), node("draining", 10)}, .5, api.Scaling{Live: 20, Capacity: 50, Used: .4, Nodes: 1, Wanted: 1}},
		"nobody is active": {[]api.Node{node("silent", 3), node("draining", 0)}, .7, api.Scaling{Live: 3, Used: 1, Wanted: 3}},
		"nobody is there":  {nil, .7, api.Scaling{Used: 1, Wanted: 1}},
	} {
		if got := scaling(tc.nodes, tc.target); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// TestScalingNeedsALease: who has lost its region would have an autoscaler shrink it.
func TestScalingNeedsALease(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.ask("GET", "/v1/scaling", "").want(t, 200)
	r.fake.set(func() { r.fake.status.LeaseUntil = start.Add(-time.Second) })
	if a := r.ask("GET", "/v1/scaling", "").want(t, 503); !strings.Contains(a.text, "no lease") || a.Header.Get("Retry-After") == "" {
		t.Errorf("without a lease: %+v", a)
	}
}
