package node

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/graphsim"
	"tandem/ownership"
	"tandem/ownership/history"
)

// TestWhereDidANotificationGo: after an unkind run with redirects, relays, a drain in its
// middle and retries, any node's explain tells of 200 notifications, by their ids alone,
// what the cloud and the bots saw: every request with its node and status, where redirects
// led, every hand-over with its bot's status.
func TestWhereDidANotificationGo(t *testing.T) {
	long(t, "it takes 15 s")
	t.Parallel()
	rates := graphsim.Unkind()
	rates.BotFails, rates.CallsFail = 0.15, 0.1
	s := deploy(t, plan{
		nodes: 3, regions: []string{"emea", "amer"}, secure: true, rates: rates, shape: countryRules,
		sim: func(c *graphsim.Config) {
			twoOrigins(c)
			c.Journeys = true
			c.Timings.TalkMin, c.Timings.TalkMax = 2*time.Second, 4*time.Second
		},
	})
	r := s.run(graphsim.Load{Rate: 30, MaxCalls: 90}, func() {
		busy := s.seat("emea-2")
		eventually(t, "answered calls on "+busy.name, func() error {
			return not(s.live(s.seat("emea-1"), busy.id(), ownership.CallAnswered) >= 3, "too few")
		})
		must(t, s.seat("emea-1").api().Drain(t.Context(), busy.id(), time.Now().Add(500*time.Millisecond)))
	})
	s.kept(r)
	if r.Redirects.Region == 0 || r.Redirects.Node == 0 || r.Relays == 0 || r.Adopted == 0 || r.Retries == 0 {
		t.Fatalf("the story was too tame to show anything: %+v", r)
	}
	all := s.cloud.Journeys()
	all = slices.DeleteFunc(all, func(j graphsim.Journey) bool { return len(j.Posts) == 0 })
	slices.SortFunc(all, func(a, b graphsim.Journey) int { return strings.Compare(a.Message, b.Message) })
	seed := uint64(time.Now().UnixNano())
	dice := rand.New(rand.NewPCG(seed, 1))
	dice.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	chosen := interesting(all)
	told := 0
	for _, j := range chosen {
		x := s.seats[dice.IntN(len(s.seats))]
		trail, err := explained(t, x.api(), j)
		if err == nil {
			err = agrees(j, trail, s)
		}
		if err != nil {
			t.Errorf("of %s (%s of call %s) %s's explain: %v", j.Message, j.What, j.Call, x.name, err)
			continue
		}
		told++
	}
	t.Logf("explain agrees with the cloud on %d of %d notifications of %d (seed %d)", told, len(chosen), len(all), seed)
}

const followed = 200

// interesting takes 200 journeys: first one of each kind that the story is about, then
// whichever come.
func interesting(all []graphsim.Journey) (chosen []graphsim.Journey) {
	kinds := []func(graphsim.Journey) bool{
		func(j graphsim.Journey) bool { return regions(j) > 1 },
		func(j graphsim.Journey) bool {
			return slices.ContainsFunc(j.Posts, status(http.StatusFound)) && regions(j) == 1
		},
		func(j graphsim.Journey) bool {
			return slices.ContainsFunc(j.Posts, status(http.StatusServiceUnavailable))
		},
		func(j graphsim.Journey) bool { return len(j.Handed) > 1 },
		func(j graphsim.Journey) bool {
			return len(j.Handed) == 1 && !slices.ContainsFunc(j.Posts, func(p graphsim.Post) bool { return p.Node == j.Handed[0].Node })
		},
		func(j graphsim.Journey) bool { return slices.ContainsFunc(j.Posts, status(http.StatusNoContent)) },
	}
	taken := map[string]bool{}
	take := func(is func(graphsim.Journey) bool) {
		for _, j := range all {
			if len(chosen) < followed && !taken[j.Message] && is(j) {
				taken[j.Message], chosen = true, append(chosen, j)
				return
			}
		}
	}
	for _, is := range kinds {
		take(is)
	}
	for range followed {
		take(func(graphsim.Journey) bool { return true })
	}
	return chosen
}

