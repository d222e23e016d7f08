package node

import (
	"net/http"
	"strings"
	"testing"

	"tandem/ownership"
)

// inProcess gives a node a bot in its process that answers by itself.
func inProcess(x *seat, c *Config) {
	c.Bot = x.seen
	c.Apps[0].Bot, c.Apps[0].Graph, c.Apps[0].Answer, c.Apps[0].AnswerWith = AppBot{}, AppGraph{}, "bot", nil
}

// TestF22_ARegionThatIsDown: its calls stay where they arrive, unless the rule
// is hard; and they go home again when it is back.
func TestF22_ARegionThatIsDown(t *testing.T) {
	long(t, "it takes 6 s, the time until a region is called down")
	t.Parallel()
	s := deploy(t, plan{regions: []string{"emea", "amer"}, nodes: 1, shape: func(x *seat, c *Config) {
		inProcess(x, c)
		c.Rules = []Rule{
			{When: `call.tenant == "` + tenantOf(0) + `"`, Region: "amer"},
			{When: `call.tenant == "` + tenantOf(1) + `"`, Region: "amer", Residency: "hard"},
		}
	}})
	emea, amer := s.seat("emea-1"), s.seat("amer-1")
	home := func(why string) {
		t.Helper()
		for _, tenant := range []string{tenantOf(0), tenantOf(1)} {
			a := s.post(emea.webhook(), s.token(tenant), sample(t, incoming, newCall()))
			if a.status != http.StatusFound || !strings.HasPrefix(a.location(), regionURL("amer")+"/api/calls?h=") {
				t.Fatalf("%s: a call of amer is answered with %d to %q", why, a.status, a.location())
			}
			id := newCall()
			at := amer.follow(s.post(emea.webhook(), s.token(tenant), sample(t, incoming, id)).location())
			if b := s.post(at, s.token(tenant), sample(t, incoming, id)); b.status != http.StatusAccepted {
				t.Errorf("%s: followed to amer it is answered with %d %s", why, b.status, b.body)
			}
		}
	}
	eventually(t, "a call of amer goes there", func() error {
		a := s.post(emea.webhook(), s.token(tenantOf(0)), sample(t, incoming, newCall()))
		return not(a.status == http.StatusFound && strings.HasPrefix(a.location(), regionURL("amer")), "it is answered with %d to %q", a.status, a.location())
	})
	home("both regions are up")
	all, err := emea.api().Regions(t.Context())
	must(t, err)
	for _, r := range all {
		if r.Name == "amer" && (r.AdminURL != "http://"+amer.admin || !r.Healthy) {
			t.Errorf("the admin door says of amer: %+v", r)
		}
	}
	amer.stop()
	eventually(t, "emea calls amer down", func() error {
		return not(!emea.node.regions.Healthy("amer"), "it does not")
	})
	id := newCall()
	if a := s.post(emea.webhook(), s.token(tenantOf(0)), sample(t, incoming, id)); a.status != http.StatusAccepted {
		t.Errorf("a call of amer by a soft rule is answered with %d %s", a.status, a.body)
	}
	if got := emea.seen.of(id); len(got) != 1 || got[0].Event != ownership.EventIncoming {
		t.Errorf("the bot was handed %+v", got)
	}
	a := s.post(emea.webhook(), s.token(tenantOf(1)), sample(t, incoming, newCall()))
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("a call of amer by a hard rule is answered with %d %s", a.status, a.body)
	}
	amer.start()
	s.ready(amer)
	s.meet()
	home("amer is back")
	// A call that was taken in its absence stays.
	if a := s.post(emea.webhook(), s.token(tenantOf(0)), sample(t, incoming, id)); a.status != http.StatusAccepted {
		t.Errorf("a known call is answered with %d to %q", a.status, a.location())
	}
}
