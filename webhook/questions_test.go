package webhook

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"tandem/ownership"
)

// asked counts what a door asks its table: questions that memory answers and claims,
// and apart from them the fence before the hand-over.
type asked struct {
	Table
	questions, fences atomic.Int32
}

func (a *asked) Find(c ownership.CallID) (ownership.Known, bool) {
	a.questions.Add(1)
	return a.Table.Find(c)
}

func (a *asked) Owner(p ownership.PartitionID) (ownership.Owner, bool) {
	a.questions.Add(1)
	return a.Table.Owner(p)
}

func (a *asked) OwnerOf(c ownership.CallID, p ownership.PartitionID) (ownership.Owner, bool) {
	a.questions.Add(1)
	return a.Table.OwnerOf(c, p)
}

func (a *asked) Fresh(ctx context.Context) error {
	a.questions.Add(1)
	return a.Table.Fresh(ctx)
}

func (a *asked) Claim(ctx context.Context, c ownership.Claim) (ownership.Placement, error) {
	a.questions.Add(1)
	return a.Table.Claim(ctx, c)
}

func (a *asked) Holds(c ownership.CallID, p ownership.PartitionID, e ownership.Epoch) bool {
	a.fences.Add(1)
	return a.Table.Holds(c, p, e)
}

// TestANewCallOfOurOwnAsksTheTableLittle: is it known, the claim, and once more before
// the hand-over whose it is and whether it has ended.
func TestANewCallOfOurOwnAsksTheTableLittle(t *testing.T) {
	nd := oneNode(t, setup{})
	counting := &asked{Table: nd.door.table}
	nd.door.table = counting
	if a := post(t, nd.url+hookPath, incoming("c1")); a.status != http.StatusAccepted {
		t.Fatalf("the call is answered with %d", a.status)
	}
	if q, f := counting.questions.Load(), counting.fences.Load(); q > 4 || f != 1 {
		t.Errorf("one new call asks the table %d times and stands before %d fences, want 4 at most and 1", q, f)
	}
}
