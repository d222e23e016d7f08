package bot

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
)

// emptyReplies is a bot at the other end of HTTP that takes everything.
type emptyReplies struct{}

func (emptyReplies) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	return &http.Response{StatusCode: 202, Header: http.Header{"Date": {"Mon, 01 Jan 2024 00:00:00 GMT"}, "Content-Length": {"0"}},
		Body: http.NoBody, Request: r, ProtoMajor: 1, ProtoMinor: 1}, nil
}

// benchDispatcher is a dispatcher with a bot over HTTP and a ledger that takes everything.
func benchDispatcher(b *testing.B) *Dispatcher {
	b.Helper()
	over, err := NewHTTPBot(HTTPConfig{URL: "https://bot.example/"})
	if err != nil {
		b.Fatal(err)
	}
	over.client.Transport = emptyReplies{}
	d, err := New(Config{Node: "emea-1", Apps: []App{{ID: appID, Answer: AnswerByBot, Timeout: usualTimeout, Bot: over}}}, wideLedger{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close(context.Background()) })
	return d
}

// wideLedger holds everything and keeps nothing.
type wideLedger struct{}

func (wideLedger) Do(context.Context, ownership.Act) (*ownership.Outcome, error) {
	return &ownership.Outcome{}, nil
}
func (wideLedger) Holds(ownership.CallID, ownership.PartitionID, ownership.Epoch) bool { return true }
func (wideLedger) Owns(ownership.CallID, ownership.PartitionID, ownership.Epoch) bool  { return true }
func (wideLedger) Find(ownership.CallID) (ownership.Known, bool)                       { return ownership.Known{}, false }

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// benchUpdate makes the i-th call's message as the door hands it over.
func benchUpdate(call, message int) ownership.HandOver {
	id := fmt.Sprintf("%032x", call)
	raw := id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
	return ownership.HandOver{App: appID, Call: ownership.CallID(id), RawCall: raw, Partition: ownership.PartitionID(1 + call%8), Epoch: 3,
		CallbackURI: ourURI, MessageID: fmt.Sprintf("8f14e45f-ceea-467f-a%03x-%012x", call%4096, message),
		Thread: "19:meeting_" + strings.Repeat("x", 48) + "@thread.v2", Organizer: "8986d25d-ed3f-4bb8-b739-14d2fcc37b09",
		Received: time.Now(), Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"value":[]}`)}
}

// BenchmarkIdleCall tells what a live call costs that had one notification,
// B/call, and BenchmarkRememberedMessage what each further one does.
func BenchmarkIdleCall(b *testing.B) {
	const calls = 100_000
	for b.Loop() {
		d := benchDispatcher(b)
		before := heap()
		for i := range calls {
			if _, err := d.Update(b.Context(), benchUpdate(i, 0)); err != nil {
				b.Fatal(err)
			}
		}
		waitForRest(d)
		b.ReportMetric(float64(heap()-before)/calls, "B/call")
		runtime.KeepAlive(d)
	}
}

func BenchmarkRememberedMessage(b *testing.B) {
	const calls, messages = 1000, 256
	for b.Loop() {
		d := benchDispatcher(b)
		fill := func(from, to int) {
			for i := range calls {
				for m := from; m < to; m++ {
					if _, err := d.Update(b.Context(), benchUpdate(i, m)); err != nil {
						b.Fatal(err)
					}
				}
			}
			waitForRest(d)
		}
		fill(0, 1)
		before := heap()
		fill(1, messages)
		b.ReportMetric(float64(heap()-before)/calls/(messages-1), "B/message")
		runtime.KeepAlive(d)
	}
}

// waitForRest waits until the queues' goroutines have ended.
func waitForRest(d *Dispatcher) { d.work.Wait() }

// BenchmarkUpdate is a notification of a known call: queue, bot, reply.
func BenchmarkUpdate(b *testing.B) {
	d := benchDispatcher(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := d.Update(b.Context(), benchUpdate(i%1000, i)); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkHousekeeping tells how long one round holds every hand-over up, with
// 300,000 live calls at the dispatcher.
func BenchmarkHousekeeping(b *testing.B) {
	const calls = 300_000
	d := benchDispatcher(b)
	for i := range calls {
		if _, err := d.Update(b.Context(), benchUpdate(i, 0)); err != nil {
			b.Fatal(err)
		}
	}
	waitForRest(d)
	for b.Loop() {
		d.tellSeen(d.round())
	}
}
