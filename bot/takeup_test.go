package bot

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

// TestAnOrphanIsTakenUpBeforeAnythingElse: the bot takes an orphan while the region has
// no leader. Were the call's next notification handed over now, the node that it was lost
// with could come back, get it again, and act at an older epoch.
func TestAnOrphanIsTakenUpBeforeAnythingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		begun := time.Now()
		s.ledger.do = func(int, ownership.Act) error {
			if time.Since(begun) < 3*time.Second {
				return ownership.ErrNoLeader
			}
			return nil
		}
		s.look(3, ownership.Call{ID: "c1", App: appID, Partition: 7, Epoch: 3, State: ownership.CallOrphaned, Pinned: true})
		reply := make(chan error, 1)
		go func() {
			_, err := s.Update(t.Context(), update("m1"))
			reply <- err
		}()
		time.Sleep(2 * time.Second)
		if got, want := s.bot.words(), []string{"rejoin tandem-rejoin-3"}; !slices.Equal(got, want) {
			t.Errorf("before the table knows that the bot has it: it was handed %q, want %q", got, want)
		}
		if err := <-reply; err != nil {
			t.Errorf("the update ended with %v", err)
		}
		if got := s.ledger.records(); len(got) == 0 || got[0] != "take-up 3" {
			t.Errorf("the table was told %q", got)
		}
		if got, want := s.bot.words(), []string{"rejoin tandem-rejoin-3", "update m1"}; !slices.Equal(got, want) {
			t.Errorf("once it knows: it was handed %q, want %q", got, want)
		}
	})
}

// TestNothingIsHandedOverOfAnOrphanThatTheBotHasNotTaken: the bot does not answer
// whether it takes the call. The cloud repeats what comes meanwhile.
func TestNothingIsHandedOverOfAnOrphanThatTheBotHasNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, func(c *Config) { c.TellFor = time.Second })
		sick := true
		s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
			if sick {
				return ownership.Reply{Status: 503}, nil
			}
			return ownership.Reply{Status: 200}, nil
		}
		s.look(3, ownership.Call{ID: "c1", App: appID, Partition: 7, Epoch: 3, State: ownership.CallOrphaned, Pinned: true})
		time.Sleep(2 * time.Second)
		if _, err := s.Update(t.Context(), update("m1")); !errors.Is(err, ownership.ErrFenced) {
			t.Errorf("an update of it ended with %v, want that it is fenced", err)
		}
	})
}

// TestAnOrphanThatIsAnothersAgainIsLeftAlone: the node that it was lost with has it again,
// and this node's table lags behind. Its fence holds, but the table's refusal tells.
func TestAnOrphanThatIsAnothersAgainIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.ledger.do = func(int, ownership.Act) error { return ownership.ErrStaleEpoch }
		s.look(3, ownership.Call{ID: "c1", App: appID, Partition: 7, Epoch: 3, State: ownership.CallOrphaned, Pinned: true})
		synctest.Wait()
		if _, err := s.Update(t.Context(), update("m1")); !errors.Is(err, ownership.ErrFenced) {
			t.Errorf("an update of it ended with %v, want that it is fenced", err)
		}
		if got, want := s.bot.words(), []string{"rejoin tandem-rejoin-3"}; !slices.Equal(got, want) {
			t.Errorf("the bot was handed %q, want %q", got, want)
		}
	})
}
