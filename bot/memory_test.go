package bot

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

// restart closes a stand's desk and gives one that begins with its memory,
// through JSON as the node keeps it.
func restart(t *testing.T, s *stand) *stand {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s.Memory())
	if err != nil {
		t.Fatal(err)
	}
	var m Memory
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	next := newStand(t, AnswerByBot, nil)
	next.Recall(m)
	return next
}

// TestI4_ARepeatFindsItsReplyAcrossARestart: what the desk before handled is not
// handed over again; what it did not is.
func TestI4_ARepeatFindsItsReplyAcrossARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.bot.script = func(_ context.Context, _ int, h ownership.HandOver) (ownership.Reply, error) {
			if h.MessageID == "m3" {
				return ownership.Reply{Status: 503}, nil
			}
			return ownership.Reply{Status: 200, Header: map[string][]string{"X-Bot": {h.MessageID}}, Body: []byte(h.MessageID)}, nil
		}
		for _, h := range []ownership.HandOver{incoming("m1"), update("m2"), update("m3")} {
			take(t, s, h)
		}
		s = restart(t, s)
		for _, h := range []ownership.HandOver{incoming("m1"), update("m2")} {
			if r := take(t, s, h); string(r.Body) != h.MessageID || r.Header["X-Bot"][0] != h.MessageID {
				t.Errorf("the repeat of %s got %d %q", h.MessageID, r.Status, r.Body)
			}
		}
		if r := take(t, s, incoming("m1-from-another-data-centre")); r.Status != 202 {
			t.Errorf("the same first notification from elsewhere got %d", r.Status)
		}
		take(t, s, update("m3"))
		take(t, s, update("m4"))
		if got := s.bot.words(); !slices.Equal(got, []string{"update m3", "update m4"}) {
			t.Errorf("the bot was handed %v", got)
		}
	})
}

// TestRecallLeavesTheRestToDo: a call that nobody answered, an event of
// Tandem's own and what is too old for a repeat are not remembered.
func TestRecallLeavesTheRestToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		take(t, s, incoming("m1")) // the bot has it, nobody has answered
		s = restart(t, s)
		take(t, s, incoming("m1"))
		if got := s.bot.words(); !slices.Equal(got, []string{"incoming m1"}) {
			t.Errorf("of a call that still rings the bot was handed %v", got)
		}
		take(t, s, update("m2"))
		c := ownership.Call{ID: incoming("").Call, App: appID, Partition: 7, Epoch: 3, State: ownership.CallAnswered}
		s.look(3, c)
		synctest.Wait()
		s = restart(t, s)
		s.look(3, c)
		synctest.Wait()
		if got := s.bot.words(); !slices.Equal(got, []string{"adopted tandem-adopted-3"}) {
			t.Errorf("after the restart the bot was told %v", got)
		}
		m := s.Memory()
		time.Sleep(rememberFor + time.Second)
		next := newStand(t, AnswerByBot, nil)
		next.Recall(m)
		take(t, next, update("m2"))
		if got := next.bot.words(); !slices.Equal(got, []string{"update m2"}) {
			t.Errorf("what is too old for a repeat: the bot was handed %v", got)
		}
	})
}

func take(t *testing.T, s *stand, h ownership.HandOver) ownership.Reply {
	t.Helper()
	hand := s.Update
	if h.Event == ownership.EventIncoming {
		hand = s.Incoming
	}
	r, err := hand(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
