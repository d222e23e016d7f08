package node

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/graphsim"
)

// TestOneFaultIsNoLineASecond: while everything that can be out of reach is (bot, keys, Graph's
// tokens, the other region, one node of this one), the log says each thing when it begins and
// then seldom, at every node, though calls go on coming.
func TestOneFaultIsNoLineASecond(t *testing.T) {
	long(t, "it takes half a minute")
	t.Parallel()
	blind := false // emea-2 cannot fetch the issuers' keys
	s := deploy(t, plan{regions: []string{"emea", "amer"}, children: true, sim: longCalls, shape: func(x *seat, c *Config) {
		if x.name == "emea-2" {
			const nobody = "http://127.0.0.1:1/none"
			c.Apps[0].Bot.URL, c.Apps[0].Bot.HealthURL = nobody, nobody
			c.Apps[0].Graph.TokenURL = nobody
			if blind {
				c.Auth.Profiles[0].OpenIDURL = nobody
			}
		}
	}})
	s.runAll(graphsim.Load{Rate: 20, MaxCalls: 20})
	s.seat("emea-2").kill()
	blind = true
	s.seat("emea-2").start()
	s.seat("emea-3").kill()
	for _, x := range s.of("amer") {
		x.kill()
	}
	// What is tested is that time: the retries of before are over, then lines count.
	time.Sleep(4 * time.Second)
	begin := len(s.log.all())
	const window = 12 * time.Second
	time.Sleep(window)
	lines := map[string][]string{}
	for line := range strings.Lines(s.log.all()[begin:]) {
		var l struct {
			Node, Level, Msg, URL, Peer, Call string
			Partition                         int
		}
		// Refused requests are told one by one, so many a second at most: see the room webhook.
		if err := json.Unmarshal([]byte(line), &l); err == nil && l.Level != "DEBUG" && l.Msg != "public request" {
			key := fmt.Sprint(l.Node, " ", l.Msg, " ", l.URL, l.Peer, l.Call, l.Partition)
			lines[key] = append(lines[key], line)
		}
	}
	if len(lines) == 0 {
		t.Error("nobody says anything any more")
	}
	for key, all := range lines {
		if len(all) > 3 {
			t.Errorf("%s: %d times in %s, as in %s", key, len(all), window, all[0])
		}
	}
}
