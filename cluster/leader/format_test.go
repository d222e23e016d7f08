package leader

import (
	"testing"

	"tandem/ownership"
)

func TestCommonFormat(t *testing.T) {
	nodes := []ownership.Node{
		{ID: "a", Format: 3, State: ownership.NodeActive},
		{ID: "b", Format: 2, State: ownership.NodeDraining},
		{ID: "c", Format: 1, State: ownership.NodeGone},
	}
	for own, want := range map[uint32]uint32{1: 1, 2: 2, 3: 2, 4: 2} {
		if got := commonFormat(nodes, own); got != want {
			t.Errorf("a leader that reads %d gives %d, want %d", own, got, want)
		}
	}
}
