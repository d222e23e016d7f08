package node

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/graphsim"
)

// TestF38_ADayWithoutKeys: the issuer's keys cannot be had for a day. The node
// bridges the day; then it says at /readyz that it is not well and why, and to the
// cloud that it should come again. When the keys are back, so is the node.
func TestF38_ADayWithoutKeys(t *testing.T) {
	t.Parallel()
	clock := newWind()
	s := deploy(t, plan{nodes: 1, shape: func(_ *seat, c *Config) { c.Now = clock.now }})
	x := s.seats[0]
	keys := func() error {
		a := s.send(http.MethodGet, "http://"+x.admin+"/readyz?verbose", "", nil)
		var r api.Readiness
		must(t, json.Unmarshal([]byte(a.body), &r))
		for _, c := range r.Checks {
			if c.Name == "tokens" && !c.OK {
				if r.Ready || a.status != http.StatusServiceUnavailable {
					t.Errorf("with %q the node is ready: %d", c.Error, a.status)
				}
				return errors.New(c.Error)
			}
		}
		return nil
	}
	// notify is a token of the hour and a notification that touches no state.
	notify := func(ahead time.Duration) int {
		token, err := s.cloud.Mint(graphsim.TokenOptions{Tenant: testTenant, Age: -ahead})
		must(t, err)
		return s.postOnce(x.webhook(), token, sample(t, "legacy-skype-incoming.json", newCall())).status
	}
	for _, e := range []graphsim.Endpoint{graphsim.EndpointOpenID, graphsim.EndpointKeys} {
		s.cloud.SetFault(e, graphsim.Fault{Status: http.StatusServiceUnavailable})
	}
	const day = 24 * time.Hour
	clock.forward(day - time.Minute)
	if status, err := notify(day-time.Minute), keys(); status != http.StatusNoContent || err != nil {
		t.Errorf("within the day a notification is answered %d, and the keys are: %v", status, err)
	}
	clock.forward(day + time.Minute)
	if err := keys(); err == nil || !strings.Contains(err.Error(), "older than 24 hours and its endpoint does not answer") {
		t.Errorf("after the day /readyz says of the keys: %v", err)
	}
	if status := notify(day + time.Minute); status != http.StatusServiceUnavailable {
		t.Errorf("after the day a notification is answered %d", status)
	}
	for _, e := range []graphsim.Endpoint{graphsim.EndpointOpenID, graphsim.EndpointKeys} {
		s.cloud.SetFault(e, graphsim.Fault{})
	}
	eventually(t, "a notification passes again", func() error {
		status := notify(day + time.Minute)
		return not(status == http.StatusNoContent, "%d", status)
	})
	must(t, keys())
}
