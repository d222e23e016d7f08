package leader

import (
	"fmt"
	"testing"
	"time"

	"tandem/ownership"
)

// The audit log tells the same of one node once a minute, and what is remembered of it
// has a bound.
func TestD2_TheAuditLogIsNotFlooded(t *testing.T) {
	var l lately
	at := time.Unix(1e9, 0)
	if what := (audited{"b", "i", false}); !l.due(what, at) || l.due(what, at.Add(time.Second)) || !l.due(what, at.Add(auditEvery)) {
		t.Error("it is not told once a minute")
	}
	if !l.due(audited{"b", "i", true}, at) {
		t.Error("that it came in is not told")
	}
	for i := range 10 * maxAudited {
		l.due(audited{ownership.NodeID(fmt.Sprint(i)), "i", false}, at)
	}
	if len(l.told) > maxAudited {
		t.Errorf("%d are remembered", len(l.told))
	}
}
