package node

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"tandem/ownership"
)

// sendSignal sends the process of the seat's node a signal.
func (x *seat) sendSignal(sig os.Signal) {
	x.s.t.Helper()
	must(x.s.t, x.child.cmd.Process.Signal(sig))
}

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
	lead, others := s.leads(s.seats...)
	third, lag := others[0], others[1]
	id, token := newCall(), s.token(testTenant)

	lag.sendSignal(syscall.SIGSTOP)
	s.post(lead.webhook(), token, sample(t, incoming, id)) // redirected or handed over: claimed either way
	eventually(t, "the claim in the leader's table", func() error {
		k, err := lead.api().Call(t.Context(), string(id))
		if err != nil {
			return err
		}
		return not(k.State == ownership.CallClaimed, "it is %s", k.State)
	})
	lead.sendSignal(syscall.SIGSTOP)
	third.sendSignal(syscall.SIGSTOP)
	lag.sendSignal(syscall.SIGCONT)
	refusals := 0
	eventually(t, "a node that knows that it is alone", func() error {
		if _, err := lag.api().Call(t.Context(), string(id)); err == nil {
			t.Fatal("it has heard of the claim: this story shows nothing")
		}
		a := s.postOnce(lag.webhook(), token, endOf(id))
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Fatalf("the end of a call that it cannot know is answered with %d %s", a.status, a.body)
		}
		refusals++
		c := lag.status().Cluster
		return not(refusals > 2 && c.Leader == "" && strings.Contains(a.body, `"not_caught_up"`), "leader %q, %s", c.Leader, a.body)
	})
	lead.sendSignal(syscall.SIGCONT)
	third.sendSignal(syscall.SIGCONT)
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
