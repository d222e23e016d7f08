package node

import (
	"net/http"
	"os"
	"testing"
)

// TestAWipedFounderFoundsNoSecondRegion: the machine that founded the region is
// replaced by an empty one with its configuration of the first day, which names nobody,
// at another address. It leads nothing, takes no call, and says what it lacks.
func TestAWipedFounderFoundsNoSecondRegion(t *testing.T) {
	long(t, "a region loses its founder")
	t.Parallel()
	s := deploy(t, plan{shape: inProcess})
	first, second := s.seats[0], s.seats[1]
	first.stop()
	must(t, os.RemoveAll(s.path(first.name)))
	eventually(t, "a leader among the others", func() error {
		now := second.node.region.Status().Leader
		return not(now != "" && now != first.id(), "it is %q", now)
	})
	first.cluster = ""
	first.start()
	eventually(t, "it says why it is not in", func() error {
		return not(first.node.region.Status().Trouble != "", "it does not")
	})
	id, token := newCall(), s.token(testTenant)
	if a := s.postOnce(first.webhook(), token, sample(t, incoming, id)); a.status != http.StatusServiceUnavailable {
		t.Errorf("the empty founder answered a new call with %d %s", a.status, a.body)
	}
	if a := s.send(http.MethodGet, "http://"+first.admin+"/readyz", "", nil); a.status == http.StatusOK {
		t.Error("it calls itself ready")
	}
	s.deliver(second.webhook(), sample(t, incoming, id), "m1-"+string(id))
	if _, known := first.node.table.Known(id); known {
		t.Error("I1: the empty founder has a table of its own with the call")
	}
	if one := first.node.region.Status(); one.State == "leader" || one.Joined || one.Leased {
		t.Errorf("the empty founder is a %s, joined %v, leased %v", one.State, one.Joined, one.Leased)
	}
}
