// Package bot is the dispatcher beside a node: every notification that the node owns
// passes over it to the bot, and every action at Graph that follows from one is
// taken here.
//
// # What it promises
//
// For one call, hand-overs reach the bot one after the other, in the order in
// which they reached the dispatcher; different calls run side by side. A message id
// has its effect once: a repeat waits for the first delivery or gets its reply
// again. What the bot did not take (unreachable, too slow, a 5xx) is not
// recorded: the door answers 503, the cloud sends it again with the same id, and
// it is delivered again. A delivery that fails takes those waiting behind it
// along: letting them pass would put a gap into the call's order.
//
// The memory of message ids lasts 15 min. It outlives a stop in order (Memory,
// Recall) and goes along when a partition is moved (MemoryOf, RecallOf). A call
// that the table has as answered is never rung again, whatever the dispatcher
// remembers. What remains at-least-once is the notification that a bot had taken
// when its node crashed, and Tandem's own events, which are offered until the bot
// takes them: Tandem-Call and Tandem-Epoch tell.
//
// # What the table is told
//
// Ends and answers are told to the table behind the callers' back, those of one
// call in the order in which they happened. Rest waits for them, a stop keeps
// what it could not tell for the next start, and whenever the table shows a call
// alive that this dispatcher knows as ended, or ringing that it knows as answered, it
// is told again: both are facts that nobody can take back.
//
// # Whose call it is
//
// Look compares the dispatcher with the table whenever a partition's calls may stand
// differently. The bot hears `adopted` of a call that is this node's now, `rejoin`
// of one whose media died with its node, and `lost`, once, of one that it had and
// that is another node's now. That is told only under a lease and a moment later:
// a node that was away gets back what nobody has taken up.
//
// After a restart of the router beside a living bot its calls are still its own,
// media and all. The bot is told `adopted` of each, once in the life of the
// process, and no `rejoin`: it takes the event with a 2xx and goes on. Saying
// nothing would be wrong, for a machine that restarts takes the bot down too, and
// that bot must learn of its calls; `rejoin` would be wrong, for a living bot would
// leave a meeting that it is in. Whoever knows best is asked: a bot that answers
// 4xx to `adopted` does not know the call, and is told `rejoin`.
//
// # Acting at Graph
//
// Every attempt of an answer, a rejection or a keepAlive asks the Ledger first
// whether this node acts for the call at that epoch; without the lease the
// action stops with ownership.ErrFenced. There is one answer for a call and an
// epoch, always with the same callback URI.
//
// # Bounds
//
// Whatever runs out runs out per app: the queue of hand-overs from outside, the
// adoptions, the keepAlives, the bot's health. Tandem's own events have bounds of
// their own and refuse nobody's notification; one that comes for a call whose
// adoption waits brings that adoption forward.
//
// # Locks
//
// One mutex guards the calls' queues, what is remembered of them, and
// what the table is to be told. It is never held while the bot, Graph or the
// Ledger is spoken to, nor for a walk over all queues. Each call with work has one
// goroutine; it ends when its queue is empty.
package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/graph"
	"tandem/ownership"
	"tandem/traces"
)

// Bot takes hand-overs. An HTTPBot is one; node.Config.Bot can be another in
// the same process. For one call Handle is never entered twice at a time; it
// must return when ctx ends. A bot that also is a Reporter reports its health.
type Bot interface {
	Handle(ctx context.Context, h ownership.HandOver) (ownership.Reply, error)
}

// Ledger is the table as the dispatcher needs it; the cluster is one.
type Ledger interface {
	// Do applies an act through the region's leader.
	Do(ctx context.Context, act ownership.Act) (*ownership.Outcome, error)
	// Holds reports whether this node acts for the call of the partition at that
	// epoch and its lease is valid now.
	Holds(ownership.CallID, ownership.PartitionID, ownership.Epoch) bool
	// Owns is Holds without the lease, which may come back.
	Owns(ownership.CallID, ownership.PartitionID, ownership.Epoch) bool
	// Find returns what this node knows of a call, ended ones too.
	Find(ownership.CallID) (ownership.Known, bool)
}

