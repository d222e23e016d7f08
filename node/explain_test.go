package node

import (
	"net/http"
	"strings"
	"testing"

	"tandem/admin/api"
	"tandem/ownership"
)

// explainAgrees asks a node's admin door what its public door would do, and
// then posts the same.
func explainAgrees(t *testing.T, s *stage) {
	one, two := s.seats[0], s.seats[1]
	door := one.api()
	explain := func(target, tenant, body string) api.Explanation {
		t.Helper()
		x, err := door.Explain(t.Context(), ownership.Supposed{
			Target: target, Body: []byte(body),
			Header: http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + s.token(tenant)}},
		})
		must(t, err)
		return x
	}
	id := newCall()
	body := sample(t, incoming, id)
	x := explain("", tenantOf(1), body)
	if len(x.Calls) != 1 || x.Calls[0].Known || x.Calls[0].Placement == nil || x.Calls[0].Placement.Owner != two.node.ID() {
		t.Fatalf("of a new call of %s it says %+v", two.name, x)
	}
	if got, err := door.Calls(t.Context(), ownership.CallFilter{}, "", 1000); err != nil || contains(got, id) {
		t.Errorf("explaining has claimed the call (%v)", err)
	}
	a := s.post(one.webhook(), s.token(tenantOf(1)), body)
	if a.status != x.Status || !strings.HasPrefix(a.location(), x.Location[:strings.LastIndex(x.Location, "/")]) {
		t.Errorf("explain says %d to %s, the door %d to %s", x.Status, x.Location, a.status, a.location())
	}
	h := s.owned(one, one, tenantOf(0))
	target := strings.TrimPrefix(h.CallbackURI, regionURL("emea"))
	if x := explain(target, tenantOf(0), sample(t, established, h.Call)); len(x.Calls) != 1 || !x.Calls[0].Known || x.Status >= 300 {
		t.Errorf("of a true callback URI it says %+v", x)
	}
	forged := strings.Replace(target, "?s=", "?s=A", 1)
	if x := explain(forged, tenantOf(0), sample(t, established, h.Call)); x.Status != http.StatusNotFound {
		t.Errorf("of a forged callback URI it says %+v", x)
	}
	if x := explain("", tenantOf(0), "{"); x.Status != http.StatusBadRequest {
		t.Errorf("of a body cut short it says %+v", x)
	}
}

func contains[T ~string](page api.CallPage, id T) bool {
	for _, c := range page.Items {
		if string(c.ID) == string(id) {
			return true
		}
	}
	return false
}
