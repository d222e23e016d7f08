package bot

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

// A planned move waits for the hand-over and the answer that were under way when
// this node stopped acting.
func TestRestWaitsForWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByRouter, nil)
		slow := func() { time.Sleep(3 * time.Second) }
		s.graph.answer = func(int) error {
			slow()
			return nil
		}
		s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
			slow()
			return ownership.Reply{Status: 202}, nil
		}
		if err := s.Quiesce(t.Context(), 7); err != nil {
			t.Fatalf("nothing is under way: %v", err)
		}
		begun := time.Now()
		if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Quiesce(short, 7); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while Graph is spoken to: %v", err)
		}
		if err := s.Quiesce(t.Context(), 8); err != nil {
			t.Errorf("another partition: %v", err)
		}
		s.ledger.hold(0) // stopped acting: the bot is not told any more
		if err := s.Quiesce(t.Context(), 7); err != nil || time.Since(begun) < 3*time.Second {
			t.Errorf("%v after %s, want the end of the answer", err, time.Since(begun))
		}
		if n := len(s.bot.handed()); n != 0 {
			t.Errorf("%d hand-overs after this node had stopped acting", n)
		}
		s.ledger.hold(3)
	})
}

// A hand-over counts too, though nothing goes to Graph.
func TestRestWaitsForAHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
			time.Sleep(3 * time.Second)
			return ownership.Reply{Status: 202}, nil
		}
		begun := time.Now()
		done := make(chan error, 1)
		go func() {
			_, err := s.Update(t.Context(), update("m1"))
			done <- err
		}()
		synctest.Wait()
		s.ledger.hold(0) // stopped acting while the bot has it
		if err := s.Quiesce(t.Context(), 7); err != nil || time.Since(begun) < 3*time.Second {
			t.Errorf("%v after %s, want the end of the hand-over", err, time.Since(begun))
		}
		if err := <-done; err != nil {
			t.Errorf("what began under the lease: %v", err)
		}
	})
}
