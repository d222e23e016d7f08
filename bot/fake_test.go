package bot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"tandem/graph"
	"tandem/ownership"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	appID    = ownership.AppID("0efc74f7-41c3-47a4-8775-7259bfef4241")
	base     = "https://emea.bot.example"
	ourURI   = base + "/api/calls/emea/7/3/ref?s=sig"
	otherURI = "https://amer.bot.example/api/calls/amer/2/1/ref?s=sig"
)

var answerWith = json.RawMessage(`{"acceptedModalities":["audio"],"mediaConfig":{"@odata.type":"#microsoft.graph.serviceHostedMediaConfig"}}`)

// fakeBot runs a script for each hand-over and keeps what it was handed.
type fakeBot struct {
	script func(ctx context.Context, n int, h ownership.HandOver) (ownership.Reply, error) // nil: 200; n from 1 for each message

	mu     sync.Mutex
	taken  []ownership.HandOver // in order of entry
	times  map[string]int
	inside map[ownership.CallID]int
	twice  bool // Handle was entered twice at a time for one call
}

func (b *fakeBot) Handle(ctx context.Context, h ownership.HandOver) (ownership.Reply, error) {
	b.mu.Lock()
	if b.times == nil {
		b.times, b.inside = map[string]int{}, map[ownership.CallID]int{}
	}
	b.taken = append(b.taken, h)
	key := string(h.Call) + " " + h.MessageID
	b.times[key]++
	n := b.times[key]
	b.inside[h.Call]++
	b.twice = b.twice || b.inside[h.Call] > 1
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.inside[h.Call]--
	}()
	if b.script == nil {
		return ownership.Reply{Status: 200}, nil
	}
	return b.script(ctx, n, h)
}

func (b *fakeBot) handed() []ownership.HandOver {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.taken)
}

// words returns what the bot was handed as "event message".
func (b *fakeBot) words() []string {
	var w []string
	for _, h := range b.handed() {
		w = append(w, string(h.Event)+" "+h.MessageID)
	}
	return w
}

// fakeLedger holds one partition, 7, at an epoch, and keeps the acts.
type fakeLedger struct {
	do   func(n int, act ownership.Act) error // nil: taken
	slow time.Duration                        // an act takes so long to get through the log

	mu    sync.Mutex
	epoch ownership.Epoch // 0: no lease
	owned ownership.Epoch // the last one but 0
	acts  []ownership.Act
	tries int
	known map[ownership.CallID]ownership.Known

	finds, fences int // how often it was asked
}

func (l *fakeLedger) Holds(_ ownership.CallID, p ownership.PartitionID, e ownership.Epoch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fences++
	return p == 7 && e == l.epoch
}

func (l *fakeLedger) Owns(_ ownership.CallID, p ownership.PartitionID, e ownership.Epoch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return p == 7 && e == l.owned
}

// Find knows what the test showed; else no call, as a table that has yet to hear
// of it.
func (l *fakeLedger) Find(c ownership.CallID) (ownership.Known, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finds++
	k, ok := l.known[c]
	return k, ok
}

// show has the table show a call of partition 7.
func (l *fakeLedger) show(c ownership.CallID, owner ownership.NodeID, e ownership.Epoch, state ownership.CallState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known = map[ownership.CallID]ownership.Known{}
	}
	l.known[c] = ownership.Known{App: appID, Partition: 7, Owner: owner, Epoch: e, State: state}
}

func (l *fakeLedger) hold(e ownership.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch = e; e != 0 {
		l.owned = e
	}
}

func (l *fakeLedger) Do(_ context.Context, act ownership.Act) (*ownership.Outcome, error) {
	time.Sleep(l.slow)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tries++
	if l.do != nil {
		if err := l.do(l.tries, act); err != nil {
			return nil, err
		}
	}
	l.acts = append(l.acts, act)
	return &ownership.Outcome{}, nil
}

// records returns the acts as words: "answered 3", "release 3 why", "seen 2".
func (l *fakeLedger) records() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var w []string
	for _, act := range l.acts {
		switch a := act.(type) {
		case ownership.Answered:
			w = append(w, fmt.Sprint("answered ", a.Epoch))
		case ownership.Release:
			w = append(w, fmt.Sprint("release ", a.Epoch, " ", a.Why))
		case ownership.TakeUp:
			w = append(w, fmt.Sprint("take-up ", a.Epoch))
		case ownership.Seen:
			w = append(w, fmt.Sprint("seen ", len(a.Calls)))
		}
	}
	return w
}

