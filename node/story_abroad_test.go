package node

import (
	"net/http"
	"strings"
	"testing"

	"tandem/graphsim"
	"tandem/ownership"
)

// homeInAmer gives the calls of the first tenant to amer; the bots run in the nodes'
// process.
func homeInAmer(x *seat, c *Config) {
	inProcess(x, c)
	c.Rules = []Rule{{When: `call.tenant == "` + tenantOf(0) + `"`, Region: "amer"}}
}

// knowNodes waits until every node has heard of the other regions' nodes.
func (s *stage) knowNodes() {
	s.t.Helper()
	for _, x := range s.seats {
		for _, region := range s.plan.regions {
			if x.node == nil || region == x.region {
				continue
			}
			eventually(s.t, x.name+" knows the nodes of "+region, func() error {
				got := abroad{x.node.regions, x.node.region}.nodes(ownership.Region(region), 0)
				return not(len(got) == s.plan.nodes, "it knows %+v", got)
			})
		}
	}
}

// TestO31_ARealCallAtTheWrongRegion: what comes in a region that is not the call's
// reaches the owner's bot once, in order, by the link between the regions' nodes.
func TestO31_ARealCallAtTheWrongRegion(t *testing.T) {
	long(t, "it takes 9 s")
	for name, secure := range map[string]bool{"mutual TLS": true, "plain on loopback": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := deploy(t, plan{regions: []string{"emea", "amer"}, nodes: 2, secure: secure, shape: homeInAmer})
			s.knowNodes()
			emea := s.of("emea")
			token := s.token(tenantOf(0))
			id := newCall()
			a := s.post(emea[0].webhook(), token, sample(t, incoming, id))
			for hops := 0; a.status == http.StatusFound && hops < 2; hops++ {
				a = s.post(s.seat("amer-1").follow(a.location()), token, sample(t, incoming, id))
			}
			if a.status != http.StatusAccepted {
				t.Fatalf("the new call: %d %s", a.status, a.body)
			}
			var owner *seat
			for _, x := range s.of("amer") {
				if len(x.seen.of(id)) == 1 {
					owner = x
				}
			}
			if owner == nil {
				t.Fatal("no bot of amer was told of the call")
			}
			owner.seen.answerWith(func(ownership.HandOver) ownership.Reply {
				return ownership.Reply{Status: http.StatusOK, Header: http.Header{"X-Bot": {owner.name}}, Body: []byte("heard")}
			})
			uri := owner.seen.of(id)[0].CallbackURI
			bodies := []string{
				sample(t, "graph-establishing.json", id), sample(t, established, id),
				strings.ReplaceAll(sample(t, established, id), `"established"`, `"hold"`),
			}
			for i, body := range bodies { // on the callback URI, at each node of emea
				if a := s.post(emea[i%2].follow(uri), token, body); a.status != http.StatusOK || a.body != "heard" || a.header.Get("X-Bot") != owner.name {
					t.Errorf("follow-up %d at %s: %d %v %s", i, emea[i%2].name, a.status, a.header, a.body)
				}
			}
			// On the webhook's path, where no rule can place it: amer says that it knows it.
			bodies = append(bodies, strings.ReplaceAll(sample(t, established, id), `"established"`, `"transferring"`),
				strings.NewReplacer(`"updated"`, `"deleted"`, `"established"`, `"terminated"`).Replace(sample(t, established, id)))
			for _, body := range bodies[3:] {
				if a := s.post(emea[1].webhook(), s.token(tenantOf(1)), body); a.status != http.StatusOK {
					t.Errorf("on the webhook's path: %d %s", a.status, a.body)
				}
			}
			got := owner.seen.of(id)
			if len(got) != len(bodies)+1 {
				t.Fatalf("its bot was handed %d: %+v", len(got), got)
			}
			for i, body := range bodies {
				if string(got[i+1].Body) != body {
					t.Errorf("number %d was %s", i, got[i+1].Body)
				}
				if _, leaked := got[i+1].Header["Authorization"]; leaked {
					t.Error("the bot got the cloud's token")
				}
			}
			for _, x := range s.seats {
				if x != owner && len(x.seen.of(id)) != 0 {
					t.Errorf("the bot of %s was handed the call too", x.name)
				}
				if _, known := x.node.region.Find(id); known && x.region == "emea" {
					t.Errorf("%s knows the call: it has a second owner", x.name)
				}
			}
			if strings.Contains(s.log.all(), token) {
				t.Error("the token is in a log")
			}
		})
	}
}

// TestNotificationsThatGoAstrayLoseNothing: the cloud follows no redirect mid-call, and
// the names of the regions often lead to another one.
func TestNotificationsThatGoAstrayLoseNothing(t *testing.T) {
	long(t, "it makes calls for some seconds")
	t.Parallel()
	rates := graphsim.Unkind()
	rates.Astray, rates.HangUp, rates.Batch = 0.4, 0.2, 0.2
	s := deploy(t, plan{regions: []string{"emea", "amer"}, nodes: 2, secure: true, rates: rates})
	s.knowNodes()
	r := s.run(graphsim.Load{MaxCalls: 200, Rate: 40})
	s.kept(r)
	relayed := 0.0
	for _, x := range s.seats {
		relayed += x.letters()
	}
	if relayed < 50 {
		t.Errorf("%v letters were sent: too few went astray", relayed)
	}
}

// letters counts what the seat's node has relayed to other regions.
func (x *seat) letters() float64 {
	x.s.t.Helper()
	families, err := x.node.cfg.Registry.Gather()
	must(x.s.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "tandem_webhook_hops_total" && m.GetLabel()[0].GetValue() == "region_relay" {
				return m.GetCounter().GetValue()
			}
		}
	}
	x.s.t.Fatal("nobody counts letters")
	return 0
}
