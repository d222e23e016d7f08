package graphsim

import (
	"strings"
	"testing"
	"time"
)

// stage lets a test play the cloud's and the bots' observations by hand.
type stage struct {
	t     *testing.T
	cloud *Cloud
	call  *call
}

func newStage(t *testing.T) *stage {
	t.Helper()
	cfg, err := Config{}.filled()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, cloud: &Cloud{cfg: cfg, ledger: newLedger(), places: &places{}}}
	s.call = &call{id: "c1", draft: draft{app: cfg.Apps[0]}, webhookPath: cfg.WebhookPath, clock: time.Minute, answered: make(chan struct{}), hangup: make(chan struct{}), gone: make(chan struct{})}
	s.call.firstPost = time.Now()
	s.call.answeredAt = s.call.firstPost.Add(time.Millisecond)
	s.cloud.ledger.begin(s.call)
	return s
}

func (s *stage) send(message string) *notice {
	n := &notice{call: s.call, what: message, first: message == "incoming"}
	s.cloud.ledger.enter(n, "body of "+message, message)
	s.cloud.ledger.posting([]*notice{n}, spot{node: "n1"})
	return n
}

func (s *stage) ok(n *notice) {
	s.cloud.ledger.accepted([]*notice{n}, "", time.Now())
}

func (s *stage) hand(node string, epoch uint64, event, message string) *sighting {
	seen := &sighting{node: node, epoch: epoch, partition: 7, event: event, call: "c1", message: message}
	s.cloud.ledger.arrived(seen, []byte("body of "+message))
	s.cloud.ledger.done(seen, 202)
	return seen
}

// joining sends a notification that wants the bot's response, and it passes through.
func (s *stage) joining() *notice {
	n := s.send("joining")
	n.wantBody = joinReply
	s.hand("n1", 1, "update", "joining")
	s.cloud.ledger.accepted([]*notice{n}, `{"@odata.type":"`+joinReply+`"}`, time.Now())
	return n
}

