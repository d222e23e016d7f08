package node

import (
	"net/http"
	"strings"
	"testing"

	"tandem/graphsim"
	"tandem/ownership"
)

// TestO15_O37_WhatNamesNoCallReachesTheOwner: on a call's callback URI, at any node.
func TestO15_O37_WhatNamesNoCallReachesTheOwner(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{shape: pinnedCalls})
	at, two := s.seats[0], s.seats[1]
	h := s.answered(at, two)
	uri, token := at.follow(h.CallbackURI), s.token(tenantOf(0))
	bare := sample(t, "shape-participantjoiningnotification.json", h.Call)
	if a := s.post(uri, token, bare); a.status != http.StatusAccepted {
		t.Errorf("a notice without an envelope: %d %s", a.status, a.body)
	}
	got := two.seen.of(h.Call)
	if last := got[len(got)-1]; string(last.Body) != bare || last.Event != ownership.EventUpdate {
		t.Errorf("the bot was handed %+v", last)
	}
	if a := s.post(at.webhook(), token, bare); a.status != http.StatusBadRequest {
		t.Errorf("on the plain path: %d %s", a.status, a.body)
	}
	mixed := strings.Replace(endOf(h.Call), `"value":[`, `"value":[{"changeType":"updated","resourceUrl":"/communications/onlineMeetings/m1"},`, 1)
	if a := s.post(uri, token, mixed); a.status != http.StatusAccepted {
		t.Errorf("the end beside something unknown: %d %s", a.status, a.body)
	}
	eventually(t, "the end in the table", func() error {
		k, _ := at.node.table.Known(h.Call)
		return not(k.State == ownership.CallEnded, "it is %s", k.State)
	})
}

// TestO19_Invites: whether later calls of a meeting ring on the webhook or on the
// callback URI of the first one is not published. Either way they are served; on
// the callback URI, beside that call.
func TestO19_Invites(t *testing.T) {
	for _, on := range []bool{true, false} {
		t.Run(map[bool]string{true: "on callback URIs", false: "on the webhook"}[on], func(t *testing.T) {
			t.Parallel()
			rates := graphsim.Kind()
			rates.Meeting = 1
			s := deploy(t, plan{rates: rates, sim: func(c *graphsim.Config) { c.Switches.InviteOnCallback = on }})
			r := s.run(graphsim.Load{Rate: 30, MaxCalls: 16})
			s.kept(r)
			if (r.Invited > 0) != on || r.GroupsSplit > 0 {
				t.Errorf("%d calls rang on a callback URI, %d meetings were split", r.Invited, r.GroupsSplit)
			}
		})
	}
}
