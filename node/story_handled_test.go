package node

import (
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"tandem/ownership"
)

// deliver posts a message with an id of its own, along redirects and again while
// the region has nobody to take it, as the cloud does.
func (s *stage) deliver(url, body, message string) (a answer) {
	s.t.Helper()
	eventually(s.t, "somebody who takes message "+message, func() error {
		for to := url; to != ""; to = a.location() {
			a = s.send(http.MethodPost, to, body, map[string]string{
				"Authorization": "Bearer " + s.token(testTenant), "X-Microsoft-Skype-Message-ID": message,
			})
		}
		return not(a.status/100 == 2, "%d %s", a.status, a.body)
	})
	return a
}

// handed counts how often bots were handed a message of a call.
func (s *stage) handed(call ownership.CallID, message string) (n int) {
	for _, x := range s.seats {
		for _, h := range x.seen.of(call) {
			if h.MessageID == message {
				n++
			}
		}
	}
	return n
}

// TestO26_RepeatsAfterEachPlannedChangeOfOwner: of the first notification and of a
// later one, at a node that never had the call. No bot is handed either twice.
func TestO26_RepeatsAfterEachPlannedChangeOfOwner(t *testing.T) {
	long(t, "it takes 20 s")
	t.Parallel()
	const rounds = 3
	s := deploy(t, plan{shape: func(x *seat, c *Config) {
		inProcess(x, c)
		c.Apps[0].Hosting = "service"
		c.Node.Drain = 10 * time.Second
		for _, o := range x.s.seats { // also the founder, when it comes back empty
			if o != x && o.cluster != "" && !slices.Contains(c.Cluster.Join, o.cluster) {
				c.Cluster.Join = append(c.Cluster.Join, o.cluster)
			}
		}
	}})
	changes := map[string]func(owner, to *seat, p ownership.PartitionID){
		"a move": func(owner, to *seat, p ownership.PartitionID) {
			must(t, owner.api().Move(t.Context(), p, to.id()))
		},
		"a drain": func(owner, to *seat, p ownership.PartitionID) {
			must(t, to.api().Drain(t.Context(), owner.id(), time.Now().Add(300*time.Millisecond)))
			eventually(t, "the call with another owner", func() error {
				now, _ := to.node.table.Partition(p)
				return not(now.Owner != owner.id(), "it is with %s", now.Owner)
			})
			must(t, to.api().Undrain(t.Context(), owner.id()))
		},
		"a leave": func(owner, to *seat, _ ownership.PartitionID) {
			must(t, owner.api().Leave(t.Context()))
			eventually(t, "the region without the node", func() error {
				now, _ := to.node.table.Node(owner.id())
				return not(now.State == ownership.NodeGone, "it is %s", now.State)
			})
			owner.stop()
			must(t, os.RemoveAll(s.path(owner.name)))
			owner.start()
			s.ready(owner)
		},
		"SIGTERM": func(owner, _ *seat, _ ownership.PartitionID) {
			owner.terminate(t.Context())
			owner.start()
			s.ready(owner)
		},
	}
	for what, change := range changes {
		for range rounds {
			id := newCall()
			first, later := sample(t, incoming, id), sample(t, established, id)
			s.deliver(s.seats[0].webhook(), first, "m1-"+string(id))
			var k ownership.Known
			eventually(t, "the call at each node", func() error {
				for _, x := range s.seats {
					got, ok := x.node.table.Known(id)
					if k = got; !ok {
						return not(false, "%s does not know it", x.name)
					}
				}
				return nil
			})
			owner := s.seat(string(k.Owner))
			var to, third *seat
			for _, x := range s.seats {
				switch {
				case x == owner:
				case to == nil:
					to = x
				default:
					third = x
				}
			}
			uri := owner.node.door.CallbackURI(k.Partition, k.Epoch, string(id))
			s.deliver(third.follow(uri), later, "m2-"+string(id))
			eventually(t, "the call as answered", func() error {
				now, _ := owner.node.table.Known(id)
				return not(now.State == ownership.CallAnswered, "it is %s", now.State)
			})
			change(owner, to, k.Partition)
			for _, x := range []*seat{to, third} {
				s.deliver(x.webhook(), first, "m1-"+string(id))
				s.deliver(x.webhook(), first, "m1-elsewhere-"+string(id))
				s.deliver(x.follow(uri), later, "m2-"+string(id))
			}
			for _, m := range []string{"m1-", "m2-"} {
				if n := s.handed(id, m+string(id)); n != 1 {
					t.Errorf("after %s bots were handed %s %d times", what, m, n)
				}
			}
			if n := s.handed(id, "m1-elsewhere-"+string(id)); n != 0 {
				t.Errorf("after %s an answered call rang again", what)
			}
		}
	}
}
