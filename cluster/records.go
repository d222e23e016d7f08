package cluster

import (
	"context"
	"errors"
	"fmt"

	"tandem/cluster/batch"
	"tandem/ownership"
)

// recorded is what became of one record of a batch.
type recorded struct {
	index uint64
	err   error // the table's own refusal
}

// maxRecords bounds the records that wait on a node for the leader: with more
// something is wrong, and whoever has another one tries again later.
const maxRecords = 1 << 14

// isRecord reports whether the act is one of those that owners report of their
// calls, which go to the log in batches: a busy region has thousands a second. An
// older region takes them one by one.
func (pr *proposals) isRecord(act ownership.Act) bool {
	if pr.tb.Format() < ownership.FormatReservations {
		return false
	}
	switch a := act.(type) {
	case ownership.Answered, ownership.TakeUp:
		return true
	case ownership.Release:
		return a.Epoch != 0 || a.Told // else an operator's: it goes by itself, in that one's name
	case ownership.Seen:
		return len(a.Calls) > 0 // without any it only marks a place in the log, see through
	}
	return false
}

// record applies one record with the others that are waiting.
func (pr *proposals) record(ctx context.Context, at ownership.NodeID, act ownership.Act) (*ownership.Outcome, error) {
	way := pr.forwardRecords
	if at == pr.self {
		way = pr.leadRecords
	}
	r, err := way.Do(ctx, act)
	if err != nil {
		return nil, err
	}
	return &ownership.Outcome{Index: r.index, Err: r.err}, nil
}

// write is the leader's end: one raft entry for the whole batch.
func (pr *proposals) write(acts []ownership.Act) []batch.Result[recorded] {
	ctx, cancel := context.WithTimeout(pr.ctx, pr.cfg.Timings.Decide)
	defer cancel()
	out, err := pr.proposeHere(ctx, ownership.Records{Acts: acts})
	return perRecord(acts, out, err)
}

// sendRecords is a follower's end.
func (pr *proposals) sendRecords(acts []ownership.Act) []batch.Result[recorded] {
	out, err := pr.forwardBatch(ownership.Records{Acts: acts})
	return perRecord(acts, out, err)
}

// perRecord gives each record its own part of a batch's outcome.
func perRecord(acts []ownership.Act, out *ownership.Outcome, err error) []batch.Result[recorded] {
	if err == nil && out.Err == nil && len(out.Errors) != len(acts) {
		err = fmt.Errorf("applying %d records: the table answered for %d", len(acts), len(out.Errors))
	}
	if err != nil {
		return batch.FailAll[recorded](len(acts), err)
	}
	res := make([]batch.Result[recorded], len(acts))
	for i := range res {
		res[i].Val = recorded{index: out.Index, err: out.Err}
		if out.Err == nil {
			res[i].Val.err = out.Errors[i]
		}
	}
	return res
}

// recordsFor is the leader's answer to another node's batch: each record goes into
// the leader's own combiner, so that batches of several nodes become one.
func (pr *proposals) recordsFor(ctx context.Context, acts []ownership.Act) (*ownership.Outcome, error) {
	out := &ownership.Outcome{Errors: make([]error, len(acts))}
	for i, w := range pr.leadRecords.All(acts) {
		select {
		case r := <-w:
			if r.Err != nil {
				return nil, r.Err
			}
			out.Errors[i] = r.Val.err
			out.Index = max(out.Index, r.Val.index)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return out, nil
}

// Ended makes the region know that calls have ended which it did not know
// before: a claim of one may be under way, and must ring nowhere when it is carried
// out after all. After nil Find knows each here: as ended, or as what a claim that
// was quicker has made of it. A region of an older command format keeps no such mark.
func (pr *proposals) Ended(ctx context.Context, calls ...ownership.Unclaimed) error {
	if pr.tb.Format() < ownership.FormatReservations || len(calls) == 0 {
		return nil
	}
	const doing = "noting the end of calls that nobody has claimed"
	batch := ownership.Records{Acts: make([]ownership.Act, len(calls))}
	for i, c := range calls {
		batch.Acts[i] = ownership.Release{Call: c.Call, App: c.App, Tenant: c.Tenant, Chain: c.Chain, Told: true, Why: whyEarly}
	}
	out, err := pr.Do(ctx, batch)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	for _, err := range out.Errors {
		if err != nil && !errors.Is(err, ownership.ErrConflict) { // that one was claimed meanwhile
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	if err := pr.waitApplied(ctx, out.Index); err != nil {
		return fmt.Errorf("%s: %w: %w", doing, ownership.ErrNoLeader, err)
	}
	return nil
}

const whyEarly = "the cloud ended it before anybody had claimed it"
