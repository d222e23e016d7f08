package record

import (
	"testing"

	"tandem/ownership"
)

func TestShiftsOwnersLooksAtTheKindOfActOnly(t *testing.T) {
	for _, tc := range []struct {
		act  ownership.Act
		want bool
	}{
		{ownership.Claims{Claims: []ownership.Claim{{Call: "c"}}}, false},
		{ownership.Answered{Call: "c"}, false},
		{ownership.Seen{}, false},
		{ownership.Release{Call: "c"}, false},
		{ownership.TakeUp{Call: "c"}, false},
		{ownership.Records{Acts: []ownership.Act{ownership.Seen{}}}, false},
		{ownership.Failover{Node: "n"}, true},
		{ownership.Move{Partition: 1}, true},
		{ownership.Lapse{Node: "n"}, true},
		{ownership.Reclaim{Node: "n"}, true},
		{ownership.Join{Node: ownership.Node{ID: "n"}}, true},
		{ownership.Depart{Node: "n"}, true},
		{ownership.Forget{}, true},
	} {
		b, err := EncodeAct(tc.act, CommandFormat)
		if err != nil {
			t.Fatal(err)
		}
		if got := ShiftsOwners(b); got != tc.want {
			t.Errorf("of %T it says %v", tc.act, got)
		}
	}
	if !ShiftsOwners(nil) || !ShiftsOwners([]byte{0xff}) {
		t.Error("what cannot be read must count as a change")
	}
}
