package node

import (
	"net/http"
	"testing"
	"time"

	"tandem/graphsim"
	"tandem/ownership"
)

// appHosted makes a cloud and nodes of calls whose media are with the bots, which
// are processes of their own.
func appHosted() plan {
	return plan{
		children: true,
		sim: func(c *graphsim.Config) {
			longCalls(c)
			c.Timings.TalkMin, c.Timings.TalkMax = 25*time.Second, 28*time.Second
			c.Answering, c.Apps[0].Pinned = graphsim.AnswerByBot, true
		},
		shape: func(_ *seat, c *Config) {
			c.Apps[0].Hosting, c.Apps[0].Answer, c.Apps[0].AnswerWith = "app", "bot", nil
		},
	}
}

// TestO22_SilenceIsNotDeath: a node with answered app-hosted calls stands still for
// longer than its lease, or its router is killed and started again beside a bot
// that lives. Its calls stay its own, no other bot is told to rejoin them, and what
// the cloud says of them meanwhile is handled afterwards.
func TestO22_SilenceIsNotDeath(t *testing.T) {
	long(t, "it takes 40 s")
	for what, silence := range map[string]func(s *stage, x *seat){
		"it stands still": func(_ *stage, x *seat) {
			x.pause()
			time.Sleep(6 * time.Second) // what is tested is that time
			x.resume()
		},
		"its router is killed": func(s *stage, x *seat) {
			x.kill()
			eventually(t, "its partitions with others", func() error {
				for _, other := range s.seats {
					if other != x {
						n, err := other.api().Node(t.Context(), x.id())
						return not(err == nil && n.Partitions == 0, "%d, %v", n.Partitions, err)
					}
				}
				return nil
			})
			x.start()
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := deploy(t, appHosted())
			count := s.listen()
			_, rest := s.leads(s.seats...)
			victim, witness := rest[0], rest[1]
			s.runAll(graphsim.Load{Rate: 50, MaxCalls: 18})
			mine := 0
			eventually(t, "answered calls on "+victim.name, func() error {
				all := s.live(witness, "", ownership.CallAnswered) // first: a call may be answered between the two
				mine = s.live(witness, victim.id(), ownership.CallAnswered)
				return not(mine >= 3 && all == 18, "%d of %d", mine, all)
			})
			silence(s, victim)
			eventually(t, "the node well again", func() error {
				a := s.send(http.MethodGet, "http://"+victim.admin+"/readyz", "", nil)
				return not(a.status == http.StatusOK, "%d %s", a.status, a.body)
			})
			if n := s.live(witness, "", ownership.CallOrphaned); n != 0 {
				t.Errorf("%d of %d calls are orphans", n, mine)
			}
			if n := s.live(witness, victim.id(), ownership.CallAnswered); n != mine {
				t.Errorf("it acts for %d of its %d calls", n, mine)
			}
			s.kept(s.settled())
			for node, n := range count().rejoin {
				t.Errorf("the bot of %s was told %d times to rejoin", node, n)
			}
		})
	}
}
