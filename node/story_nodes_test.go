package node

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tandem/admin/api"
	"tandem/ownership/history"
)

// TestASilentNodeIsNeverShownAsActive: a killed node is silent at every node of its
// region, with since when, why and where its partitions went; the region's capacity is
// what is left, the history tells it, and when the node is back nobody says so any more.
// The second one to die is the leader, whose word the others had.
func TestASilentNodeIsNeverShownAsActive(t *testing.T) {
	long(t, "it takes 9 s")
	t.Parallel()
	s := deploy(t, plan{children: true})
	lead, rest := s.leads(s.seats...)
	for _, victim := range []*seat{rest[0], lead} {
		others := slices.DeleteFunc(slices.Clone(s.seats), func(x *seat) bool { return x == victim })
		eventually(t, "partitions on "+victim.name, func() error {
			n, err := others[0].api().Node(t.Context(), victim.id())
			return not(err == nil && n.Partitions > 0 && n.Standing == "active", "%+v, %v", n, err)
		})
		victim.kill()
		for _, x := range others {
			eventually(t, x.name+" tells of the silence of "+victim.name, func() error { return x.tells(victim, 1000) })
		}
		victim.start()
		s.ready(victim)
		for _, x := range s.seats {
			eventually(t, x.name+" tells of it no longer", func() error {
				n, err := x.api().Node(t.Context(), victim.id())
				st, _ := x.api().Status(t.Context())
				return not(err == nil && n.Standing == "active" && n.Silence == nil && st.Capacity == 1500 && !strings.Contains(strings.Join(st.Warnings, " "), "silent"),
					"%+v, %v, %v", n, st.Warnings, err)
			})
		}
	}
}

// tells reports whether a seat's node tells the whole truth of a silent one.
func (x *seat) tells(victim *seat, capacity int) error {
	ctx := x.s.t.Context()
	n, err := x.api().Node(ctx, victim.id())
	if err != nil || n.Standing != api.NodeSilent || n.Silence == nil || n.Silence.Since.IsZero() {
		return not(false, "it shows %+v, %v", n, err)
	}
	for _, want := range []string{victim.name + " fell silent at ", "refuses connections", "; its ", " went to "} {
		if !strings.Contains(n.Silence.Text, want) {
			return not(false, "%q says nothing of %q", n.Silence.Text, want)
		}
	}
	st, err := x.api().Status(ctx)
	if err != nil || st.Capacity != capacity || !slices.Contains(st.Warnings, n.Silence.Text) {
		return not(false, "the status has capacity %d and warns of %q, %v", st.Capacity, st.Warnings, err)
	}
	peers, err := x.api().Peers(ctx)
	if i := slices.IndexFunc(peers, func(p api.Peer) bool { return p.ID == victim.id() }); err != nil || i < 0 || !peers[i].Known || peers[i].Healthy {
		return not(false, "its peers are %+v, %v", peers, err)
	}
	regions, err := x.api().Regions(ctx)
	if err != nil || regions[0].Capacity != capacity {
		return not(false, "it shows its region as %+v, %v", regions, err)
	}
	if page := x.s.send(http.MethodGet, "http://"+x.admin+"/console/", "", nil); !strings.Contains(page.body, `<span class="pill silent">silent</span>`) {
		return not(false, "the console shows no silent node")
	}
	return x.history(victim)
}

// history reports whether the events tell of the silence, and of each partition from whom
// it came.
func (x *seat) history(victim *seat) error {
	told, moved := false, 0
	err := x.api().Events(x.s.t.Context(), 0, false, func(e history.Event) error {
		told = told || e.Kind == history.Silent && e.Node == victim.id() && strings.Contains(e.Text, " went to ")
		if text, _ := json.Marshal(e); e.Kind == history.Moved && strings.Contains(string(text), `"from":"`+victim.name+`"`) {
			moved++
		}
		return nil
	})
	return not(err == nil && told && moved > 0, "its history tells of the silence: %t, and of %d moves, %v", told, moved, err)
}
