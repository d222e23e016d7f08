package bot

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

// restart closes a stand's dispatcher and gives one that begins with its memory,
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

// TestI4_ARepeatFindsItsReplyAcrossARestart: what the dispatcher before handled is not
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

// TestLostIsToldOnceAcrossARestart: a bot that has let go of a call, or never had it, is not
// told after a restart of the node that it is lost.
func TestLostIsToldOnceAcrossARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		take(t, s, update("m1"))
		stands := func(id ownership.CallID, epoch ownership.Epoch, state ownership.CallState) ownership.Call {
			c := pinned("emea-2", epoch, state)
			c.ID, c.Pinned = id, false
			return c
		}
		s.see(0, stands("c1", 4, ownership.CallAnswered))
		time.Sleep(time.Minute)
		s.expect(t, "after the move", "lost")
		handled := handledMessage{at: at(time.Now()), status: 200}
		others, err := json.Marshal(CallMemory{Call: "c2", App: appID, Partition: 7, Epoch: 4, Answered: 4, Active: time.Now(), Keys: handled.pack(nil)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RecallOf(7, others); err != nil {
			t.Fatal(err)
		}
		s = restart(t, s)
		for _, id := range []ownership.CallID{"c1", "c2"} {
			if s.parts[7].queues[id] == nil {
				t.Fatalf("nothing is known of call %s after the restart", id)
			}
			s.see(0, stands(id, 4, ownership.CallEnded))
		}
		time.Sleep(time.Minute)
		s.expect(t, "after the restart")
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

// move shows the dispatcher of the next owner what the one before handed on, as a
// planned move does it, and that the call is its own at epoch 4.
func move(t *testing.T, s *stand, state ownership.CallState) *stand {
	t.Helper()
	s.ledger.hold(0)
	if err := s.Quiesce(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	memory := s.MemoryOf(7)
	next := newStand(t, AnswerByBot, nil)
	if err := next.RecallOf(7, memory); err != nil {
		t.Fatal(err)
	}
	next.ledger.hold(4)
	next.ledger.show("c1", "emea-1", 4, state)
	next.look(4, ownership.Call{ID: "c1", RawCall: "C-1", App: appID, Partition: 7, Epoch: 4, State: state})
	synctest.Wait()
	return next
}

// TestO26_ARepeatAfterAPlannedMoveIsNoSecondHandOver: of the first notification
// and of a later one, with and without a reply that says something.
func TestO26_ARepeatAfterAPlannedMoveIsNoSecondHandOver(t *testing.T) {
	for _, body := range []string{"", "said"} {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, AnswerByBot, nil)
			s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
				return ownership.Reply{Status: 204, Body: []byte(body)}, nil
			}
			for _, h := range []ownership.HandOver{incoming("m1"), update("m2"), update("")} {
				take(t, s, h)
			}
			s = move(t, s, ownership.CallAnswered)
			for _, h := range []ownership.HandOver{incoming("m1"), update("m2"), update("")} {
				h.Epoch = 4
				if r := take(t, s, h); r.Status != 204 || string(r.Body) != body {
					t.Errorf("the repeat of %q got %d %q, want 204 %q", h.MessageID, r.Status, r.Body, body)
				}
			}
			h := incoming("m1-from-another-data-centre")
			h.Epoch = 4
			if r := take(t, s, h); r.Status != 202 {
				t.Errorf("the same first notification from elsewhere got %d", r.Status)
			}
			h = update("m3")
			h.Epoch = 4
			take(t, s, h)
			if got := s.bot.words(); !slices.Equal(got, []string{"adopted tandem-adopted-4", "update m3"}) {
				t.Errorf("the bot of the next owner was handed %v", got)
			}
		})
	}
}