// Graph is the calls API for one app; *graph.Calls is one.
type Graph interface {
	Answer(ctx context.Context, rawCallID string, p graph.AnswerPayload, may graph.Permit) error
	Reject(ctx context.Context, rawCallID string, p graph.RejectPayload, may graph.Permit) error
	KeepAlive(ctx context.Context, rawCallID string, may graph.Permit) error
	Get(ctx context.Context, rawCallID string) (graph.Remote, error)
}

// AnswerBy says who answers new calls of an app.
type AnswerBy string

// The values of an app's `answer` setting.
const (
	AnswerByRouter AnswerBy = "router"
	AnswerByBot    AnswerBy = "bot"
)

// App is one app registration with the bot that serves it on this node.
type App struct {
	ID         ownership.AppID
	Pinned     bool // hosting: app; its calls cannot be moved, only rejoined
	Answer     AnswerBy
	AnswerWith json.RawMessage // the answer's fields but for callbackUri; required with AnswerByRouter
	Bot        Bot             // required
	Graph      Graph           // required with AnswerByRouter; nil: the router has no credentials for the app
	Timeout    time.Duration   // of one hand-over to the bot
}

// Config says what the dispatcher serves. Zero values mean the shipped defaults.
type Config struct {
	Node        ownership.NodeID
	Apps        []App
	QueueLimit  int           // notifications waiting or under way for one call; 64
	TotalLimit  int           // the same for all calls of one app; 4096
	WaitLimit   time.Duration // how long a caller waits for the bot's reply; 10 s
	TellFor     time.Duration // how long Tandem's own events are offered to a sick bot; 2 min
	HealthEvery time.Duration // between two health checks; 1 s
	Leased      func() bool   // whether this node has a lease; nil: always
	Now         func() time.Time
	Logger      *slog.Logger
	Metrics     prometheus.Registerer
	Steps       Steps          // nil: nobody remembers them
	Traces      *traces.Traces // nil: none are made
}

// The times that hold a call's life together.
const (
	beatEvery     = 10 * time.Minute // Microsoft's samples; the cloud ends a call after 45 min without
	beatRetry     = time.Minute
	rememberFor   = 15 * time.Minute // an ended call and a message id: the life of a tombstone
	idleLimit     = 2 * time.Hour    // a silent queue: past the reaper's 60 min
	rememberIDs   = 1024             // message ids of one call
	seenEvery     = 5 * time.Minute  // how often the table is told of a call's activity
	maintainEvery = 15 * time.Second // between two rounds of maintenance
	lostPause     = 2 * time.Second  // under a lease, before a bot hears that a call is lost
	leastToReply  = time.Second      // for an answer whose deadline seems over: clocks differ
)

// Dispatcher hands notifications to the bots of one node. Make it with New.
type Dispatcher struct {
	*deliverer
	*adoptions
	*maintenance
}