func TestJudging(t *testing.T) {
	incoming := func(s *stage) {
		n := s.send("incoming")
		s.hand("n1", 1, "incoming", "incoming")
		s.ok(n)
	}
	for _, tc := range []struct {
		name string
		play func(*stage)
		want func(Report) bool
		ok   bool
		says string
	}{
		{"one call, one notification", incoming, func(r Report) bool { return r.NotificationsHandled == 1 && r.CallsByNode["n1"] == 1 && r.Relays == 0 }, true, ""},
		{"adopted, then handled by the new owner", func(s *stage) {
			incoming(s)
			s.hand("n2", 2, "adopted", "")
			n := s.send("tone")
			s.hand("n2", 2, "update", "tone")
			s.ok(n)
		}, func(r Report) bool { return r.Adopted == 1 && r.Relays == 1 }, true, ""},
		{"adopted, then handled by the old owner", func(s *stage) {
			incoming(s)
			s.hand("n2", 2, "adopted", "")
			n := s.send("tone")
			s.hand("n1", 1, "update", "tone")
			s.ok(n)
		}, func(r Report) bool { return r.Misrouted == 1 }, false, "epoch 1 after epoch 2"},
		{"a past epoch is one mistake, whatever else it upsets", func(s *stage) {
			incoming(s)
			s.hand("n2", 2, "adopted", "")
			n := s.send("tone")
			s.hand("n2", 2, "update", "tone")
			s.ok(n)
			late := s.send("late")
			s.ok(late)
			last := s.send("last")
			s.hand("n2", 2, "update", "last")
			s.ok(last)
			s.hand("n1", 1, "update", "tone") // was on its way when n1 was stopped
			s.hand("n1", 1, "update", "late") // the same, and the only time
		}, func(r Report) bool {
			return r.Misrouted == 2 && r.OutOfOrder == 0 && r.HandledTwice == 0 && r.Lost == 0
		}, false, "epoch 1 after epoch 2"},
		{"the old owner died before its 2xx", func(s *stage) {
			incoming(s)
			n := s.send("tone")
			s.hand("n1", 1, "update", "tone")
			s.hand("n2", 2, "update", "tone")
			s.ok(n)
		}, func(r Report) bool { return r.HandledAgain == 1 && r.HandledTwice == 0 }, true, ""},
		{"handled again by a new owner after the 2xx", func(s *stage) {
			incoming(s)
			n := s.send("tone")
			s.hand("n1", 1, "update", "tone")
			s.ok(n)
			s.hand("n2", 2, "update", "tone")
		}, func(r Report) bool { return r.HandledTwice == 1 }, false, "handed over twice"},
		{"the new owner rings again", func(s *stage) {
			incoming(s)
			s.cloud.NodeDied("n1")
			s.hand("n2", 2, "incoming", "incoming")
		}, func(r Report) bool { return r.HandledAgain == 1 }, true, ""},
		{"the new owner rings again though nobody died", func(s *stage) {
			incoming(s)
			s.hand("n2", 2, "incoming", "incoming")
		}, func(r Report) bool { return r.HandledTwice == 1 }, false, "handed over twice"},
		{"the old owner died while it rang, the new one adopted", func(s *stage) {
			n := s.send("incoming")
			s.hand("n2", 2, "adopted", "")
			s.ok(n)
		}, func(r Report) bool { return r.Ignored == 1 && r.Lost == 0 }, true, ""},
		{"adopted, but the bot refused to hear it", func(s *stage) {
			n := s.send("incoming")
			seen := &sighting{node: "n2", epoch: 2, partition: 7, event: "adopted", call: "c1"}
			s.cloud.ledger.arrived(seen, nil)
			s.cloud.ledger.done(seen, 503)
			s.ok(n)
		}, func(r Report) bool { return r.Lost == 1 }, false, "never handed"},
		{"an adoption excuses no later notification", func(s *stage) {
			incoming(s)
			s.hand("n2", 2, "adopted", "")
			s.ok(s.send("tone"))
		}, func(r Report) bool { return r.Lost == 1 }, false, "never handed"},
		{"another partition", func(s *stage) {
			incoming(s)
			n := s.send("tone")
			seen := &sighting{node: "n1", epoch: 1, partition: 8, event: "update", call: "c1", message: "tone"}
			s.cloud.ledger.arrived(seen, []byte("body of tone"))
			s.cloud.ledger.done(seen, 202)
			s.ok(n)
		}, func(r Report) bool { return r.Misrouted == 1 }, false, "lives in 7"},
		{"something that was never sent", func(s *stage) {
			incoming(s)
			s.hand("n1", 1, "update", "invented")
		}, func(r Report) bool { return r.Misrouted == 1 }, false, "no such notification"},
		{"an update told as incoming", func(s *stage) {
			incoming(s)
			n := s.send("tone")
			s.hand("n1", 1, "incoming", "tone")
			s.ok(n)
		}, func(r Report) bool { return r.Misrouted == 1 }, false, "no such notification"},
		{"a call of nobody", func(s *stage) {
			incoming(s)
			seen := &sighting{node: "n1", event: "update", call: "c2", message: "x"}
			s.cloud.ledger.arrived(seen, nil)
		}, func(r Report) bool { return r.Misrouted == 1 }, false, "does not exist"},
		{"late ones of an ended call may be ignored", func(s *stage) {
			incoming(s)
			end := s.send("terminated")
			s.call.end = end
			late := s.send("late")
			s.hand("n1", 1, "update", "terminated")
			s.ok(end)
			s.ok(late)
		}, func(r Report) bool { return r.Ignored == 1 && r.Lost == 0 }, true, ""},
		{"but must be accepted", func(s *stage) {
			incoming(s)
			end := s.send("terminated")
			s.call.end = end
			s.hand("n1", 1, "update", "terminated")
			s.ok(end)
			s.cloud.ledger.failed([]*notice{s.send("late")}, "the response was 404", false)
		}, func(r Report) bool { return r.Lost == 1 }, false, "404"},
		{"a refusal by the bot is no handling", func(s *stage) {
			incoming(s)
			n := s.send("tone")
			n.botFails = true
			seen := &sighting{node: "n1", epoch: 1, partition: 7, event: "update", call: "c1", message: "tone"}
			if refuse, _ := s.cloud.ledger.arrived(seen, []byte("body of tone")); !refuse {
				s.t.Error("the bot was not told to refuse")
			}
			s.cloud.ledger.done(seen, 503)
			s.ok(n)
		}, func(r Report) bool { return r.Lost == 1 }, false, "never handed"},
		{"a call that was forgotten still counts", func(s *stage) {
			incoming(s)
			s.send("lost")
			s.cloud.ledger.failed(s.call.notices[1:], "the response was 404", false)
			s.call.overAt = time.Now().Add(-2 * foldAfter)
			s.cloud.ledger.fold(time.Now().Add(-foldAfter), true)
			if len(s.cloud.ledger.order)+len(s.cloud.ledger.calls)+len(s.cloud.ledger.notices) > 0 {
				s.t.Error("it was not forgotten")
			}
			s.cloud.Report() // a report changes nothing
		}, func(r Report) bool {
			return r.Calls == 1 && r.Answered == 1 && r.NotificationsHandled == 1 && r.Lost == 1 && r.CallsByNode["n1"] == 1
		}, false, "404"},
		{"the caller hung up before the bot was told", func(s *stage) {
			s.ok(s.send("incoming"))
			s.call.answeredAt, s.call.over = time.Time{}, true
		}, func(r Report) bool { return r.AnsweredLate == 1 && r.Ignored == 1 && r.Lost == 0 }, false, "not answered within"},
		{"a repeat without the bot's response, while the call ends", func(s *stage) {
			incoming(s)
			n := s.joining()
			s.call.end = s.send("terminated")
			s.hand("n1", 1, "update", "terminated")
			s.ok(s.call.end)
			s.ok(n)
		}, func(r Report) bool { return r.RepliesLost == 0 }, true, ""},
		{"a repeat without the bot's response, in the call", func(s *stage) {
			incoming(s)
			s.ok(s.joining())
		}, func(r Report) bool { return r.RepliesLost == 1 }, false, "did not pass through"},
		{"a call that was cut off is not judged", func(s *stage) {
			s.send("incoming")
			s.call.abandoned = true
		}, func(r Report) bool { return r.Abandoned == 1 && r.Lost == 0 && r.Calls == 0 }, false, ""},
		{"the answer names another partition", func(s *stage) {
			incoming(s)
			s.call.actions = []*action{{verb: "answer", part: 9, status: 202}}
		}, func(r Report) bool { return r.Misrouted == 1 }, false, "names partition 9"},
		{"the answer of another region is refused", func(s *stage) {
			incoming(s)
			s.call.callback = "https://bot/api/calls/emea/7/1/x"
			s.call.actions = []*action{{verb: "answer", part: 7, region: "emea", status: 202}, {verb: "answer", part: 9, region: "amer", status: 409}}
		}, func(r Report) bool { return r.Misrouted == 0 && r.Clashed == 1 }, true, ""},
		{"another partition of the same region answers too", func(s *stage) {
			incoming(s)
			s.call.callback = "https://bot/api/calls/emea/7/1/x"
			s.call.actions = []*action{{verb: "answer", part: 9, region: "emea", status: 409}}
		}, func(r Report) bool { return r.Misrouted == 1 && r.Clashed == 0 }, false, "names partition 9"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStage(t)
			tc.play(s)
			r := s.cloud.Report()
			if !tc.want(r) || r.OK() != tc.ok || !strings.Contains(strings.Join(r.Violations, "\n"), tc.says) {
				explain(t, r)
				t.Fatalf("judged otherwise; OK is %v", r.OK())
			}
		})
	}
}

