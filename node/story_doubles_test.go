package node

import (
	"net/http"
	"strings"
	"testing"

	"tandem/ownership"
	"tandem/ownership/history"
)

// TestO39_ACallThatTwoRegionsClaimed: the cloud posted a new call to both at once, and no
// rule gives it a home. The region whose answer the cloud took keeps it; the other one
// gives it up, tells its bot, and its timeline says why.
func TestO39_ACallThatTwoRegionsClaimed(t *testing.T) {
	long(t, "it takes 7 s")
	t.Parallel()
	s := deploy(t, plan{regions: []string{"emea", "amer"}, nodes: 2, shape: inProcess})
	s.knowNodes()
	token, id := s.token(tenantOf(0)), newCall()
	owner := map[string]*seat{}
	for _, region := range s.plan.regions {
		at := s.of(region)[0]
		a := s.post(at.webhook(), token, sample(t, incoming, id))
		if a.status == http.StatusFound {
			a = s.post(s.of(region)[1].follow(a.location()), token, sample(t, incoming, id))
		}
		if a.status != http.StatusAccepted {
			t.Fatalf("the new call at %s: %d %s", at.name, a.status, a.body)
		}
		for _, x := range s.of(region) {
			if len(x.seen.of(id)) > 0 {
				owner[region] = x
			}
		}
		if owner[region] == nil {
			t.Fatalf("no bot of %s has the call", region)
		}
	}
	uri := owner["emea"].seen.of(id)[0].CallbackURI
	if a := s.post(s.of("emea")[0].follow(uri), token, sample(t, established, id)); a.status/100 != 2 {
		t.Fatalf("it is established at emea: %d %s", a.status, a.body)
	}
	eventually(t, "amer's bot has let go of it", func() error {
		got := owner["amer"].seen.of(id)
		last := got[len(got)-1]
		return not(last.Event == ownership.EventLost, "it heard %s last, of %d", last.Event, len(got))
	})
	for _, x := range s.of("amer") {
		eventually(t, x.name+" knows that it is over", func() error {
			k, _ := x.node.table.Known(id)
			return not(k.State == ownership.CallEnded, "it is %s", k.State)
		})
	}
	events, err := s.of("amer")[1].node.table.Timeline(id)
	if last := events[len(events)-1]; err != nil || last.Kind != history.Ended || !strings.Contains(last.Text, "region emea claimed it, too") {
		t.Errorf("%v, the timeline ends with %+v", err, last)
	}
	if k, ok := s.of("emea")[1].node.table.Known(id); !ok || k.State != ownership.CallAnswered {
		t.Errorf("at emea it is %s", k.State)
	}
	got := owner["emea"].seen.of(id)
	if last := got[len(got)-1]; last.Event != ownership.EventUpdate || len(got) != 2 {
		t.Errorf("emea's bot heard %d things, %s last", len(got), last.Event)
	}
}
