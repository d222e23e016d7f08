package leader

import (
	"context"
	"errors"
	"testing"
	"time"

	"tandem/ownership"
)

func TestCountWantsAMajorityOfThisTerm(t *testing.T) {
	silent := vote{err: errors.New("unreachable")}
	for _, tc := range []struct {
		name  string
		votes []vote
		asked int
		need  int
		want  error // nil: sure
	}{
		{"alone", nil, 0, 0, nil},
		{"a majority of three", []vote{{term: 5}}, 2, 1, nil},
		{"one of three is silent", []vote{silent, {term: 4}}, 2, 1, nil},
		{"both others are silent", []vote{silent, silent}, 2, 1, ownership.ErrNoLeader},
		{"F13 another was elected meanwhile", []vote{{term: 6}, {term: 6}}, 2, 1, ownership.ErrNotLeader},
		{"two of five are enough with itself", []vote{silent, {term: 5}, silent, {term: 5}}, 4, 2, nil},
		{"one of five is not", []vote{silent, {term: 5}, silent, silent}, 4, 2, ownership.ErrNoLeader},
		{"nobody answers in time", nil, 2, 1, ownership.ErrNoLeader},
	} {
		t.Run(tc.name, func(t *testing.T) {
			votes := make(chan vote, len(tc.votes))
			for _, v := range tc.votes {
				votes <- v
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := count(ctx, votes, tc.asked, tc.need, 5); !errors.Is(err, tc.want) {
				t.Errorf("count gave %v, want %v", err, tc.want)
			}
		})
	}
}
