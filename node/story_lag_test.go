package node

import (
	"net/http"
	"strings"
	"testing"

	"tandem/ownership"
)

// endOf is the end of a call that rang only.
func endOf(id ownership.CallID) string {
	return `{"@odata.type":"#microsoft.graph.commsNotifications","value":[{"@odata.type":"#microsoft.graph.commsNotification",` +
		`"changeType":"deleted","resourceUrl":"/communications/calls/` + string(id) + `","resourceData":` +
		`{"@odata.type":"#microsoft.graph.call","state":"terminated"}}]}`
}

// byTheBot leaves the answers to the bots of the cloud, which give none to calls
// that the cloud does not know.
func byTheBot(_ *seat, c *Config) {
	c.Apps[0].Answer, c.Apps[0].AnswerWith, c.Apps[0].Graph = "bot", nil, AppGraph{}
}

// TestAnEndAtANodeThatLagsIsNotSwallowed: a caller hangs up before the answer. The
// call was claimed while one node stood still; that node wakes up alone and gets the
// end. It knows no such call, and cannot know that there is none.
func TestAnEndAtANodeThatLagsIsNotSwallowed(t *testing.T) {
	long(t, "it takes 10 s")
	t.Parallel()
	s := deploy(t, plan{children: true, shape: byTheBot})
	token := s.token(testTenant)
	// What the leader sends to a process that stands still waits in its socket. Where that
	// is the word that the claim is committed, too, the node wakes up and knows the call.
	id, lead, lag, lags := ownership.CallID(""), (*seat)(nil), (*seat)(nil), false
	for attempts := 0; !lags; attempts++ {
		if attempts == 10 {
			t.Fatal("ten times the leader told of its commit before it stood still: this story shows nothing")
		}
		for _, x := range s.seats {
			eventually(t, "a lease of "+x.name, func() error { return not(x.status().Leased, "it has none") })
		}
		var others []*seat
		lead, others = s.leads(s.seats...)
		third := others[0]
		id, lag = newCall(), others[1]
		lag.pause()
		s.post(lead.webhook(), token, sample(t, incoming, id)) // redirected or handed over: claimed either way
		eventually(t, "the claim in the leader's table", func() error {
			k, err := lead.api().Call(t.Context(), string(id))
			if err != nil {
				return err
			}
			return not(k.State == ownership.CallClaimed, "it is %s", k.State)
		})
		lead.pause()
		third.pause()
		lag.resume()
		lags = s.refusesTheEnd(lag, id)
		lead.resume()
		third.resume()
	}
	eventually(t, "the repeated end is taken", func() error {
		a := s.postOnce(lag.webhook(), token, endOf(id))
		return not(a.status/100 == 2, "%d %s", a.status, a.body)
	})
	eventually(t, "the end in the table", func() error {
		k, err := lead.api().Call(t.Context(), string(id))
		if err != nil {
			return err
		}
		return not(k.State == ownership.CallEnded, "it is %s", k.State)
	})
	if a := s.post(lag.webhook(), token, endOf(newCall())); a.status != http.StatusAccepted {
		t.Errorf("the end of a call that nobody knows: %d %s", a.status, a.body)
	}
}

// refusesTheEnd posts the end of a call to a node until that knows that it is alone. All
// along it has to be refused; false: the node knows the call.
func (s *stage) refusesTheEnd(lag *seat, id ownership.CallID) bool {
	t, refusals, knows := s.t, 0, false
	eventually(t, "a node that knows that it is alone", func() error {
		a := s.postOnce(lag.webhook(), s.token(testTenant), endOf(id))
		if _, err := lag.api().Call(t.Context(), string(id)); err == nil {
			knows = true
			return nil
		}
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Fatalf("the end of a call that it cannot know is answered with %d %s", a.status, a.body)
		}
		refusals++
		c := lag.status().Cluster
		return not(refusals > 2 && c.Leader == "" && strings.Contains(a.body, `"not_caught_up"`), "leader %q, %s", c.Leader, a.body)
	})
	return !knows
}
