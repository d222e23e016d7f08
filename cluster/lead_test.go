package cluster

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"tandem/ownership"
)

// TestRaftHandsOnTheLeadToEachNodeOnceATerm: the second attempt for a follower that lags
// behind may never come back, and then whoever leads with that takes nothing more.
func TestRaftHandsOnTheLeadToEachNodeOnceATerm(t *testing.T) {
	servers := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d", Suffrage: raft.Nonvoter}}
	var h handedTo
	for _, tt := range []struct {
		term uint64
		to   ownership.NodeID
		want raft.ServerID
		err  error
	}{
		{1, "", "b", nil},
		{1, "", "c", nil},
		{1, "", "", ownership.ErrConflict},
		{1, "b", "", ownership.ErrConflict},
		{2, "c", "c", nil},
		{2, "c", "", ownership.ErrConflict},
		{2, "", "b", nil},
		{2, "d", "", ownership.ErrUnknown},
		{2, "x", "", ownership.ErrUnknown},
		{3, "c", "c", nil},
	} {
		got, err := h.choose(tt.term, "a", tt.to, servers)
		if !errors.Is(err, tt.err) || err == nil && got.ID != tt.want {
			t.Errorf("in term %d to %q: %q, %v; want %q, %v", tt.term, tt.to, got.ID, err, tt.want, tt.err)
		}
	}
}
