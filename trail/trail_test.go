package trail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/ownership/history"
)

var start = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// desk is a trail with a clock and a log of the test.
type desk struct {
	*Trail
	at  time.Time
	log lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func newDesk() *desk {
	d := &desk{at: start}
	d.Trail = New("emea", "emea-1", func() time.Time { return d.at }, slog.New(slog.NewJSONHandler(&d.log, &slog.HandlerOptions{Level: slog.LevelError})))
	return d
}

// lines are what the log says of steps.
func (d *desk) lines(t *testing.T) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(d.log.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, m)
	}
	return all
}

func received(call, message, chain string) history.Step {
	return history.Step{
		Kind: history.Received, Call: ownership.CallID(call), Message: message, Chain: chain, Scenario: "scenario-" + chain, Request: "request-" + message,
		App: "the-app", Tenant: "the-tenant", Partition: 3, Epoch: 4, Text: "at the webhook's address",
	}
}

func handed(call, message string) history.Step {
	return history.Step{Kind: history.Handed, Call: ownership.CallID(call), Message: message, Status: 202, Took: 3 * time.Millisecond, Partition: 3, Epoch: 4}
}

// TestACallIsFoundByEveryName: by its call id, its chain, the notification and what the
// cloud's headers name, all steps of the call come, in order, with where they were taken.
func TestACallIsFoundByEveryName(t *testing.T) {
	t.Parallel()
	d := newDesk()
	for i, s := range []history.Step{received("c1", "m1", "chain-a"), handed("c1", "m1"), received("c2", "m2", "chain-b"), handed("c1", "m3")} {
		d.at = start.Add(time.Duration(i) * time.Second)
		d.Step(s)
	}
	for _, id := range []string{"c1", "m1", "m3", "chain-a", "CHAIN-A", "scenario-chain-a", "request-m1"} {
		got := d.Of(id)
		if len(got.Steps) != 3 || len(got.Calls) != 1 || got.Calls[0] != "c1" || !got.Since.Equal(start) {
			t.Errorf("by %s it knows %+v", id, got)
			continue
		}
		want := handed("c1", "m3")
		want.At, want.Region, want.Node = start.Add(3*time.Second), "emea", "emea-1"
		if diff := cmp.Diff(want, got.Steps[2]); diff != "" {
			t.Error(diff)
		}
		if got.Steps[0].Tenant != "the-tenant" || got.Steps[0].Text == "" {
			t.Errorf("the first step is %+v", got.Steps[0])
		}
	}
	if got := d.Of("c", "the-tenant", ""); len(got.Steps) != 0 {
		t.Errorf("parts of an id find %+v", got.Steps)
	}
}

// TestTheRingIsBounded in bytes and in steps, and the oldest go first.
func TestTheRingIsBounded(t *testing.T) {
	t.Parallel()
	r := ring{limits: limits{segments: 3, bytes: 2 * longestStep, steps: 8}}
	for i := range 1000 {
		s := received("call", fmt.Sprint("m", i), strings.Repeat("x", 5000))
		s.At = start.Add(time.Duration(i) * time.Second)
		if i >= 500 {
			s.Chain = "short"
		}
		r.add(&s)
		segments, since := r.seen()
		size, steps := 0, 0
		for _, g := range segments {
			size, steps = size+cap(g.bytes), steps+g.steps
		}
		if size > 6*longestStep || steps > 24 {
			t.Fatalf("it holds %d bytes and %d steps", size, steps)
		}
		found := find(segments, []string{"call"}, Most)
		if last := found[len(found)-1].Message; last != fmt.Sprint("m", i) || !found[0].At.Equal(since) || len(found) != steps {
			t.Fatalf("of %d steps since %s it finds %d, from %s to %s", steps, since, len(found), found[0].At, last)
		}
	}
}

// TestStrangersTakeNoMemoryOfCalls: a flood without tokens leaves every step of calls where it was.
func TestStrangersTakeNoMemoryOfCalls(t *testing.T) {
	t.Parallel()
	d := newDesk()
	d.Step(received("c1", "m1", "a"))
	for i := range 100_000 {
		d.Step(history.Step{Kind: history.Refused, Message: fmt.Sprint("flood-", i), Status: 401, Scenario: strings.Repeat("y", 256)})
	}
	if got := d.Of("c1"); len(got.Steps) != 1 {
		t.Errorf("of the call it knows %+v", got)
	}
	if got := d.Of("flood-99999"); len(got.Steps) != 1 || got.Steps[0].Status != 401 {
		t.Errorf("of the last stranger it knows %+v", got)
	}
	if all, _ := d.strangers.seen(); len(all) != ofStrangers.segments {
		t.Errorf("strangers have %d segments", len(all))
	}
}

