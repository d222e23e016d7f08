package cluster

import (
	"context"
	"errors"
	"fmt"

	"tandem/ownership"
)

// Ended makes the region know that calls of an app have ended which it did not know
// before: a claim of one may be under way, and must ring nowhere when it is carried
// out after all. After nil Find knows each here: as ended, or as what a claim that
// was quicker has made of it. A region of an older command format keeps no such mark.
func (c *proposals) Ended(ctx context.Context, app ownership.AppID, calls ...ownership.CallID) error {
	if c.tb.Format() < ownership.FormatReservations || len(calls) == 0 {
		return nil
	}
	const doing = "noting the end of calls that nobody has claimed"
	batch := ownership.Records{Acts: make([]ownership.Act, len(calls))}
	for i, id := range calls {
		batch.Acts[i] = ownership.Release{Call: id, App: app, Told: true, Why: whyEarly}
	}
	out, err := c.Do(ctx, batch)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	for _, err := range out.Errors {
		if err != nil && !errors.Is(err, ownership.ErrConflict) { // that one was claimed meanwhile
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	if err := c.waitApplied(ctx, out.Index); err != nil {
		return fmt.Errorf("%s: %w: %w", doing, ownership.ErrNoLeader, err)
	}
	return nil
}

const whyEarly = "the cloud ended it before anybody had claimed it"
