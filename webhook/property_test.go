package webhook

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tandem/ownership"
)

// doorRun is one run of a random history against the doors of three nodes.
type doorRun struct {
	t     *rapid.T
	r     *region
	nodes []*node
	ids   []ownership.NodeID

	token  string
	placed map[ownership.CallID]ownership.PartitionID // what the first 202 or redirect told
	seen   map[ownership.NodeID]int                   // hand-overs looked at
}

// TestTheDoorKeepsItsWord drives the real doors of three nodes through random
// histories of good, repeated, stale, forged and mangled notifications, while
// partitions move and leases come and go, and checks after each request what
// must always hold.
func TestTheDoorKeepsItsWord(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 3, setup{config: func(c *Config) { c.Hidden, c.Attempts.TokenBurst = true, 1<<30 }})
	r.place = func(c ownership.Claim) ownership.PartitionID { return ownership.PartitionID(len(c.Call)%3 + 1) }
	token := mint(t, ourApp, ourTenant)
	rapid.Check(t, func(rt *rapid.T) {
		d := &doorRun{t: rt, r: r, token: token, placed: map[ownership.CallID]ownership.PartitionID{}, seen: map[ownership.NodeID]int{}}
		r.mu.Lock()
		r.calls = map[ownership.CallID]ownership.Known{}
		r.mu.Unlock()
		for i := range 3 {
			id := ownership.NodeID(fmt.Sprintf("emea-%d", i+1))
			nd := r.nodes[id]
			nd.leaseOff = false
			d.ids, d.nodes = append(d.ids, id), append(d.nodes, nd)
			d.seen[id] = len(nd.handed())
		}
		rt.Repeat(map[string]func(*rapid.T){
			"a first notification": func(*rapid.T) { d.first() },
			"a follow-up":          func(*rapid.T) { d.followUp() },
			"a bad request":        func(*rapid.T) { d.bad() },
			"a move":               func(*rapid.T) { d.move() },
			"a lease":              func(*rapid.T) { nd := d.anyNode(); nd.leaseOff = !nd.leaseOff },
		})
	})
}

func (d *doorRun) anyNode() *node {
	return d.nodes[rapid.IntRange(0, len(d.nodes)-1).Draw(d.t, "node")]
}

// anyCall draws from few calls, so that they meet; their length chooses the
// partition.
func (d *doorRun) anyCall() ownership.CallID {
	n := rapid.IntRange(1, 6).Draw(d.t, "call")
	return ownership.CallID(strings.Repeat(string(rune('a'+n)), n))
}

func (d *doorRun) anyBody(id ownership.CallID) string {
	return rapid.SampledFrom([]func() string{
		func() string { return update(string(id)) },
		func() string { return incoming(string(id)) },
		func() string { return end(string(id)) },
	}).Draw(d.t, "body")()
}

// send posts to a node's door and checks what holds for every answer.
func (d *doorRun) send(nd *node, target, body, bearer string) answered {
	req := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	req.Header.Set("Host", "evil.example")
	req.Header.Set("X-Forwarded-Host", "evil.example")
	w := httptest.NewRecorder()
	nd.door.ServeHTTP(w, req)
	a := answered{w.Code, w.Header(), w.Body.String()}
	if !slices.Contains([]int{202, 204, 302, 400, 401, 403, 404, 503}, a.status) {
		d.t.Fatalf("%s answered %d %s", nd.id, a.status, a.body)
	}
	if a.status == 503 && a.header.Get("Retry-After") == "" {
		d.t.Fatalf("503 without Retry-After: %s", a.body)
	}
	if (a.location() != "") != (a.status == 302) {
		d.t.Fatalf("status %d with the Location %q", a.status, a.location())
	}
	if a.location() != "" && !slices.ContainsFunc(d.nodes, func(o *node) bool {
		return o != nd && strings.HasPrefix(a.location(), o.url+hookPath+"/")
	}) {
		d.t.Fatalf("%s redirects to %q, which is itself or nobody configured", nd.id, a.location())
	}
	return a
}

// handedSince returns what the dispatchers got since the last look, and checks that each
// of them was allowed to act.
func (d *doorRun) handedSince() []ownership.HandOver {
	var all []ownership.HandOver
	for _, nd := range d.nodes {
		got := nd.handed()[d.seen[nd.id]:]
		d.seen[nd.id] += len(got)
		for _, ho := range got {
			if !nd.Holds(ho.Call, ho.Partition, ho.Epoch) {
				d.t.Fatalf("I5: the bot of %s got a notification of partition %d at epoch %d, which it does not hold", nd.id, ho.Partition, ho.Epoch)
			}
			if p, known := d.placed[ho.Call]; known && p != ho.Partition {
				d.t.Fatalf("I1: call %s was placed in partition %d and handed over in %d", ho.Call, p, ho.Partition)
			}
			if ho.Header != nil && http.Header(ho.Header).Get("Authorization") != "" {
				d.t.Fatal("I10: the bot got the token")
			}
		}
		all = append(all, got...)
	}
	return all
}