func status(want int) func(graphsim.Post) bool {
	return func(p graphsim.Post) bool { return p.Status == want }
}

func regions(j graphsim.Journey) int {
	seen := map[string]bool{}
	for _, p := range j.Posts {
		seen[p.Region] = true
	}
	return len(seen)
}

// explained asks for a notification by its id.
func explained(t *testing.T, c *client.Client, j graphsim.Journey) (api.Trail, error) {
	t.Helper()
	var x api.CallExplanation
	var err error
	eventually(t, "all nodes tell of "+j.Message, func() error { // a busy machine may be slow to
		x, err = c.ExplainCall(t.Context(), j.Message)
		for _, n := range x.Nodes {
			if n.Error != "" {
				return fmt.Errorf("%s/%s is missing: %s", n.Region, n.Node, n.Error)
			}
		}
		return nil
	})
	x.Steps = slices.DeleteFunc(x.Steps, func(s history.Step) bool { return s.Message != j.Message })
	return x.Trail, err
}

// agrees holds what explain tells against what the cloud and the bots saw.
func agrees(j graphsim.Journey, trail api.Trail, s *stage) error {
	told, seen, open := map[string]int{}, map[string]int{}, map[string]int{}
	relayed := map[string]bool{}
	for _, step := range trail.Steps {
		switch step.Kind {
		case history.Redirected:
			told[fmt.Sprintf("post to %s: %d", step.Node, step.Status)]++
			if !slices.ContainsFunc(j.Posts, func(p graphsim.Post) bool { return p.Node == step.To || p.Region == step.To }) {
				return fmt.Errorf("it tells of a redirect to %s, where nothing was posted: %+v", step.To, j.Posts)
			}
		case history.Relayed:
			relayed[step.To] = true
		case history.Lettered:
			relayed["region "+step.To] = true
		}
	}
	for _, step := range replies(trail.Steps) {
		told[fmt.Sprintf("post to %s: %d", step.Node, step.Status)]++
	}
	for _, p := range j.Posts {
		if p.Status == 0 {
			open[p.Node]++
			continue
		}
		seen[fmt.Sprintf("post to %s: %d", p.Node, p.Status)]++
	}
	for what, n := range seen {
		if told[what] < n {
			return fmt.Errorf("the cloud saw %q %d times, it tells of %d: %s", what, n, told[what], lines(trail.Steps))
		}
	}
	for what, n := range told {
		node, _, _ := strings.Cut(strings.TrimPrefix(what, "post to "), ":")
		if more := n - seen[what]; more > open[node] {
			return fmt.Errorf("it tells of %q %d times, the cloud saw %d and %d without an answer: %s", what, n, seen[what], open[node], lines(trail.Steps))
		}
	}
	return handedAgrees(j, trail, relayed, s)
}

// replies are the answers to requests of the cloud, once for each request: not what the
// sender of a letter or of a relay was told.
func replies(steps []history.Step) (out []history.Step) {
	type request struct {
		node ownership.NodeID
		at   int64
	}
	seen := map[request]bool{}
	for i, s := range steps {
		done := s.Kind == history.Replied || s.Kind == history.Refused || s.Kind == history.Received && s.Status != 0
		if !done || s.Text == "" || strings.Contains(s.Text, "its bot is not told") {
			continue
		}
		// A body of several calls is answered once.
		began := request{s.Node, s.At.Add(-s.Took).UnixMicro()}
		if s.Status == 0 || seen[began] || inLetter(steps[:i], s) {
			continue
		}
		seen[began] = true
		out = append(out, s)
	}
	return out
}

