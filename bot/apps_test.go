package bot

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

// One app's bot stands still and its queues are full: the other app's calls are
// served as ever.
func TestAppsShareNoBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick := &fakeBot{}
		s := newStand(t, AnswerByBot, func(c *Config) {
			c.TotalLimit = 100
			c.Apps = append(c.Apps, App{ID: "quick", Answer: AnswerByBot, Timeout: usualTimeout, Bot: quick})
		})
		s.bot.script = func(ctx context.Context, _ int, _ ownership.HandOver) (ownership.Reply, error) {
			<-ctx.Done()
			return ownership.Reply{}, ctx.Err()
		}
		busy := make(chan bool, 200)
		for i := range 200 {
			h := update("m")
			h.Call = ownership.CallID(fmt.Sprint("s", i))
			go func() {
				_, err := s.Update(t.Context(), h)
				busy <- errors.Is(err, ErrBusy)
			}()
		}
		synctest.Wait()
		if n := len(busy); n != 100 {
			t.Errorf("%d of 200 were refused, want those over the app's limit", n)
		}
		begun := time.Now()
		h := update("mine")
		h.App, h.Call = "quick", "q"
		if _, err := s.Update(t.Context(), h); err != nil || time.Since(begun) != 0 {
			t.Errorf("the other app's notification: %v after %v", err, time.Since(begun))
		}
		h.Call = "q2"
		s.look(3, ownership.Call{ID: "q2", App: "quick", Partition: 7, Epoch: 3, State: ownership.CallAnswered})
		synctest.Wait()
		if n := len(quick.handed()); n != 2 {
			t.Errorf("the other app's bot was handed %d, want the notification and the adoption", n)
		}
	})
}

// TestV2_AdoptionsRefuseNobody: a dead node leaves more calls than hand-overs may
// wait. Notifications of other calls are taken at once, and one of an adopted call
// brings that call's adoption forward.
func TestV2_AdoptionsRefuseNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, func(c *Config) { c.TotalLimit = 50 })
		s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
			time.Sleep(50 * time.Millisecond)
			return ownership.Reply{Status: 200}, nil
		}
		before := runtime.NumGoroutine()
		var calls []ownership.Call
		for i := range 5000 {
			c := orphanOf(ownership.CallAnswered, -time.Hour)
			c.ID = ownership.CallID(fmt.Sprint("adopted", i))
			calls = append(calls, c)
		}
		s.look(3, calls...)
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n > 2*tellAtOnce {
			t.Errorf("%d goroutines for 5000 adoptions", n)
		}
		begun := time.Now()
		for i := range 20 {
			h := update("m")
			h.Call = ownership.CallID(fmt.Sprint("other", i))
			take(t, s, h)
		}
		if took := time.Since(begun); took != 20*50*time.Millisecond {
			t.Errorf("20 notifications of other calls took %v", took)
		}
		begun = time.Now()
		h := update("m")
		h.Call = "adopted4999"
		take(t, s, h)
		if took := time.Since(begun); took != 100*time.Millisecond {
			t.Errorf("a notification of the last call to be adopted took %v, want its adoption and itself", took)
		}
		var words []string
		for _, h := range s.bot.handed() {
			if h.Call == "adopted4999" {
				words = append(words, string(h.Event))
			}
		}
		if !slices.Equal(words, []string{"adopted", "update"}) {
			t.Errorf("of that call the bot was told %q", words)
		}
		time.Sleep(time.Minute)
		if n := len(s.bot.handed()); n != 5021 {
			t.Errorf("%d hand-overs in all, want each call's adoption once", n)
		}
	})
}

// TestV14_AdoptionOfRingingCallsIsBounded: they are answered a bounded number at
// a time, those whose time is over first before the others.
func TestV14_AdoptionOfRingingCallsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByRouter, nil)
		under, most := 0, 0
		s.graph.answer = func(int) error {
			s.graph.mu.Lock()
			under++
			most = max(most, under)
			s.graph.mu.Unlock()
			time.Sleep(200 * time.Millisecond)
			s.graph.mu.Lock()
			under--
			s.graph.mu.Unlock()
			return nil
		}
		var calls []ownership.Call
		for i := range 1000 {
			c := orphanOf(ownership.CallClaimed, 14*time.Second-time.Duration(i)*time.Millisecond)
			c.ID = ownership.CallID(fmt.Sprintf("ringing%d", i))
			calls = append(calls, c)
		}
		begun := time.Now()
		s.look(3, calls...)
		time.Sleep(100 * time.Millisecond)
		if uri := s.graph.answered()[0].CallbackURI; uri != ourURIOf(calls[999]) && !slices.ContainsFunc(calls[1000-ringAtOnce:], func(c ownership.Call) bool { return ourURIOf(c) == uri }) {
			t.Errorf("%s is answered first", uri)
		}
		for len(s.graph.answered()) < 1000 && time.Since(begun) < 14*time.Second {
			time.Sleep(50 * time.Millisecond)
		}
		if n := len(s.graph.answered()); n != 1000 || most > ringAtOnce {
			t.Errorf("%d answered in %v, %d at once, allowed are %d", n, time.Since(begun), most, ringAtOnce)
		}
		time.Sleep(time.Minute)
		if n := len(s.bot.handed()); n != 1000 {
			t.Errorf("the bot was told of %d calls", n)
		}
	})
}
