package admin

import (
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// TestD4_AnOverdueCallLeavesItsRoom: a call that nobody answered while it rang is
// live, and yet a region tells the others that its place is free.
func TestD4_AnOverdueCallLeavesItsRoom(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	read := func() (live, room int) {
		st, err := r.client(api.RoleRead).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Live, st.Room
	}
	live, room := read()
	claimed := func(id ownership.CallID, deadline time.Time) {
		r.fake.add(ownership.Call{ID: id, App: "app-1", Partition: 1, State: ownership.CallClaimed, Deadline: deadline})
	}
	claimed("late", start.Add(-time.Hour))
	claimed("rings", start.Add(time.Hour))
	if nowLive, nowRoom := read(); nowLive != live+2 || nowRoom != room-1 {
		t.Errorf("one call more rings and one is overdue: %d live and room for %d, before %d and %d", nowLive, nowRoom, live, room)
	}
}
