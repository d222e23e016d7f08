package graphsim

import (
	"strings"
	"testing"
	"time"
)

func TestTheBotJudgesWhatItIsTold(t *testing.T) {
	ended := func(s *stage) {
		first := s.send("incoming")
		s.hand("n1", 1, "incoming", "incoming")
		s.ok(first)
		s.call.end = s.send("terminated")
		s.hand("n1", 1, "update", "terminated")
		s.ok(s.call.end)
	}
	rung := func(s *stage) {
		first := s.send("incoming")
		s.hand("n1", 1, "incoming", "incoming").at = time.Now().Add(-time.Hour)
		s.ok(first)
		s.call.answeredAt = time.Now().Add(-time.Minute)
	}
	for _, tc := range []struct {
		name string
		play func(*stage)
		says string // empty: all is well
	}{
		{"adopted after its end", func(s *stage) { ended(s); s.hand("n2", 2, "adopted", "") }, "told adopted though the bot of n1 had handled its end"},
		{"adopted after its end, which died with its node", func(s *stage) {
			ended(s)
			s.cloud.NodeDied("n1")
			s.hand("n2", 2, "adopted", "")
		}, ""},
		{"adopted after an end that was refused", func(s *stage) {
			s.call.end = s.send("terminated")
			seen := &sighting{node: "n1", epoch: 1, partition: 7, event: "update", call: "c1", message: "terminated"}
			s.cloud.ledger.arrived(seen, []byte("body of terminated"))
			s.cloud.ledger.done(seen, 503)
			s.hand("n2", 2, "adopted", "")
		}, ""},
		{"rejoin of a call at the cloud", func(s *stage) { rung(s); s.hand("n2", 2, "rejoin", "") }, "told rejoin though its media are at the cloud"},
		{"rejoin of a pinned call", func(s *stage) { rung(s); s.call.app.Pinned = true; s.hand("n2", 2, "rejoin", "") }, ""},
		{"rung again when it was long answered", func(s *stage) {
			rung(s)
			s.cloud.NodeDied("n1")
			s.hand("n2", 2, "incoming", "incoming")
		}, "told incoming though it had been answered"},
		{"told late of a call that the router answered", func(s *stage) {
			first := s.send("incoming")
			s.ok(first)
			s.call.answeredAt = time.Now().Add(-time.Minute)
			s.hand("n1", 1, "incoming", "incoming")
		}, ""},
		{"an update after lost", func(s *stage) {
			rung(s)
			s.hand("n1", 1, "lost", "")
			s.send("tone")
			s.hand("n1", 1, "update", "tone")
		}, "told tone after it had been told `lost`"},
		{"lost, and back again", func(s *stage) {
			rung(s)
			s.hand("n2", 2, "adopted", "")
			s.hand("n1", 2, "lost", "")
			s.hand("n1", 3, "adopted", "")
			s.hand("n2", 3, "lost", "")
			s.send("tone")
			s.hand("n1", 3, "update", "tone")
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStage(t)
			tc.play(s)
			r := s.cloud.Report()
			text := strings.Join(r.Violations, "\n")
			if (r.WrongEvents > 0) != (tc.says != "") || !strings.Contains(text, tc.says) || r.Misrouted > 0 {
				t.Errorf("wrong events %d, misrouted %d; %s", r.WrongEvents, r.Misrouted, text)
			}
		})
	}
}

// What was past the fence when its process was stopped arrives right after, and
// at no other time.
func TestF13_OnItsWayDuringAPause(t *testing.T) {
	for _, tt := range []struct {
		woke string
		want int // misrouted
	}{{"n1", 0}, {"n2", 1}, {"", 1}} {
		s := newStage(t)
		s.ok(s.send("incoming"))
		s.hand("n1", 1, "incoming", "incoming")
		s.send("tone")
		s.hand("n2", 2, "adopted", "")
		if tt.woke != "" {
			s.cloud.NodeWoke(tt.woke)
		}
		s.hand("n1", 1, "update", "tone")
		if r := s.cloud.Report(); r.Misrouted != tt.want || r.OnTheirWay != 1-tt.want {
			t.Errorf("woke %q: misrouted %d, on their way %d", tt.woke, r.Misrouted, r.OnTheirWay)
		}
	}
}

