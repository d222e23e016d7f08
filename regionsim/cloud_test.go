package regionsim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

const (
	appMovable ownership.AppID = "0efc74f7-41c3-47a4-8775-7259bfef4241" // answered by the router
	appHosted  ownership.AppID = "1efc74f7-41c3-47a4-8775-7259bfef4242" // by the bot, with media of its own
	tenant                     = "6e1fc0e1-a55f-4277-89f4-aae9486d40a8"
	cloudHost                  = "cloud"
)

var answerWith = json.RawMessage(`{"acceptedModalities":["audio"],"mediaConfig":{}}`)

// The cloud's patience.
const (
	answerClock = 15 * time.Second // until somebody has answered a call
	patience    = 25 * time.Second // with one notification
	attempt     = 6 * time.Second  // with one request
)

// cloud is the calling cloud: it makes calls, tells of them to any node, again
// until somebody takes it, and is the other side of Graph.
type cloud struct {
	r    *region
	work sync.WaitGroup

	mu    sync.Mutex
	rng   *rand.Rand
	calls map[ownership.CallID]*call
	count struct{ calls, answered, unanswered, told, repeated, untold int }
	last  map[string]int // what the last request of an untold notification got
}

type call struct {
	id       ownership.CallID
	app      ownership.AppID
	rng      *rand.Rand
	callback string
	answered chan struct{} // closed when somebody has
	over     bool
	ending   bool // the cloud has begun to tell of its end
}

func newCloud(r *region, seed uint64) *cloud {
	return &cloud{r: r, rng: rand.New(rand.NewPCG(seed, 3)), calls: map[ownership.CallID]*call{}, last: map[string]int{}}
}

// dial makes calls until ctx ends.
func (c *cloud) dial(ctx context.Context, every time.Duration) {
	for ctx.Err() == nil {
		k := c.newCall()
		pause := every/2 + time.Duration(k.rng.Int64N(int64(every)))
		c.work.Go(func() { c.live(ctx, k) })
		doze(ctx, pause)
	}
}

func (c *cloud) newCall() *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.calls++
	k := &call{
		id: ownership.CallID(fmt.Sprintf("%032x", c.count.calls)), app: appMovable,
		rng: rand.New(rand.NewPCG(c.rng.Uint64(), 4)), answered: make(chan struct{}),
	}
	if k.rng.IntN(3) == 0 {
		k.app = appHosted
	}
	c.calls[k.id] = k
	return k
}

// open lists the calls that are not over.
func (c *cloud) open() []ownership.CallID {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []ownership.CallID
	for id, k := range c.calls {
		if !k.over {
			out = append(out, id)
		}
	}
	return out
}

// live is a call from its first notification to its end.
func (c *cloud) live(ctx context.Context, k *call) {
	clock, cancel := context.WithTimeout(ctx, answerClock)
	defer cancel()
	first := c.tell(clock, k, regionURL+hookPath, "created", "incoming", 0)
	select {
	case <-k.answered:
	case <-clock.Done():
		c.mu.Lock()
		k.over = true
		if first && ctx.Err() == nil {
			c.count.unanswered++
		}
		c.mu.Unlock()
		return
	}
	last := 1 + k.rng.IntN(8)
	for n := 1; n <= last; n++ {
		if !doze(ctx, time.Duration(k.rng.Int64N(int64(4*time.Second)))) {
			return
		}
		change, state := "updated", "established"
		if n == last {
			change, state = "deleted", "terminated"
			c.mu.Lock()
			k.ending = true
			c.mu.Unlock()
		}
		c.mu.Lock()
		to := k.callback
		c.mu.Unlock()
		told, cancel := context.WithTimeout(ctx, patience)
		c.tell(told, k, to, change, state, n)
		cancel()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k.over = true
}

// tell sends one notification until a node takes it, some of them twice at once.
func (c *cloud) tell(ctx context.Context, k *call, to, change, state string, n int) bool {
	body := notification(k.id, change, state)
	message := fmt.Sprintf("%s-%d", k.id, n)
	if k.rng.IntN(10) == 0 {
		seed := k.rng.Uint64()
		c.work.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 5))
			if doze(ctx, time.Duration(rng.Int64N(int64(200*time.Millisecond)))) {
				c.post(ctx, rng, to, k.app, message, body)
			}
		})
	}
	last := "nothing"
	for try := 0; ctx.Err() == nil; try++ {
		status, why := c.post(ctx, k.rng, to, k.app, message, body)
		if status/100 == 2 {
			c.mu.Lock()
			c.count.told++
			c.count.repeated += min(try, 1)
			settled := k.over || k.ending && change != "deleted"
			c.mu.Unlock()
			if !settled {
				c.r.oracle.taken(k, n, change)
			}
			return true
		}
		if ctx.Err() == nil {
			last = why
		}
		doze(ctx, 100*time.Millisecond+time.Duration(k.rng.Int64N(int64(600*time.Millisecond))))
	}
	c.r.oracle.givenUp(message)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.untold++
	c.last[last]++
	return false
}

func notification(id ownership.CallID, change, state string) string {
	return fmt.Sprintf(`{"@odata.type":"#microsoft.graph.commsNotifications","value":[{"@odata.type":"#microsoft.graph.commsNotification",`+
		`"changeType":%q,"resourceUrl":"/communications/calls/%s","resourceData":{"@odata.type":"#microsoft.graph.call","state":%q}}]}`, change, id, state)
}