// New checks the configuration and starts the health checks and maintenance;
// Close ends them.
func New(c Config, ledger Ledger) (*Dispatcher, error) {
	r := &records{
		queues: &queues{
			conf: c.withDefaults(), ledger: ledger, apps: map[ownership.AppID]*served{},
			parts: map[ownership.PartitionID]*part{}, dues: map[int32][]*callQueue{},
		},
		register: register{calls: map[ownership.CallID]*owing{}},
	}
	to := &deliverer{r}
	d := &Dispatcher{deliverer: to, adoptions: &adoptions{to}, maintenance: &maintenance{to}}
	d.log = d.conf.Logger.With("room", "bot")
	if ledger == nil {
		return nil, errors.New("setting up the dispatcher: it needs a ledger")
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	for _, a := range c.Apps {
		if a.Bot == nil || a.Answer == AnswerByRouter && a.Graph == nil {
			return nil, fmt.Errorf("setting up the dispatcher for app %s: it has no bot, or answer: router and no credentials for Graph", a.ID)
		}
		d.apps[a.ID] = &served{App: a, ring: lane{most: ringAtOnce}, tell: lane{most: tellAtOnce}}
	}
	var err error
	if d.count, err = newMetrics(c.Metrics, d); err != nil {
		return nil, fmt.Errorf("setting up the dispatcher's metrics: %w", err)
	}
	d.base, d.cancel = context.WithCancel(context.Background())
	d.open, d.shut = context.WithCancel(d.base)
	d.watchHealth()
	d.loops.Go(d.maintain)
	return d, nil
}

// Close takes no more hand-overs, waits until queues and acts are done or ctx
// ends, then stops what is left. The error says how much that was.
func (d *Dispatcher) Close(ctx context.Context) error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.mu.Unlock()
	d.shut()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	go d.untilHopeless(ctx, func() { giveUp(errNobodyTakes) })
	var err error
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		d.mu.Lock()
		defer d.mu.Unlock()
		switch told := len(d.register.calls); {
		case d.waiting == 0 && errors.Is(context.Cause(ctx), errNobodyTakes):
			d.log.Warn("nobody takes what the table is yet to be told; the next start tells it", "calls", told)
		case d.waiting+told > 0:
			err = fmt.Errorf("closing the dispatcher: %d hand-overs were cut off, and the table is not told of %d calls yet: %w",
				d.waiting, told, context.Cause(ctx))
		}
		d.cancel()
	})
	d.loops.Wait() // first: maintenance starts work
	d.work.Wait()
	if !stop() {
		<-cut
	}
	d.cancel()
	return err
}

var errNobodyTakes = errors.New("this node has no lease any more")

// hopelessAfter is how long a dispatcher that closes waits for a lease to come back: an
// election takes less.
const hopelessAfter = 3 * time.Second

// untilHopeless gives up on a table that takes nothing: the last nodes of a region
// that stop have nobody to tell, and none of them may act any more.
func (d *queues) untilHopeless(ctx context.Context, giveUp func()) {
	const every = 100 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for without := time.Duration(0); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		d.mu.Lock()
		busy := d.waiting > 0
		d.mu.Unlock()
		if without += every; busy || d.conf.Leased() {
			without = 0
		}
		if without >= hopelessAfter {
			giveUp()
			return
		}
	}
}

func (c Config) withDefaults() Config {
	c.QueueLimit = cmp.Or(c.QueueLimit, 64)
	c.TotalLimit = cmp.Or(c.TotalLimit, 4096)
	c.WaitLimit = cmp.Or(c.WaitLimit, 10*time.Second)
	c.TellFor = cmp.Or(c.TellFor, 2*time.Minute)
	c.HealthEvery = cmp.Or(c.HealthEvery, time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Leased == nil {
		c.Leased = func() bool { return true }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Steps == nil {
		c.Steps = noSteps{}
	}
	return c
}

// Check says why New would refuse the apps, but for their Bot and Graph.
func (c Config) Check() error {
	seen := map[ownership.AppID]bool{}
	for _, a := range c.Apps {
		err := a.check()
		if seen[a.ID] {
			err = errors.New("it is listed twice")
		}
		if err != nil {
			return fmt.Errorf("setting up the dispatcher for app %s: %w", a.ID, err)
		}
		seen[a.ID] = true
	}
	return nil
}

func (a App) check() error {
	switch {
	case a.ID == "":
		return errors.New("it has no id")
	case a.Timeout <= 0:
		return fmt.Errorf("its timeout is %s, it must be above zero", a.Timeout)
	case a.Answer == AnswerByBot:
		return nil
	case a.Answer != AnswerByRouter:
		return fmt.Errorf("answer is %q, allowed are router and bot", a.Answer)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(a.AnswerWith, &fields); err != nil || len(fields) == 0 {
		return errors.New("answer: router needs answer_with, an object with acceptedModalities and mediaConfig")
	}
	return nil
}