// A caller who hangs up while it rings is not the router's fault, and its call is
// over at the cloud.
func TestCallersHangUp(t *testing.T) {
	rates := Kind()
	rates.HangUp = 1
	cloud, _ := startToy(t, "never answers", Config{Timings: quick(), Rates: &rates, Remember: true})
	r := drive(t, cloud, 20)
	if !r.OK() || r.HungUp != 20 {
		explain(t, r)
		t.Fatal("hung up calls were judged")
	}
	fates := cloud.Fates()
	if len(fates) != 20 {
		t.Fatalf("%d fates of 20 calls", len(fates))
	}
	for id, f := range fates {
		if !f.Told || f.OverAt.IsZero() || !f.AnsweredAt.IsZero() || !f.Claimed {
			t.Errorf("call %s: %+v", id, f)
		}
	}
}

// A bot whose reply came too late for its node is handed the message again: the
// node cannot know what the bot made of it, and the cloud has no 2xx.
func TestABotThatRepliesLateIsHandedAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		gaveUp, taken bool
		twice         int
	}{"the node gave up": {true, false, 0}, "it did not": {false, false, 1}, "the cloud had its 2xx": {true, true, 1}} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.cloud.ledger.past.gaveUp = func(node, call string) bool { return tt.gaveUp && node == "n1" && call == "c1" }
			s.ok(s.send("incoming"))
			s.hand("n1", 1, "incoming", "incoming")
			tone := s.send("tone")
			s.hand("n1", 1, "update", "tone")
			if tt.taken {
				s.ok(tone)
			}
			s.hand("n1", 1, "update", "tone")
			s.ok(tone)
			if r := s.cloud.Report(); r.HandledTwice != tt.twice || r.HandledAgain != 1-tt.twice {
				t.Errorf("twice %d, again %d; %s", r.HandledTwice, r.HandledAgain, strings.Join(r.Violations, "\n"))
			}
		})
	}
}

// A router that could not be told of a call's end tells its next owner's bot of the
// call, however late; of an end that it took it knows.
func TestACallWhoseEndNobodyTookIsAdoptedLate(t *testing.T) {
	for name, tt := range map[string]struct {
		taken bool
		event string
		want  int // misrouted
	}{
		"nobody took it": {false, "adopted", 0}, "it was taken": {true, "adopted", 1}, "a notification of nothing": {false, "update", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.ok(s.send("incoming"))
			s.call.end = s.send("terminated")
			if tt.taken {
				s.ok(s.call.end)
			} else {
				s.cloud.ledger.failed([]*notice{s.call.end}, "7 attempts", false)
			}
			s.call.over, s.call.overAt = true, time.Now().Add(-2*foldAfter)
			s.cloud.ledger.fold(time.Now().Add(-foldAfter), false)
			s.cloud.ledger.arrived(&sighting{node: "n2", epoch: 2, partition: 7, event: tt.event, call: "c1"}, nil)
			if r := s.cloud.Report(); r.Misrouted != tt.want {
				t.Errorf("misrouted %d; %s", r.Misrouted, strings.Join(r.Violations, "\n"))
			}
		})
	}
}

func TestFatesOutliveTheirCalls(t *testing.T) {
	s := newStage(t)
	s.ok(s.send("incoming"))
	s.call.over, s.call.overAt = true, time.Now().Add(-2*foldAfter)
	s.cloud.ledger.fold(time.Now().Add(-foldAfter), true)
	if f, ok := s.cloud.Fates()["c1"]; !ok || !f.Claimed || f.AnsweredAt.IsZero() {
		t.Errorf("remembered %v: %+v", ok, f)
	}
}
