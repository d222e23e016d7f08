package node

import (
	"errors"
	"testing"

	"tandem/ownership"
)

// TestF30_NoRecoveryWhileAnotherNodeRuns: a node that is stopped while the others
// go on is refused its recovery, over TLS too, until the others are stopped.
func TestF30_NoRecoveryWhileAnotherNodeRuns(t *testing.T) {
	long(t, "it takes 4 s")
	t.Parallel()
	s := deploy(t, plan{secure: true})
	x, others := s.seats[0], s.seats[1:]
	s.ready(s.seats...)
	x.stop()
	left, err := OpenSurvivor(x.config())
	must(t, err)
	defer func() { must(t, left.Close()) }()
	if left.Term == 0 || left.Index == 0 {
		t.Errorf("its last raft entry is %d of term %d", left.Index, left.Term)
	}
	for _, o := range others {
		err := left.Alone(t.Context())
		if !errors.Is(err, ownership.ErrConflict) {
			t.Fatalf("while %s runs: %v", o.name, err)
		}
		says(t, "F30", err.Error(), "node "+o.name+" answers at "+o.cluster, "two regions")
		o.stop()
	}
	must(t, left.Alone(t.Context()))
	must(t, left.Recover())
}