// TestAnAnswerIsBounded: the newest steps come, and that there were more is said.
func TestAnAnswerIsBounded(t *testing.T) {
	t.Parallel()
	d := newDesk()
	for i := range 3 * Most {
		d.at = start.Add(time.Duration(i) * time.Millisecond)
		d.Step(handed("c1", fmt.Sprint("m", i)))
	}
	got := d.Of("c1")
	if len(got.Steps) != Most || !got.More || got.Steps[Most-1].Message != fmt.Sprint("m", 3*Most-1) {
		t.Errorf("%d steps, more %t, the last of %s", len(got.Steps), got.More, got.Steps[len(got.Steps)-1].Message)
	}
}

// TestStepsAreFollowedInTheLog by call, tenant or node, past the log's own level, until a time.
func TestStepsAreFollowedInTheLog(t *testing.T) {
	t.Parallel()
	until := start.Add(10 * time.Minute)
	failed := history.Step{Kind: history.Refused, Call: "c1", Message: "m9", Status: 503, Tenant: "the-tenant", Text: "no_lease"}
	for name, c := range map[string]struct {
		follow Follow
		want   int
	}{
		"call":            {Follow{Call: "c1", Level: slog.LevelDebug, Until: until}, 3},
		"call, failures":  {Follow{Call: "c1", Level: slog.LevelInfo, Until: until}, 1},
		"tenant":          {Follow{Tenant: "the-tenant", Level: slog.LevelDebug, Until: until}, 2},
		"node":            {Follow{Node: "emea-1", Level: slog.LevelDebug, Until: until}, 4},
		"another node":    {Follow{Node: "emea-2", Level: slog.LevelDebug, Until: until}, 0},
		"nobody's tenant": {Follow{Tenant: "other", Level: slog.LevelDebug, Until: until}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk()
			if err := d.Follow(c.follow); err != nil {
				t.Fatal(err)
			}
			for _, s := range []history.Step{received("c1", "m1", "a"), handed("c1", "m1"), handed("c2", "m2"), failed} {
				d.Step(s)
			}
			got := d.lines(t)
			if len(got) != c.want {
				t.Fatalf("%d lines: %s", len(got), d.log.String())
			}
			d.at = until
			d.Step(received("c1", "late", "a"))
			if after := d.lines(t)[c.want:]; len(after) != 1 || after[0]["lines"] != float64(c.want) || len(d.Following()) != 0 {
				t.Errorf("at its end it says %v", after)
			}
		})
	}
}

