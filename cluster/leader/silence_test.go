package leader

import (
	"slices"
	"testing"
	"time"

	"tandem/ownership"
)

func TestWaitedFor(t *testing.T) {
	patience := map[ownership.AppID]time.Duration{"quick": 0, "slow": time.Minute, ownership.AllApps: 30 * time.Second}
	l := &Leadership{Needs: Needs{Apps: []ownership.AppID{"slow", "quick"}, Silence: func(a ownership.AppID) time.Duration { return patience[a] }}}
	if got := l.impatient(); !slices.Equal(got, []ownership.AppID{"quick"}) {
		t.Errorf("those that wait for nobody are %v", got)
	}
	none := []reservation{{Reservation: ownership.Reservation{Node: "n", Epoch: 1}}}
	quick := []reservation{{Reservation: ownership.Reservation{Node: "n", Epoch: 1, Lapsed: []ownership.AppID{"quick"}}}}
	both := []reservation{{Reservation: ownership.Reservation{Node: "n", Epoch: 1, Lapsed: []ownership.AppID{"quick", "slow"}}}}
	all := []reservation{{Reservation: ownership.Reservation{Node: "n", Epoch: 1, Lapsed: []ownership.AppID{ownership.AllApps}}}}
	for _, tc := range []struct {
		name     string
		reserved []reservation
		silent   time.Duration
		apps     []ownership.AppID
		all      bool
	}{
		{"nothing reserved", nil, time.Hour, nil, false},
		{"before the lease is over", none, -time.Second, nil, false},
		{"at once", none, 0, []ownership.AppID{"quick"}, false},
		{"what has lapsed is not due again", quick, time.Second, nil, false},
		{"apps that are not known wait no longer, but the slow one does", quick, 59 * time.Second, nil, false},
		{"everybody's patience is over", quick, time.Minute, []ownership.AppID{"slow"}, true},
		{"that of apps that are not known is", both, time.Minute, nil, true},
		{"all have lapsed", all, time.Hour, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			apps, all := l.waitedFor(tc.reserved, tc.silent)
			if !slices.Equal(apps, tc.apps) || all != tc.all {
				t.Errorf("due are %v, all: %v; want %v, %v", apps, all, tc.apps, tc.all)
			}
		})
	}
}
