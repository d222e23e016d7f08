package webhook

import (
	"fmt"
	"strings"
	"testing"

	"tandem/ownership"
)

// TestD4_FewNewCallsABody: one body cannot take the places of a thousand calls; many
// notifications of calls that are known are what they were.
func TestD4_FewNewCallsABody(t *testing.T) {
	nd := oneNode(t, setup{})
	body := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"changeType":"created","resource":"/app/calls/%032x","resourceData":{"@odata.type":"#microsoft.graph.call","state":"incoming","id":"%032x"}}`, i, i))
		}
		return `{"@odata.type":"#microsoft.graph.commsNotifications","value":[` + strings.Join(all, ",") + `]}`
	}
	many := post(t, nd.url+hookPath, body(newCalls+1))
	if many.status != 413 || many.code(t) != "too_many_notifications" {
		t.Errorf("%d new calls in a body: %+v", newCalls+1, many)
	}
	nd.in.mu.Lock()
	claims := len(nd.in.claims)
	for i := range newCalls + 1 {
		id := ownership.CallID(fmt.Sprintf("%032x", i))
		nd.in.calls[id] = ownership.Known{App: ourApp, Partition: 1, Epoch: 1, State: ownership.CallAnswered}
	}
	nd.in.mu.Unlock()
	if claims != 0 {
		t.Errorf("%d of them were claimed", claims)
	}
	if a := post(t, nd.url+hookPath, body(newCalls+1)); a.status == 413 {
		t.Errorf("as many known ones: %+v", a)
	}
}