func TestOneBugDoesNotHideTheOthers(t *testing.T) {
	var r Report
	for range 50 {
		r.violation("call %s: lost", "x")
	}
	for i := range 50 {
		r.violation("a %d", i)
		r.violation("b %d", i)
		r.violation("c %d", i)
		r.violation("d %d", i)
	}
	if len(r.Violations) != MaxViolations || !strings.HasPrefix(r.Violations[maxAlike], "a") {
		t.Fatalf("%d sentences: %q", len(r.Violations), r.Violations)
	}
}

func TestReadCallback(t *testing.T) {
	for _, tc := range []struct {
		uri    string
		region string
		part   uint64
		epoch  uint64
	}{
		{"https://emea.bot.contoso.com/api/calls/emea/12/3/abc?s=x", "emea", 12, 3},
		{"https://bot/base/api/calls/amer/1/1/r", "amer", 1, 1},
		{"https://bot/api/calls/amer/-1/1/r", "", 0, 0},
		{"https://bot/api/calls/amer/1/x/r", "", 0, 0},
		{"https://bot/api/calls", "", 0, 0},
		{"https://bot/other/amer/1/1/r", "", 0, 0},
		{"%zz", "", 0, 0},
	} {
		if region, part, epoch := readCallback(tc.uri, "/api/calls"); region != tc.region || part != tc.part || epoch != tc.epoch {
			t.Errorf("%s: read %q %d %d", tc.uri, region, part, epoch)
		}
	}
}
