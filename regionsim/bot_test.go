package regionsim

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"tandem/bot"
	"tandem/ownership"
)

// fakeBot is the bot beside one process; it dies with it.
type fakeBot struct {
	p    *process
	sick atomic.Bool  // it answers 503 and says so of itself
	slow atomic.Int64 // how long it takes for a hand-over, at most

	mu  sync.Mutex
	rng *rand.Rand
}

func newBot(p *process) *fakeBot {
	return &fakeBot{p: p, rng: rand.New(rand.NewPCG(p.r.seed, uint64(100+p.run)))}
}

// Handle implements bot.Bot.
func (b *fakeBot) Handle(ctx context.Context, h ownership.HandOver) (ownership.Reply, error) {
	if b.p.dead() {
		return ownership.Reply{}, bot.ErrUnreachable
	}
	o := b.p.r.oracle
	if b.sick.Load() {
		return ownership.Reply{Status: http.StatusServiceUnavailable}, nil
	}
	d := o.begin(b.p, h)
	b.mu.Lock()
	took := time.Duration(b.rng.Int64N(int64(5*time.Millisecond) + b.slow.Load()))
	b.mu.Unlock()
	if !doze(ctx, took) || b.p.dead() {
		o.finish(d, false)
		return ownership.Reply{}, bot.ErrTimeout
	}
	o.finish(d, true)
	if h.App == appHosted && (h.Event == ownership.EventIncoming || h.Event == ownership.EventAdopted && !h.Deadline.IsZero()) {
		return ownership.Reply{Status: http.StatusOK, Body: []byte(`{"answer":` + string(answerWith) + `}`)}, nil
	}
	return ownership.Reply{Status: http.StatusOK}, nil
}

// Health implements bot.Reporter.
func (b *fakeBot) Health(context.Context) (bot.Report, error) {
	if b.sick.Load() {
		return bot.Report{}, bot.ErrUnreachable
	}
	return bot.Report{}, nil
}
