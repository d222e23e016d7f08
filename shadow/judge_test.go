package shadow

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tandem/graph"
)

var t0 = time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC)

// plain names calls by themselves, so that tests can tell them.
func plain(id string) string { return id }

// at is a moment, so many seconds after the first.
func at(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

// said is an exchange about one call: at a second, with a message id, answered by an
// instance with a status.
func said(second float64, call, message string, n graph.Notification, instance string, status int) Exchange {
	n.CallID = call
	return Exchange{
		Began: at(second), Over: at(second + 0.01), Status: status, Instance: instance, Reading: Notified,
		Message: graph.Message{Kind: graph.Graph, Notifications: []graph.Notification{n}}, Key: message,
	}
}

var (
	rings       = graph.Notification{Kind: graph.NewCall, State: graph.StateIncoming}
	records     = graph.Notification{Kind: graph.NewCall, State: graph.StateIncoming, Call: &graph.Call{PolicyIdentifier: "p", ObservedParticipant: "u", PairedRecorders: 1}}
	established = graph.Notification{Kind: graph.Update, State: graph.StateEstablished}
	roster      = graph.Notification{Kind: graph.Update, SubResource: "participants"}
	ends        = graph.Notification{Kind: graph.EndOfCall, State: graph.StateTerminated}
)

// TestOneCall tells the judge one call each, and what must be said of it long after.
func TestOneCall(t *testing.T) {
	for _, c := range []struct {
		name string
		told []Exchange
		want Counts
	}{
		{"nothing wrong", []Exchange{said(0, "c", "1", rings, "a", 202), said(1, "c", "2", established, "a", 202), said(9, "c", "3", ends, "a", 202)},
			Counts{Calls: 1, AnsweredInTime: 1}},
		{"one misrouted, whatever it was answered", []Exchange{said(0, "c", "1", rings, "a", 202), said(1, "c", "2", established, "b", 404), said(2, "c", "2", established, "a", 202)},
			Counts{Calls: 1, AnsweredInTime: 1, Misrouted: 1, MisroutedCalls: 1}},
		{"the bot answers before it says 202", []Exchange{said(1, "c", "2", established, "b", 202), said(0, "c", "1", rings, "a", 202)},
			Counts{Calls: 1, AnsweredInTime: 1, Misrouted: 1, MisroutedCalls: 1}},
		{"handled twice, once elsewhere", []Exchange{said(0, "c", "1", rings, "a", 202), said(1, "c", "2", established, "a", 202), said(2, "c", "2", established, "a", 202), said(3, "c", "2", established, "b", 202)},
			Counts{Calls: 1, AnsweredInTime: 1, HandledTwice: 2, HandledTwiceElsewhere: 1, Misrouted: 1, MisroutedCalls: 1}},
		{"two data centres ring", []Exchange{said(0, "c", "1", rings, "a", 202), said(0, "c", "2", rings, "b", 202), said(1, "c", "3", established, "a", 202)},
			Counts{Calls: 1, AnsweredInTime: 1, HandledTwice: 1, HandledTwiceElsewhere: 1}},
		{"a repeat after a failure is none too many", []Exchange{said(0, "c", "1", rings, "a", 503), said(1, "c", "1", rings, "b", 202), said(2, "c", "2", established, "b", 202)},
			Counts{Calls: 1, AnsweredInTime: 1}},
		{"late", []Exchange{said(0, "c", "1", rings, "a", 202), said(15.5, "c", "2", established, "a", 202)},
			Counts{Calls: 1, AnsweredLate: 1}},
		{"late for a recording", []Exchange{said(0, "c", "1", records, "a", 202), said(5.5, "c", "2", established, "a", 202)},
			Counts{Calls: 1, AnsweredLate: 1}},
		{"never answered", []Exchange{said(0, "c", "1", rings, "a", 202)}, Counts{Calls: 1, Unanswered: 1}},
		{"ended by the cloud after its clock", []Exchange{said(0, "c", "1", rings, "a", 202), said(15, "c", "2", ends, "a", 202)}, Counts{Calls: 1, Unanswered: 1}},
		{"the caller hung up", []Exchange{said(0, "c", "1", rings, "a", 202), said(3, "c", "2", ends, "a", 202)}, Counts{Calls: 1}},
		{"never taken", []Exchange{said(0, "c", "1", rings, "", 0), said(1, "c", "1", rings, "a", 503)}, Counts{Calls: 1, NeverTaken: 1}},
		{"its instance died", []Exchange{said(0, "c", "1", rings, "a", 202), said(1, "c", "2", established, "a", 202), said(2, "c", "3", roster, "", 0), said(3, "c", "4", roster, "", 502)},
			Counts{Calls: 1, AnsweredInTime: 1, LostCalls: 1, NotificationsLost: 2}},
		{"an end that the bot brought about is unknown to it", []Exchange{said(0, "c", "1", rings, "a", 202), said(1, "c", "2", established, "a", 202), said(2, "c", "3", ends, "a", 404)},
			Counts{Calls: 1, AnsweredInTime: 1}},
		{"a refusal is no loss", []Exchange{said(0, "c", "1", rings, "a", 202), said(1, "c", "2", established, "a", 400)}, Counts{Calls: 1, AnsweredInTime: 1}},
		{"beginning unseen", []Exchange{said(1, "c", "2", established, "a", 202), said(2, "c", "3", roster, "b", 202)}, Counts{Calls: 1, BeginningUnseen: 1, Split: 1}},
		{"redirected to its instance", []Exchange{said(0, "c", "1", rings, "a.bot", 302), said(1, "c", "2", established, "a.bot", 302), said(2, "c", "3", roster, "b.bot", 307)},
			Counts{Calls: 1, AnsweredInTime: 1, Misrouted: 1, MisroutedCalls: 1}},
		{"redirected, nobody says to whom that counts", []Exchange{said(0, "c", "1", rings, "", 302), said(1, "c", "1", rings, "b", 202), said(2, "c", "2", established, "b", 202)},
			Counts{Calls: 1, AnsweredInTime: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := NewJudge(plain)
			for _, x := range c.told {
				j.See(x)
			}
			r := j.Report(at(600))
			if d := cmp.Diff(c.want, r.Counts); d != "" {
				t.Errorf("want, got: %s", d)
			}
			clean := c.want == Counts{Calls: 1, AnsweredInTime: 1} || c.want == Counts{Calls: 1}
			if (len(r.Examples) == 0) != clean {
				t.Errorf("examples: %+v", r.Examples)
			}
			// Forgotten, it counts for the same.
			j.See(Exchange{Began: at(200_000), Over: at(200_000), Reading: TokenUndecided})
			if j.order.Len() != 0 || j.kept != 0 {
				t.Fatalf("%d calls and %d notifications are still there", j.order.Len(), j.kept)
			}
			if d := cmp.Diff(c.want, j.Report(at(200_001)).Counts); d != "" {
				t.Errorf("once forgotten: want, got: %s", d)
			}
		})
	}
}

// TestWhatFailedIsGivenTimeToComeAgain: the cloud repeats for a while.
func TestWhatFailedIsGivenTimeToComeAgain(t *testing.T) {
	j := NewJudge(plain)
	for _, x := range []Exchange{said(0, "c", "1", rings, "a", 202), said(1, "c", "2", established, "a", 202), said(2, "c", "3", roster, "a", 503)} {
		j.See(x)
	}
	if r := j.Report(at(30)); r.LostCalls != 0 {
		t.Error("lost before the cloud could repeat it")
	}
	if r := j.Report(at(63)); r.LostCalls != 1 {
		t.Error("not lost a minute later")
	}
	j.See(said(64, "c", "3", roster, "a", 202))
	if r := j.Report(at(200)); r.LostCalls != 0 {
		t.Error("lost, though a repeat brought it home")
	}
}

// TestWhatIsNoCall: the counts of what never becomes a call.
func TestWhatIsNoCall(t *testing.T) {
	j := NewJudge(plain)
	for _, x := range []Exchange{
		{Reading: TokenRefused, Refused: "expired", Status: 202}, {Reading: TokenRefused, Refused: "expired", Status: 401}, {Reading: TokenUndecided, Status: 202},
		{Reading: Handshake, Status: 204}, {Reading: Handshake, Status: 200}, {Reading: Handshake}, {Reading: Malformed, Status: 400}, {Reading: TooLarge, Status: 413},
		{Reading: Cut, Status: 401}, {Reading: Nameless, Status: 200},
	} {
		x.Began, x.Over = t0, t0
		j.See(x)
	}
	want := Report{
		At: t0, Exchanges: 10, RefusedButHandled: 1, HandshakesWrong: map[string]int{"200": 1, "none": 1},
		Tandem:    Decisions{Refused: map[string]int{"expired": 2, "malformed": 1, "body_too_large": 1}, Handshakes: 3},
		Unjudged:  Unjudged{TokenUndecided: 1, Cut: 1, Nameless: 1},
		Instances: map[string]Instance{},
	}
	if d := cmp.Diff(want, j.Report(t0)); d != "" {
		t.Errorf("want, got: %s", d)
	}
}

// TestMemoryIsBounded: more calls than there is room for are judged by what was seen.
func TestMemoryIsBounded(t *testing.T) {
	j := NewJudge(plain)
	j.mostLive = 10
	for i := range 100 {
		j.See(said(float64(i), fmt.Sprint("c", i), fmt.Sprint(i), rings, fmt.Sprint("i", i), 202))
	}
	r := j.Report(at(1000))
	if j.order.Len() != 10 || len(j.calls) != 10 || r.Calls != 100 || r.Unjudged.ForgottenEarly != 90 {
		t.Errorf("%d are kept, %d of 100 counted, %d forgotten", j.order.Len(), r.Calls, r.Unjudged.ForgottenEarly)
	}
	c := &call{tried: map[key]outcome{}, at: map[string]int{}}
	for i := range 3 * mostTold {
		c.see(delivery{began: t0, over: t0, key: keyOf(fmt.Sprint(i)), status: 202, instance: fmt.Sprint(i)})
	}
	if len(c.tried) != mostTold || len(c.at) != mostInstances {
		t.Errorf("of one call %d notifications and %d instances are kept", len(c.tried), len(c.at))
	}
	all := map[string]Instance{}
	for i := range 2 * mostNamed {
		tally(all, &call{home: fmt.Sprint(i)})
	}
	if len(all) != mostNamed+1 || all[otherInstance].Calls != mostNamed {
		t.Errorf("%d instances are named, %+v others", len(all), all[otherInstance])
	}
}

// TestTheJudgeAgreesWithAModel tells the judge of random deliveries, in the order of their
// ends, and counts with the plainest words over the whole list.
func TestTheJudgeAgreesWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type one struct {
			call, message, instance string
			first                   bool
			status                  int
		}
		var list []one
		j := NewJudge(plain)
		for i := range rapid.IntRange(1, 60).Draw(t, "n") {
			o := one{
				call: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "call"), instance: rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "instance"),
				first: rapid.IntRange(0, 5).Draw(t, "first") == 0, status: rapid.SampledFrom([]int{202, 202, 202, 503, 404, 0, 400}).Draw(t, "status"),
				message: rapid.SampledFrom([]string{"1", "2", "3", "4"}).Draw(t, "message"),
			}
			list = append(list, o)
			n := roster
			if o.first {
				n = rings
			}
			j.See(said(float64(i)/10, o.call, o.message, n, o.instance, o.status))
		}
		var want Counts
		for _, id := range []string{"x", "y", "z"} {
			home, taken, seen := "", false, false
			for _, o := range list {
				if o.call == id && o.first && o.status == 202 && !taken {
					home, taken = o.instance, true
				}
				seen = seen || o.call == id
			}
			if !seen {
				continue
			}
			want.Calls++
			good, lost, misrouted := map[string]string{}, map[string]bool{}, 0
			for _, o := range list {
				if o.call != id {
					continue
				}
				name := "later " + o.message
				if o.first {
					name = "first"
				}
				if !o.first && home != "" && o.instance != "" && o.instance != home {
					misrouted++
				}
				before, handled := good[name]
				switch {
				case o.status == 202 && handled:
					want.HandledTwice++
					if before != "" && o.instance != "" && before != o.instance {
						want.HandledTwiceElsewhere++
					}
					continue
				case o.status == 202:
					good[name] = o.instance
					delete(lost, name)
				case o.status != 400 && !handled:
					lost[name] = true
				}
			}
			want.Misrouted += misrouted
			want.MisroutedCalls += min(misrouted, 1)
			rang := false
			for _, o := range list {
				rang = rang || o.call == id && o.first
			}
			switch {
			case rang && !taken && lost["first"]:
				want.NeverTaken++
			case len(good) > 0:
				delete(lost, "first")
				want.NotificationsLost += len(lost)
				want.LostCalls += min(len(lost), 1)
			}
		}
		got := j.Report(at(1000)).Counts
		got.BeginningUnseen, got.Split, got.AnsweredInTime, got.AnsweredLate, got.Unanswered = 0, 0, 0, 0, 0 // TestOneCall has them
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("want, got: %s\n%+v", d, list)
		}
	})
}
