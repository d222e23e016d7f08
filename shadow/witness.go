package shadow

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/graph"
	"tandem/token"
)

// Tokens verifies the bearer token in the headers of a request; the error is a
// *token.Refusal.
type Tokens interface {
	Verify(ctx context.Context, h http.Header) (token.Claims, error)
}

// Home tells the region that a new call belongs to by the region rules, from its token, its
// headers and what the notification says of it, which may be nil.
type Home func(token.Claims, http.Header, *graph.Call) string

// copied is what the proxy takes along of one request.
type copied struct {
	began, over time.Time
	header      http.Header // with the token: it goes no further than the witness
	body        []byte
	whole       bool
	tooLong     bool
	status      int
	instance    string
}

const (
	// mostWaiting bounds the requests that wait to be judged.
	mostWaiting = 4096
	// keyPatience bounds the wait for a key that nobody knows yet.
	keyPatience = 250 * time.Millisecond
	// mostTimes is how many response times are kept.
	mostTimes = 4096
)

// witness judges copies, one after the other, off the requests' path.
type witness struct {
	tokens  Tokens
	home    Home // may be nil
	log     *slog.Logger
	now     func() time.Time
	held    held
	queue   chan copied
	dropped atomic.Int64
	crashed atomic.Int64

	mu    sync.Mutex
	judge *Judge
	times []time.Duration // ring of the last response times
	next  int
}

func newWitness(tokens Tokens, home Home, log *slog.Logger, now func() time.Time) *witness {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	return &witness{tokens: tokens, home: home, log: log, now: now, queue: make(chan copied, mostWaiting), judge: NewJudge(veil(secret[:]))}
}

// veil gives calls names of which nobody can tell whose they are, as a capture does.
func veil(secret []byte) func(string) string {
	return func(id string) string {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id))
		return "h." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12])
	}
}

// tell never waits.
func (w *witness) tell(c copied) {
	select {
	case w.queue <- c:
	default:
		w.drop(c)
	}
}

func (w *witness) drop(c copied) {
	w.dropped.Add(1)
	w.held.letGo(c.body)
}

// run judges until the context ends, and then what still waits.
func (w *witness) run(ctx context.Context) {
	for {
		select {
		case c := <-w.queue:
			w.hear(ctx, c)
			continue
		case <-ctx.Done():
		}
		for {
			select {
			case c := <-w.queue:
				w.hear(ctx, c)
			default:
				return
			}
		}
	}
}

// hear judges one copy. One that judging crashes on is counted, and nothing else.
func (w *witness) hear(ctx context.Context, c copied) {
	defer w.held.letGo(c.body)
	defer w.recover("judging")
	x := w.read(ctx, c)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judge.See(x)
	if len(w.times) < mostTimes {
		w.times = append(w.times, 0)
	}
	w.times[w.next] = c.over.Sub(c.began)
	w.next = (w.next + 1) % mostTimes
}

// recover counts a crash. What crashed is told without what it crashed on.
func (w *witness) recover(doing string) {
	if v := recover(); v != nil {
		if w.crashed.Add(1) == 1 {
			w.log.Error("the shadow crashed; requests are passed on all the same, and further crashes only counted", "while", doing, "kind", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
		}
	}
}

// read verifies the token and, if it is good, reads the body. Nothing is read before.
func (w *witness) read(ctx context.Context, c copied) Exchange {
	x := Exchange{Began: c.began, Over: c.over, Status: c.status, Instance: c.instance}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyPatience)
	defer cancel()
	who, err := w.tokens.Verify(ctx, c.header)
	if err != nil {
		var why *token.Refusal
		if !errors.As(err, &why) || why.Status >= http.StatusInternalServerError {
			return x // undecided
		}
		x.Reading, x.Refused = TokenRefused, string(why.Code)
		return x
	}
	switch {
	case c.tooLong:
		x.Reading = TooLarge
		return x
	case !c.whole:
		x.Reading = Cut
		return x
	}
	m, err := graph.Decode(c.body, graph.Limits{Addressed: true})
	m.Notifications = slices.DeleteFunc(m.Notifications, graph.Notification.IsJoinNotice)
	switch {
	case err != nil:
		x.Reading = Malformed
	case m.Kind == graph.Legacy:
		x.Reading = Handshake
	case len(m.Notifications) == 0:
		x.Reading = Nameless
	default:
		x.Reading, x.Message, x.Key = Notified, m, graph.MessageID(c.header, c.body)
		x.Homes = w.homes(who, c.header, m)
	}
	return x
}

// homes tells the regions of the new calls of a body.
func (w *witness) homes(who token.Claims, header http.Header, m graph.Message) (of map[string]string) {
	for i := range m.Notifications {
		if n := &m.Notifications[i]; n.Kind == graph.NewCall && w.home != nil {
			if of == nil {
				of = map[string]string{}
			}
			of[n.CallID] = w.home(who, header, n.Call)
		}
	}
	return of
}

// report judges what was seen until now.
func (w *witness) report() Report {
	w.mu.Lock()
	r := w.judge.Report(w.now())
	times := slices.Clone(w.times)
	w.mu.Unlock()
	r.Unjudged.Dropped, r.Unjudged.Crashed = w.dropped.Load(), w.crashed.Load()
	slices.Sort(times)
	if n := len(times); n > 0 {
		ms := func(i int) float64 { return float64(times[i]) / float64(time.Millisecond) }
		r.Traffic.ResponseMS = Quantiles{P50: ms(n / 2), P99: ms(n * 99 / 100), Max: ms(n - 1)}
	}
	return r
}