// TestALineSaysAll that finds the step elsewhere.
func TestALineSaysAll(t *testing.T) {
	t.Parallel()
	d := newDesk()
	if err := d.Follow(Follow{Call: "c1", Level: slog.LevelDebug, Until: start.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	d.Step(received("c1", "m1", "a"))
	line := d.lines(t)[0]
	for name, want := range map[string]any{
		"step": "received", "call": "c1", "partition": 3.0, "epoch": 4.0, "notification": "m1", "scenario_id": "scenario-a", "client_request_id": "request-m1",
	} {
		if line[name] != want {
			t.Errorf("%s is %v", name, line[name])
		}
	}
}

// TestFollowingIsBounded in number, length and lines.
func TestFollowingIsBounded(t *testing.T) {
	t.Parallel()
	d := newDesk()
	hour := start.Add(time.Hour)
	for name, f := range map[string]Follow{
		"nothing":  {Level: slog.LevelDebug, Until: hour},
		"two":      {Call: "c", Node: "n", Level: slog.LevelDebug, Until: hour},
		"level":    {Call: "c", Level: slog.LevelWarn, Until: hour},
		"too long": {Call: "c", Level: slog.LevelDebug, Until: start.Add(25 * time.Hour)},
	} {
		if d.Follow(f) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for i := range mostFollowed {
		if err := d.Follow(Follow{Call: ownership.CallID(fmt.Sprint("c", i)), Level: slog.LevelDebug, Until: hour}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Follow(Follow{Call: "one more", Level: slog.LevelDebug, Until: hour}); err == nil {
		t.Error("one more is taken")
	}
	if err := d.Follow(Follow{Call: "c7", Level: slog.LevelInfo, Until: start}); err != nil || len(d.Following()) != mostFollowed-1 {
		t.Errorf("one is ended: %v, %d are left", err, len(d.Following()))
	}
	before := len(d.lines(t))
	for range followBurst + 500 {
		d.Step(handed("c1", "m"))
	}
	if n := len(d.lines(t)) - before; n != followBurst {
		t.Errorf("%d lines at once", n)
	}
	d.at = hour
	if len(d.Following()) != 0 {
		t.Error("they are followed after their time")
	}
	left := false
	for _, l := range d.lines(t) {
		left = left || l["left_out"] == 500.0
	}
	if !left {
		t.Error("nobody says that lines were left out")
	}
}

// TestReadersDisturbNobody: searching and writing at once is sound (-race).
func TestReadersDisturbNobody(t *testing.T) {
	t.Parallel()
	d := newDesk()
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 5000 {
				d.Step(received(fmt.Sprint("c", w), fmt.Sprint("m", i), "a"))
			}
		})
	}
	for range 20 {
		for _, s := range d.Of("c1").Steps {
			if s.Call != "c1" {
				t.Fatalf("it finds %+v", s)
			}
		}
	}
	all.Wait()
	if got := d.Of("c3"); len(got.Steps) != Most || !got.More {
		t.Errorf("%d steps", len(got.Steps))
	}
}

// FuzzStep: what is written is read again, cut to its bounds, and no bytes make a reader fall.
func FuzzStep(f *testing.F) {
	s := received("c1", "m1", "a")
	f.Add(appendStep(nil, &s)[2:], "text", uint16(202))
	f.Add([]byte{3}, strings.Repeat("é", 400), uint16(0))
	f.Fuzz(func(t *testing.T, raw []byte, text string, status uint16) {
		if got, ok := readStep(raw); ok {
			again, ok := readStep(appendStep(nil, &got)[2:])
			if diff := cmp.Diff(got, again); ok && len(got.Text) <= longestText && diff != "" && bounded(got) {
				t.Fatal(diff)
			}
		}
		for b, rest := next(raw); b != nil; b, rest = next(rest) {
			_, _ = readStep(b)
		}
		in := received(text, text, text)
		in.At, in.Text, in.Status = start, text, int(status)
		b := appendStep(nil, &in)
		if len(b) > longestStep {
			t.Fatalf("%d bytes", len(b))
		}
		got, ok := readStep(b[2:])
		if !ok || got.Status != in.Status || got.Text != text[:min(len(text), longestText)] || string(got.Call) != text[:min(len(text), longestID)] {
			t.Fatalf("%t %+v", ok, got)
		}
	})
}

func bounded(s history.Step) bool {
	for _, text := range []string{string(s.Call), s.Message, s.To, s.Chain, s.Scenario, s.Request, string(s.App), string(s.Tenant)} {
		if len(text) > longestID {
			return false
		}
	}
	return s.Took >= 0 && s.Status >= 0
}

// BenchmarkStep is what one step costs whoever tells it.
func BenchmarkStep(b *testing.B) {
	d := newDesk()
	s := received("57dab8b1894c409ab240bd8beae78896", "9c1b2c1e-0f5f-4a3c-8f5e-8f0f4a1d2b3c", "0f5f4a3c-9c1b-2c1e-8f5e-8f0f4a1d2b3c")
	s.At = start
	b.ReportAllocs()
	for b.Loop() {
		d.Step(s)
	}
}

// BenchmarkOf is a search of a ring that is full.
func BenchmarkOf(b *testing.B) {
	d := newDesk()
	for i := range 150_000 {
		d.Step(received(fmt.Sprintf("%032x", i), fmt.Sprint("message-", i), fmt.Sprintf("chain-%030x", i)))
	}
	id := fmt.Sprintf("%032x", 149_000)
	b.ReportAllocs()
	for b.Loop() {
		if len(d.Of(id).Steps) != 1 {
			b.Fatal("lost")
		}
	}
}