// A call that ended before the move stays ended after it.
func TestO26_AnEndGoesAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		take(t, s, update("m1"))
		take(t, s, ending("m2"))
		s = move(t, s, ownership.CallAnswered) // the table of the next owner lags
		s.ledger.show("c1", "emea-1", 4, ownership.CallEnded)
		h := update("late")
		h.Epoch = 4
		if r := take(t, s, h); r.Status != 202 {
			t.Errorf("a late notification got %d", r.Status)
		}
		synctest.Wait()
		if got := s.bot.words(); len(got) != 0 {
			t.Errorf("of a call that is over the bot was handed %v", got)
		}
		if got := s.ledger.records(); !slices.Equal(got, []string{"release 3 the cloud ended it"}) {
			t.Errorf("records %q, want the end again", got)
		}
	})
}

// TestO26_WhatTheTableHasAsAnsweredIsNeverRungAgain: also where no memory is left,
// after kill -9.
func TestO26_WhatTheTableHasAsAnsweredIsNeverRungAgain(t *testing.T) {
	for _, by := range []AnswerBy{AnswerByBot, AnswerByRouter} {
		for _, state := range []ownership.CallState{ownership.CallAnswered, ownership.CallOrphaned, ownership.CallEnded} {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, by, nil)
				s.ledger.show("c1", "emea-1", 3, state)
				if r, err := s.Incoming(t.Context(), incoming("m1")); err != nil || r.Status != 202 {
					t.Errorf("%s, %s: %+v, %v", by, state, r, err)
				}
				synctest.Wait()
				if n, told := len(s.graph.answered()), s.bot.words(); n != 0 || len(told) != 0 {
					t.Errorf("%s, %s: answered %d times, the bot was handed %v", by, state, n, told)
				}
			})
		}
	}
}

// A file that older software wrote is read.
func TestRecallReadsOlderFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC().Format(time.RFC3339)
		old := `{"calls":[{"call":"c1","raw_call":"C-1","app":"` + string(appID) + `","partition":7,"epoch":3,"active":"` + now + `","replies":[` +
			`{"key":"id:m1","at":"` + now + `","first":3,"reply":{"Status":202,"Header":null,"Body":""}},` +
			`{"key":"id:m2","at":"` + now + `","reply":{"Status":200,"Header":{"X-Bot":["yes"]},"Body":"aGk="}},` +
			`{"key":"body:44fd3f35f5bd56ddcd3cea4ae4b3cf7d4d4ea20bb25d0a7d5d1dcba2ae5dd0cd","at":"` + now + `","reply":{"Status":204,"Header":null,"Body":null}}]}]}`
		var m Memory
		if err := json.Unmarshal([]byte(old), &m); err != nil {
			t.Fatal(err)
		}
		s := newStand(t, AnswerByBot, nil)
		s.Recall(m)
		if r := take(t, s, incoming("m1")); r.Status != 202 {
			t.Errorf("m1 got %d", r.Status)
		}
		if r := take(t, s, update("m2")); string(r.Body) != "hi" || r.Header["X-Bot"][0] != "yes" {
			t.Errorf("m2 got %+v", r)
		}
		if n := len(s.bot.handed()); n != 0 {
			t.Errorf("the bot was handed %v", s.bot.words())
		}
	})
}

// The memory that goes along is bounded; the newest calls are in it.
func TestMemoryOfIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, nil)
		s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
			return ownership.Reply{Status: 200, Body: make([]byte, 100_000)}, nil
		}
		for i := range 100 {
			h := update("m")
			h.Call = ownership.CallID(fmt.Sprint("c", i))
			take(t, s, h)
			time.Sleep(time.Second)
		}
		memory := s.MemoryOf(7)
		if n := len(memory); n < memoryLimit/2 || n > memoryLimit {
			t.Errorf("%d bytes, allowed are %d", n, memoryLimit)
		}
		next := newStand(t, AnswerByBot, nil)
		if err := next.RecallOf(7, memory); err != nil {
			t.Fatal(err)
		}
		h := update("m")
		h.Call = "c99"
		take(t, next, h)
		if n := len(next.bot.handed()); n != 0 {
			t.Error("the newest call was left out")
		}
	})
}