// first sends the first notification of a call, and follows it as the cloud does.
func (d *doorRun) first() {
	id := d.anyCall()
	nd, target := d.anyNode(), hookPath
	for hop := 0; ; hop++ {
		a := d.send(nd, target, incoming(string(id)), d.token)
		got := d.handedSince()
		switch {
		case a.status == 302 && hop == 1:
			d.t.Fatalf("I6: a second redirect, to %s", a.location())
		case a.status == 302 && len(got) > 0:
			d.t.Fatal("I4: handed over and redirected")
		case a.status == 302:
			to := a.location()
			for _, o := range d.nodes {
				if rest, ok := strings.CutPrefix(to, o.url); ok {
					nd, target = o, rest
				}
			}
			continue
		case a.status == 202 && len(got) > 1:
			d.t.Fatalf("I4: handed over %d times", len(got))
		case a.status == 202 && len(got) == 1:
			if _, known := d.placed[id]; !known {
				d.placed[id] = got[0].Partition
			}
		case a.status == 503 && len(got) > 0:
			d.t.Fatal("I4: handed over, and the cloud is asked to repeat it")
		}
		return
	}
}

// followUp sends to a callback URI of the call's partition, of the present epoch
// or of another one.
func (d *doorRun) followUp() {
	id := d.anyCall()
	p, placed := d.placed[id]
	if !placed {
		return
	}
	o, _ := d.nodes[0].Owner(p)
	epoch := o.Epoch + ownership.Epoch(rapid.IntRange(0, 1).Draw(d.t, "ahead"))
	if rapid.Bool().Draw(d.t, "stale") && o.Epoch > 1 {
		epoch = o.Epoch - 1
	}
	nd := d.anyNode()
	a := d.send(nd, strings.TrimPrefix(nd.uri(p, epoch, string(id)), nd.url), d.anyBody(id), d.token)
	got := d.handedSince()
	switch {
	case epoch > o.Epoch && (a.status != 503 || len(got) > 0):
		d.t.Fatalf("B91: an epoch from the future was answered with %d, handed over %d times", a.status, len(got))
	case len(got) > 1:
		d.t.Fatalf("I4: handed over %d times", len(got))
	case len(got) == 1 && a.status != 202:
		d.t.Fatalf("I4: handed over, and answered with %d", a.status)
	}
}

// bad sends what must be refused without any effect.
func (d *doorRun) bad() {
	id := d.anyCall()
	nd := d.anyNode()
	before := len(d.r.claimed())
	good := strings.TrimPrefix(nd.uri(1, 1, string(id)), nd.url)
	cases := map[string]func() (answered, int){
		"no token":           func() (answered, int) { return d.send(nd, hookPath, incoming(string(id)), ""), 401 },
		"a mangled token":    func() (answered, int) { return d.send(nd, hookPath, incoming(string(id)), d.token+"A"), 401 },
		"a forged handle":    func() (answered, int) { return d.send(nd, d.mangle(good), update(string(id)), d.token), 404 },
		"a duplicate name":   func() (answered, int) { return d.send(nd, hookPath, `{"value":[],"value":[]}`, d.token), 400 },
		"a truncated body":   func() (answered, int) { return d.send(nd, hookPath, incoming(string(id))[:40], d.token), 400 },
		"an unclean path":    func() (answered, int) { return d.send(nd, hookPath+"/./x", incoming(string(id)), d.token), 404 },
		"a path of nothing":  func() (answered, int) { return d.send(nd, "/metrics", "", d.token), 404 },
		"random junk":        func() (answered, int) { return d.send(nd, hookPath, d.junk(), d.token), 400 },
		"a token in the URL": func() (answered, int) { return d.send(nd, hookPath+"?access_token="+d.token, "{}", ""), 401 },
	}
	names := make([]string, 0, len(cases))
	for name := range cases {
		names = append(names, name)
	}
	slices.Sort(names)
	name := rapid.SampledFrom(names).Draw(d.t, "bad")
	a, want := cases[name]()
	if a.status != want {
		d.t.Fatalf("%s was answered with %d %s, want %d", name, a.status, a.body, want)
	}
	if got := d.handedSince(); len(got) > 0 || len(d.r.claimed()) != before {
		d.t.Fatalf("%s had an effect: %d hand-overs, %d claims", name, len(got), len(d.r.claimed())-before)
	}
}

// mangle changes one letter of what a handle says or of its signature.
func (d *doorRun) mangle(target string) string {
	from := len(hookPath) + len("/emea/")
	at := rapid.IntRange(from, len(target)-1).Draw(d.t, "at")
	b := []byte(target)
	if c := b[at]; c == '/' || c == '?' || c == '=' || c == 's' && b[at+1] == '=' {
		at = len(b) - 5
	}
	if b[at] == '9' {
		b[at] = '8'
	} else {
		b[at] = '9'
	}
	return string(b)
}

// junk is a text that is no JSON.
func (d *doorRun) junk() string { return "{" + rapid.StringN(0, 40, 200).Draw(d.t, "junk") }

// move gives a partition to another node, as a failover or a hand-over does.
func (d *doorRun) move() {
	p := ownership.PartitionID(rapid.IntRange(1, 3).Draw(d.t, "partition"))
	d.r.moves(p, rapid.SampledFrom(d.ids).Draw(d.t, "to"))
}
