package cluster

import (
	"slices"
	"testing"

	"tandem/ownership"
)

func TestCompareTellsWhatWasGotAndLost(t *testing.T) {
	seen := told{owned: map[ownership.PartitionID]ownership.Partition{}, reserved: map[ownership.PartitionID]string{}}
	from := func(ownership.Partition) ownership.NodeID { return "b" }
	compare := func(all ...ownership.Partition) Change { return seen.compare(all, "a", from) }
	one, two := ownership.Partition{ID: 1, Owner: "a", Epoch: 1}, ownership.Partition{ID: 2, Owner: "a", Epoch: 5}
	if ch := compare(one, two); len(ch.Got) != 2 || len(ch.Lost) != 0 || ch.Got[1] != (ownership.Reassignment{Partition: 2, From: "b", To: "a", Epoch: 5}) {
		t.Errorf("first: %+v", ch)
	}
	if ch := compare(one, two); len(ch.Got)+len(ch.Lost)+len(ch.Look) != 0 {
		t.Errorf("unchanged: %+v", ch)
	}
	// 1 went to c; 2 went away and came back between two looks.
	one.Owner, one.Epoch, two.Epoch = "c", 2, 7
	ch := compare(one, two)
	if len(ch.Lost) != 1 || ch.Lost[0] != (ownership.Reassignment{Partition: 1, From: "a", To: "c", Epoch: 2}) {
		t.Errorf("lost: %+v", ch.Lost)
	}
	if len(ch.Got) != 1 || ch.Got[0].Epoch != 7 {
		t.Errorf("got: %+v", ch.Got)
	}
	two.Retired = true
	if ch := compare(one, two); len(ch.Lost) != 1 || ch.Lost[0] != (ownership.Reassignment{Partition: 2, From: "a", Epoch: 7}) {
		t.Errorf("of a retired partition it tells %+v", ch)
	}
}

// A former owner and the present one are told to look again whenever calls of
// theirs may have come to stand otherwise.
func TestCompareTellsWhereReservationsChanged(t *testing.T) {
	reserve := func(owner ownership.NodeID, rs ...ownership.Reservation) ownership.Partition {
		return ownership.Partition{ID: 1, Owner: owner, Epoch: 9, Reserved: rs}
	}
	mine := ownership.Reservation{Node: "a", Epoch: 1, Live: 3}
	other := ownership.Reservation{Node: "z", Epoch: 2, Live: 3}
	fewer := mine
	fewer.Live = 1
	lapsed := mine
	lapsed.Lapsed = []ownership.AppID{"app"}
	final := mine
	final.Final = true
	for _, tc := range []struct {
		name        string
		before, now ownership.Partition
		want        bool
	}{
		{"its own came", reserve("b"), reserve("b", mine), true},
		{"its own lapsed", reserve("b", mine), reserve("b", lapsed), true},
		{"its own was reclaimed", reserve("b", lapsed), reserve("b", mine), true},
		{"its own ended for good", reserve("b", mine), reserve("b", final), true},
		{"its own went", reserve("b", mine), reserve("b"), true},
		{"only its calls became fewer", reserve("b", mine), reserve("b", fewer), false},
		{"another's in another's partition", reserve("b"), reserve("b", other), false},
		{"another's in its own partition", reserve("a"), reserve("a", other), true},
		{"nothing", reserve("a", other), reserve("a", other), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			seen := told{owned: map[ownership.PartitionID]ownership.Partition{}, reserved: map[ownership.PartitionID]string{}}
			from := func(ownership.Partition) ownership.NodeID { return "b" }
			seen.compare([]ownership.Partition{tc.before}, "a", from)
			if ch := seen.compare([]ownership.Partition{tc.now}, "a", from); (len(ch.Look) == 1) != tc.want {
				t.Errorf("it says to look at %v, want so: %v", ch.Look, tc.want)
			}
		})
	}
	seen := told{owned: map[ownership.PartitionID]ownership.Partition{}, reserved: map[ownership.PartitionID]string{}}
	from := func(ownership.Partition) ownership.NodeID { return "" }
	if ch := seen.compare([]ownership.Partition{reserve("b", mine)}, "a", from); len(ch.Look) != 1 {
		t.Errorf("after a start it is told %+v, want to look at what is reserved for it", ch)
	}
	if ch := seen.compare([]ownership.Partition{reserve("a", other)}, "a", from); len(ch.Got) != 1 || len(ch.Look) != 0 {
		t.Errorf("of a partition that it got whole it is told %+v, want no second look", ch)
	}
}

// TestALateAnswerIsLookedAt: both nodes compare their dispatchers with the table when a
// former owner's answer, recorded late, has made an orphan of a call that rang.
func TestALateAnswerIsLookedAt(t *testing.T) {
	var o orphans
	o.note([]ownership.PartitionID{2, 3})
	o.note([]ownership.PartitionID{2})
	got := o.take(Change{Got: []ownership.Reassignment{{Partition: 3}}, Look: []ownership.PartitionID{5, 2}})
	if !slices.Equal(got, []ownership.PartitionID{2, 5}) {
		t.Errorf("to be looked at are %v", got)
	}
	if got = o.take(Change{}); len(got) != 0 {
		t.Errorf("and again %v", got)
	}
}
