package graphsim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// joinReply is what the sample bot answers to a participant who joins.
const joinReply = "#microsoft.graph.acceptJoinResponse"

// A Bot is the sample bot beside one node. It speaks Tandem's bot door: POST
// with Tandem-* headers, GET for health; and it tells the oracle what it is
// handed.
type Bot struct {
	cloud     *Cloud
	node      string
	URL       string // for bot.url
	HealthURL string // for bot.health_url

	mu       sync.Mutex
	sick     bool
	draining bool
	live     map[string]bool
	work     time.Duration
	version  string
	fails    float64
	code     string
}

// Bot returns the bot beside a node; it is made when first asked for.
func (c *Cloud) Bot(node string) *Bot {
	c.botsMu.Lock()
	defer c.botsMu.Unlock()
	b, ok := c.bots[node]
	if !ok {
		url := c.base + "/bots/" + node + "/"
		b = &Bot{cloud: c, node: node, URL: url, HealthURL: url + "health", live: map[string]bool{}}
		c.bots[node] = b
	}
	return b
}

// SetSick makes the health answer 500, as a bot that has lost its media stack.
func (b *Bot) SetSick(sick bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sick = sick
}

// SetDraining makes the bot say that it wants no new calls.
func (b *Bot) SetDraining(draining bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draining = draining
}

// SetWork makes each hand-over take d.
func (b *Bot) SetWork(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.work = d
}

// SetVersion makes the health tell a version; empty: it tells none.
func (b *Bot) SetVersion(version string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.version = version
}

// SetFailing makes a share of the bot's new calls, 0 to 1, end right after their answer, as
// with a bot whose media fail. The end has the code code/subcode; empty: that of a call
// that ends as calls do.
func (b *Bot) SetFailing(share float64, code string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fails, b.code = share, code
}

// Live counts the calls that the bot believes it has.
func (b *Bot) Live() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.live)
}

func (c *Cloud) serveBots(mux *http.ServeMux) {
	mux.HandleFunc("GET /bots/{node}/health", func(w http.ResponseWriter, r *http.Request) {
		if c.trial != nil {
			c.trial.health(w, r)
			return
		}
		c.Bot(r.PathValue("node")).serveHealth(w)
	})
	mux.HandleFunc("POST /bots/{node}/", func(w http.ResponseWriter, r *http.Request) {
		c.Bot(r.PathValue("node")).serve(w, r)
	})
}

func (b *Bot) serveHealth(w http.ResponseWriter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sick {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	capacity := b.cloud.cfg.Capacity
	health := map[string]any{
		"load": min(1, float64(len(b.live))/float64(capacity)), "capacity": capacity, "draining": b.draining,
	}
	if b.version != "" {
		health["version"] = b.version
	}
	writeJSON(w, http.StatusOK, health)
}

func (b *Bot) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if secret := b.cloud.cfg.BotSecret; secret != "" && !fromRouter(secret, r.Header, body, time.Now()) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s := b.sighting(r.Header)
	refuse, known := b.cloud.ledger.arrived(s, body)
	if t := b.cloud.trial; t != nil {
		b.serveForeign(t, s, body, w, r)
		return
	}
	b.mu.Lock()
	work := b.work
	b.mu.Unlock()
	var (
		status int
		reply  string
	)
	switch {
	case wait(r.Context(), work) != nil:
		status = http.StatusServiceUnavailable
	case !known:
		status = http.StatusNotFound
	case refuse:
		status = http.StatusServiceUnavailable
	default:
		status, reply = b.handle(s, r.Header)
	}
	b.cloud.ledger.done(s, status)
	b.cloud.watchers.tell(s.call, b.node, "bot of "+b.node, b.cloud.ledger.named(s))
	if reply != "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(reply)) // a router that left has lost the reply, which the oracle sees
}

func (b *Bot) sighting(h http.Header) *sighting {
	partition, _ := strconv.ParseUint(h.Get("Tandem-Partition"), 10, 32) // absent: 0
	epoch, _ := strconv.ParseUint(h.Get("Tandem-Epoch"), 10, 64)         // absent: 0
	return &sighting{
		node: b.node, event: h.Get("Tandem-Event"), call: normal(h.Get("Tandem-Call")),
		message:   h.Get("X-Microsoft-Skype-Message-ID"),
		partition: partition, epoch: epoch, callback: h.Get("Tandem-Callback-Uri"),
	}
}

// handle is what the bot does with a hand-over: its response's status and body.
func (b *Bot) handle(s *sighting, h http.Header) (int, string) {
	c := b.cloud
	k, ok := c.ledger.find(s.call)
	if !ok {
		return http.StatusAccepted, ""
	}
	b.mu.Lock()
	if s.notice != nil && s.notice.what == "terminated" {
		delete(b.live, s.call)
	} else if s.event != "update" {
		b.live[s.call] = true
	}
	share, code := b.fails, b.code
	b.mu.Unlock()
	if share > 0 && s.event == "incoming" && c.dice.chance(share) {
		c.ledger.count(func(*ledger) { k.die(code) })
	}
	switch {
	case s.event == "incoming":
		return b.incoming(k, s, h)
	case s.notice != nil && s.notice.wantBody != "":
		return http.StatusOK, `{"@odata.type":"` + joinReply + `"}`
	}
	return http.StatusAccepted, ""
}

func (b *Bot) incoming(k *call, s *sighting, h http.Header) (int, string) {
	c := b.cloud
	reject := c.cfg.Answering != AnswerByRouter && k.dice.chance(c.cfg.Rates.Rejects)
	switch {
	case c.cfg.Answering == AnswerByReply && reject:
		return http.StatusOK, `{"reject":{"reason":"busy"}}`
	case c.cfg.Answering == AnswerByReply:
		return http.StatusOK, `{"answer":{"acceptedModalities":["audio"],"mediaConfig":` + serviceMedia + `}}`
	case c.cfg.Answering == AnswerByBot:
		verb, body := "answer", fmt.Sprintf(`{"callbackUri":%q,"acceptedModalities":["audio"],"mediaConfig":%s}`, s.callback, serviceMedia)
		if reject {
			verb, body = "reject", fmt.Sprintf(`{"reason":"busy","callbackUri":%q}`, s.callback)
		}
		epoch := h.Get("Tandem-Epoch")
		c.tasks.run(func() { b.act(k, verb, body, epoch) })
	}
	return http.StatusAccepted, ""
}

const serviceMedia = `{"@odata.type":"#microsoft.graph.serviceHostedMediaConfig"}`

// act calls the calls API as a bot would, again while the clock runs.
func (b *Bot) act(k *call, verb, body, epoch string) {
	c := b.cloud
	ctx, cancel := context.WithTimeout(c.ctx, k.clock)
	defer cancel()
	url := c.GraphURL() + "/communications/calls/" + k.raw + "/" + verb
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(body)))
		if err != nil {
			c.cfg.Logger.Error("the bot answers", "err", err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+c.bearers.own(k.app))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Tandem-Epoch", epoch)
		resp, err := c.client.Do(req)
		if err == nil {
			_ = resp.Body.Close() // nothing is written by closing a response
			if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
				return
			}
		}
		if wait(ctx, 50*time.Millisecond) != nil {
			return
		}
	}
}