// inLetter reports whether an answer is that to a letter of another region.
func inLetter(before []history.Step, reply history.Step) bool {
	for _, s := range slices.Backward(before) {
		if s.Kind == history.Received && s.Node == reply.Node && s.At.Sub(reply.At.Add(-reply.Took)).Abs() < time.Microsecond {
			return strings.Contains(s.Text, "letter")
		}
	}
	return false
}

func handedAgrees(j graphsim.Journey, trail api.Trail, relayed map[string]bool, s *stage) error {
	told, seen := map[string]int{}, map[string]int{}
	for _, step := range trail.Steps {
		if step.Kind == history.Handed && step.Status != 0 {
			told[fmt.Sprintf("%s of %s at %s, epoch %d: %d", step.Text, step.Call, step.Node, step.Epoch, step.Status)]++
		}
	}
	for _, h := range j.Handed {
		seen[fmt.Sprintf("%s of %s at %s, epoch %d: %d", h.Event, h.Call, h.Node, h.Epoch, h.Status)]++
		direct := slices.ContainsFunc(j.Posts, func(p graphsim.Post) bool { return p.Node == h.Node })
		if !direct && !relayed[h.Node] && !relayed["region "+s.seat(h.Node).region] {
			return fmt.Errorf("the bot of %s had it, and it tells of no way there: %s", h.Node, lines(trail.Steps))
		}
	}
	for what, n := range seen {
		if told[what] != n {
			return fmt.Errorf("a bot saw %q %d times, it tells of %d: %s", what, n, told[what], lines(trail.Steps))
		}
	}
	if len(told) != len(seen) {
		return fmt.Errorf("it tells of hand-overs %v, the bots saw %v", told, seen)
	}
	return nil
}

func lines(steps []history.Step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "\n  %s %s %s %s → %s %d %s", s.At.Format("05.000000"), s.Node, s.Kind, s.Call, s.To, s.Status, s.Text)
	}
	return b.String()
}

// TestAFollowedCallIsInTheLogOfEachNode that it meets, for as long as somebody wants it.
func TestAFollowedCallIsInTheLogOfEachNode(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 2, shape: func(x *seat, c *Config) {
		inProcess(x, c)
		c.Pins = []Pin{{When: "true", Pin: ownership.Pin{Node: "emea-2"}}}
	}})
	one, two := s.seats[0], s.seats[1]
	h := s.owned(one, two, testTenant)
	steps := func(from *seat) int {
		n := 0
		for line := range strings.Lines(s.log.all()) {
			if strings.Contains(line, `"step":"`) && strings.Contains(line, `"node":"`+from.name+`"`) && strings.Contains(line, string(h.Call)) && strings.Contains(line, `"epoch":`) {
				n++
			}
		}
		return n
	}
	follow := func() { s.post(one.follow(h.CallbackURI), s.token(testTenant), sample(t, established, h.Call)) }
	now, err := client.Log{Client: two.api()}.Set(t.Context(), api.LogAsk{Call: string(h.Call)})
	if err != nil || len(now.Items) != 1 || len(now.Items[0].Nodes) != 2 || len(now.Missing) != 0 {
		t.Fatalf("the nodes follow %+v, %v", now, err)
	}
	follow()
	if steps(one) < 2 || steps(two) < 2 { // received and relayed; received and handed over
		t.Errorf("%d steps of %s and %d of %s: %s", steps(one), one.name, steps(two), two.name, s.log.tail(20))
	}
	if now, err = (client.Log{Client: one.api()}).Set(t.Context(), api.LogAsk{Call: string(h.Call), Level: "off"}); err != nil || len(now.Items) != 0 {
		t.Fatalf("the nodes follow %+v, %v", now, err)
	}
	before := steps(one) + steps(two)
	follow()
	if after := steps(one) + steps(two); after != before {
		t.Errorf("%d more steps after its end", after-before)
	}
	if _, err := (client.Log{Client: one.api()}).Set(t.Context(), api.LogAsk{Call: string(h.Call), Node: one.name}); err == nil {
		t.Error("a call and a node at once are taken")
	}
}