// fakeGraph asks the permit, then runs its script.
type fakeGraph struct {
	answer func(n int) error // nil: taken
	get    func() (graph.Remote, error)
	beat   func(n int) error
	reject error

	mu      sync.Mutex
	answers []graph.AnswerPayload
	epochs  []uint64
	rejects []graph.RejectPayload
	beats   []time.Time
	gets    int
}

func (g *fakeGraph) Answer(_ context.Context, _ string, p graph.AnswerPayload, may graph.Permit) error {
	if err := may.Check(); err != nil {
		return err
	}
	g.mu.Lock()
	g.answers, g.epochs = append(g.answers, p), append(g.epochs, may.Epoch)
	n := len(g.answers)
	g.mu.Unlock()
	if g.answer == nil {
		return nil
	}
	return g.answer(n)
}

func (g *fakeGraph) Reject(_ context.Context, _ string, p graph.RejectPayload, may graph.Permit) error {
	if err := may.Check(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rejects = append(g.rejects, p)
	return g.reject
}

func (g *fakeGraph) KeepAlive(_ context.Context, _ string, may graph.Permit) error {
	if err := may.Check(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.beats = append(g.beats, time.Now())
	if g.beat == nil {
		return nil
	}
	return g.beat(len(g.beats))
}

func (g *fakeGraph) Get(context.Context, string) (graph.Remote, error) {
	g.mu.Lock()
	g.gets++
	g.mu.Unlock()
	if g.get == nil {
		return graph.Remote{}, refusal(graph.ErrGone, 404, false)
	}
	return g.get()
}

func (g *fakeGraph) answered() []graph.AnswerPayload {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.answers)
}

func (g *fakeGraph) beaten() []time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.beats)
}

func refusal(kind error, status int, maybe bool) *graph.CallError {
	return &graph.CallError{Op: "answer", Call: "x", Kind: kind, Status: status, Maybe: maybe}
}

// logs is what a dispatcher wrote.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// stand is a dispatcher with everything around it. It holds partition 7 at epoch 3.
type stand struct {
	*Dispatcher
	bot    *fakeBot
	ledger *fakeLedger
	graph  *fakeGraph
	logs   *logs
	reg    *prometheus.Registry
}

// usualTimeout is the shipped apps[].bot.timeout.
const usualTimeout = 4 * time.Second

// newStand opens a dispatcher for one app; change may alter it. It is closed at the
// end of the test.
func newStand(t *testing.T, answer AnswerBy, change func(*Config)) *stand {
	t.Helper()
	s := &stand{bot: &fakeBot{}, ledger: &fakeLedger{epoch: 3, owned: 3}, graph: &fakeGraph{}, logs: &logs{}, reg: prometheus.NewRegistry()}
	c := Config{
		Node: "emea-1", Metrics: s.reg, Logger: slog.New(slog.NewJSONHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Apps: []App{{ID: appID, Timeout: usualTimeout, Answer: answer, AnswerWith: answerWith, Bot: s.bot, Graph: s.graph}},
	}
	if change != nil {
		change(&c)
	}
	var err error
	if s.Dispatcher, err = New(c, s.ledger); err != nil {
		t.Fatal(err)
	}
	s.look(3)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = s.Close(ctx) // closed by the test where its error matters
		if s.bot.twice {
			t.Error("the bot was entered twice at a time for one call")
		}
	})
	return s
}

// look shows the dispatcher the calls of partition 7, this node's own at that epoch.
func (s *stand) look(epoch ownership.Epoch, calls ...ownership.Call) {
	for i := range calls {
		if calls[i].Owner == "" {
			calls[i].Owner = "emea-1"
		}
	}
	s.Look(Sight{Partition: 7, Epoch: epoch, Calls: slices.Values(calls), URI: ourURIOf})
}

// incoming and update make hand-overs of one call at epoch 3.
func incoming(message string) ownership.HandOver {
	return ownership.HandOver{Event: ownership.EventIncoming, App: appID, Call: "c1", RawCall: "C-1", Partition: 7, Epoch: 3,
		CallbackURI: ourURI, MessageID: message, Received: time.Now(), Deadline: time.Now().Add(15 * time.Second),
		Header: http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + bearerCanary}}, Body: []byte(`{"value":[]}`)}
}

func update(message string) ownership.HandOver {
	h := incoming(message)
	h.Event, h.Deadline = ownership.EventUpdate, time.Time{}
	return h
}

func ending(message string) ownership.HandOver {
	h := update(message)
	h.Ends = true
	return h
}

const bearerCanary = "canary-bearer-1c55"

var errDown = errors.New("connection refused")
