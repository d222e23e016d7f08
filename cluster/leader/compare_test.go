package leader

import (
	"testing"
	"time"

	"tandem/ownership"
)

func TestComparison(t *testing.T) {
	var k comparison
	now := time.Unix(100, 0)
	k.note("b", true, now, time.Second)
	since, differ, agree := k.note("c", false, now.Add(time.Second/2), time.Second)
	if differ != 1 || agree != 1 || !since.Equal(now.Add(time.Second/2)) {
		t.Errorf("since %v, %d differ and %d agree", since, differ, agree)
	}
	if since, differ, agree = k.note("c", false, now.Add(2*time.Second), time.Second); differ != 1 || agree != 0 || !since.Equal(now.Add(time.Second/2)) {
		t.Errorf("later: since %v, %d differ and %d agree", since, differ, agree)
	}
	if since, _, agree = k.note(ownership.NodeID("c"), true, now.Add(3*time.Second), time.Second); !since.IsZero() || agree != 1 {
		t.Error("a node that is the same again still differs")
	}
}
