package leader

import (
	"testing"
)

func TestVoting(t *testing.T) {
	for _, tc := range []struct{ voters, dead, ready, promote, demote int }{
		{1, 0, 1, 1, 0},
		{3, 0, 0, 0, 0},
		{3, 1, 0, 0, 0}, // two would both be needed
		{3, 1, 1, 1, 0}, // promote first
		{4, 1, 0, 0, 1}, // then demote
		{4, 1, 1, 1, 0},
		{5, 0, 1, 0, 0},
		{5, 1, 0, 0, 0},
		{5, 1, 1, 1, 0},
		{6, 1, 0, 0, 1},
		{6, 1, 3, 0, 1},
		{5, 2, 0, 0, 2},
		{4, 2, 0, 0, 0}, // nobody could decide it, and the leader's log would say it all the same
		{3, 2, 0, 0, 0},
		{3, 2, 1, 0, 0},
		{2, 1, 1, 0, 0},
	} {
		if p, d := voting(tc.voters, tc.dead, tc.ready); p != tc.promote || d != tc.demote {
			t.Errorf("%d voters, %d dead, %d ready: promote %d and demote %d, want %d and %d", tc.voters, tc.dead, tc.ready, p, d, tc.promote, tc.demote)
		}
	}
}
