package region

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestACallsNumberIsInItsID(t *testing.T) {
	for _, n := range []uint64{0, 1, 1 << 20, most - 1} {
		if got, err := numberOf(string(call(n))); err != nil || got != n {
			t.Errorf("call %d is %s, which reads as %d (%v)", n, call(n), got, err)
		}
	}
	if _, err := numberOf("1234"); err == nil {
		t.Error("1234 is taken for the id of a call")
	}
}

func TestWhatTheCloudTellsIsOfOneCall(t *testing.T) {
	for _, what := range [][]string{first, established, terminated} {
		if len(what) < 2 {
			t.Fatalf("the id of the call is nowhere in %q", what)
		}
	}
	if text := strings.Join(terminated, anID); !strings.Contains(text, `"terminated"`) || !strings.Contains(text, `"deleted"`) {
		t.Errorf("this tells of no end: %s", text)
	}
}

func TestTheWorstPause(t *testing.T) {
	if got := worst("[12 4500 0 7]"); got != 4500 {
		t.Errorf("the worst pause is %v, not 4.5µs", got)
	}
}

func TestATallyEndsWhenItIsTold(t *testing.T) {
	synctest.Test(t, tallyEnds)
}

func tallyEnds(t *testing.T) {
	tally := NewTally()
	due := time.Now()
	tally.Hear(due.Add(-time.Second), nil)
	tally.Hear(due, &Refusal{Status: http.StatusServiceUnavailable})
	tally.Hear(due, errors.New("no answer"))
	said := tally.Say()
	time.Sleep(time.Minute) // of the bubble
	if said.Count != 1 || said.Later != 1 || said.Failed != 1 || said.Max < time.Second || said.Err == nil {
		t.Errorf("it tells %+v", said)
	}
	if again := tally.Say(); again.Gap != said.Gap {
		t.Errorf("its longest gap was %v, and is %v after it was told", said.Gap, again.Gap)
	}
}