// post makes one request at some node, and follows a redirect to another. 0: no
// answer came. why is the code of a refusal.
func (c *cloud) post(ctx context.Context, rng *rand.Rand, to string, app ownership.AppID, message, body string) (status int, why string) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	var at *process
	for range 3 {
		u, err := url.Parse(to)
		if err != nil {
			panic(err) // the router made it
		}
		if id, _, _ := strings.Cut(u.Host, "."); strings.HasPrefix(regionURL, "https://"+id+".") {
			at = c.r.anyProcess(rng)
		} else {
			at = c.r.processOf(ownership.NodeID(id))
		}
		if at == nil {
			return 0, "nobody there"
		}
		res := c.request(ctx, at, u, app, message, body)
		switch {
		case res == nil:
			return 0, "no answer"
		case res.Code/100 != 3:
			var refusal struct{ Error struct{ Code string } }
			_ = json.Unmarshal(res.Body.Bytes(), &refusal) // a bot's own answer is none
			return res.Code, fmt.Sprint(res.Code, " ", refusal.Error.Code)
		}
		to = res.Header().Get("Location")
	}
	return 0, "redirects"
}

func (c *cloud) request(ctx context.Context, at *process, u *url.URL, app ownership.AppID, message, body string) *httptest.ResponseRecorder {
	select {
	case <-at.opened:
	default:
		return nil
	}
	if !c.r.net.reach(way{cloudHost, at.host}) || at.dead() {
		return nil
	}
	done := make(chan *httptest.ResponseRecorder, 1)
	c.work.Go(func() {
		req := httptest.NewRequestWithContext(ctx, http.MethodPost, u.RequestURI(), io.NopCloser(bytes.NewReader([]byte(body))))
		req.ContentLength = int64(len(body))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", string(app))
		req.Header.Set("X-Microsoft-Skype-Message-Id", message)
		w := httptest.NewRecorder()
		at.door.ServeHTTP(w, req)
		done <- w
	})
	select {
	case w := <-done:
		if !c.r.net.reach(way{at.host, cloudHost}) || at.dead() {
			return nil
		}
		return w
	case <-at.card.dead:
	case <-ctx.Done():
	}
	return nil
}

// doze sleeps; false: ctx has ended.
func doze(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// graphDoor is Graph as one process sees it.
type graphDoor struct{ p *process }

// act takes one action: the permit is asked, and the request arrives a little later.
func (g graphDoor) act(ctx context.Context, op, raw string, may graph.Permit, do func(*call) error) error {
	fail := func(kind error, maybe bool) error {
		return &graph.CallError{Op: op, Call: raw, Kind: kind, Maybe: maybe, Attempts: 1}
	}
	for {
		if g.p.dead() {
			<-ctx.Done()
			return fail(graph.ErrRetryable, true)
		}
		if may.Check != nil {
			if err := may.Check(); err != nil {
				return err
			}
		}
		if g.p.r.net.reach(way{g.p.host, cloudHost}) && !g.p.dead() {
			c := g.p.r.cloud
			c.mu.Lock()
			k := c.calls[ownership.CallID(raw)]
			var result error
			switch {
			case k == nil || k.over:
				result = fail(graph.ErrGone, false)
			default:
				result = do(k)
			}
			c.mu.Unlock()
			if result == nil && may.Epoch != 0 {
				g.p.r.oracle.acted(g.p, k.id, ownership.Epoch(may.Epoch), op)
			}
			if g.p.r.net.reach(way{cloudHost, g.p.host}) {
				return result
			}
		}
		if !doze(ctx, 300*time.Millisecond) {
			return fail(graph.ErrRetryable, true)
		}
	}
}

// Answer implements bot.Graph.
func (g graphDoor) Answer(ctx context.Context, raw string, a graph.AnswerPayload, may graph.Permit) error {
	return g.act(ctx, "answer", raw, may, func(k *call) error {
		select {
		case <-k.answered:
			if k.callback == a.CallbackURI {
				return nil // the very same request once more
			}
			return &graph.CallError{Op: "answer", Call: raw, Kind: graph.ErrRefused, Status: http.StatusConflict}
		default:
		}
		k.callback = a.CallbackURI
		g.p.r.cloud.count.answered++
		close(k.answered)
		return nil
	})
}

// Reject implements bot.Graph.
func (g graphDoor) Reject(ctx context.Context, raw string, _ graph.RejectPayload, may graph.Permit) error {
	return g.act(ctx, "reject", raw, may, func(k *call) error { k.over = true; return nil })
}

// KeepAlive implements bot.Graph.
func (g graphDoor) KeepAlive(ctx context.Context, raw string, may graph.Permit) error {
	return g.act(ctx, "keepAlive", raw, may, func(*call) error { return nil })
}

// Get implements bot.Graph.
func (g graphDoor) Get(ctx context.Context, raw string) (remote graph.Remote, err error) {
	err = g.act(ctx, "get", raw, graph.Permit{}, func(k *call) error {
		remote = graph.Remote{State: "incoming"}
		select {
		case <-k.answered:
			remote = graph.Remote{State: "established", CallbackURI: k.callback}
		default:
		}
		return nil
	})
	return remote, err
}
