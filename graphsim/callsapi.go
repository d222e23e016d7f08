package graphsim

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// callsDoor is where bots act on calls.
type callsDoor struct{ *Cloud }

// callsAPI is the part of Graph's cloud communications API that a bot uses
// while a call lives (call-answer, call-reject, call-keepalive, call-delete).
func (c *callsDoor) callsAPI(mux *http.ServeMux) {
	const calls = graphPath + "/communications/calls"
	for pattern, work := range map[string]func(*call, *http.Request, []byte) (int, any){
		"POST /{id}/answer":    c.answer,
		"POST /{id}/reject":    c.reject,
		"POST /{id}/redirect":  c.reject, // the caller is sent elsewhere: for this bot the call is over
		"POST /{id}/keepAlive": c.keepAlive,
		"DELETE /{id}":         c.remove,
		"GET /{id}":            c.show,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		handler := c.faults.around(EndpointCalls, c.authorised(work))
		mux.HandleFunc(method+" "+calls+path, handler)
		if verb, ok := strings.CutPrefix(path, "/{id}/"); ok { // the SDK's spelling
			mux.HandleFunc(method+" "+calls+"/{id}/microsoft.graph."+verb, handler)
		}
	}
	mux.HandleFunc("POST "+calls, c.faults.around(EndpointCalls, c.dial))
	mux.HandleFunc("GET "+graphPath+"/communications/callRecords", c.faults.around(EndpointCalls, c.listRecords))
}

// authorised checks the bearer and finds the call; a call that is over is 404.
// Now and then it fails before the work, or loses the response after it.
func (c *callsDoor) authorised(work func(*call, *http.Request, []byte) (int, any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		app, ok := c.bearers.known(r.Header.Get("Authorization"))
		if !ok {
			graphError(w, http.StatusUnauthorized, "InvalidAuthenticationToken")
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			graphError(w, http.StatusBadRequest, "BadRequest")
			return
		}
		k, ok := c.ledger.find(r.PathValue("id"))
		if !ok || k.app.ID != app.ID {
			graphError(w, http.StatusNotFound, "NotFound")
			return
		}
		fails := c.dice.chance(c.cfg.Rates.CallsFail)
		switch how := c.dice.n(3); {
		case fails && how == 0:
			w.Header().Set("Retry-After", "1")
			graphError(w, http.StatusTooManyRequests, "TooManyRequests")
			return
		case fails && how == 1:
			graphError(w, http.StatusServiceUnavailable, "ServiceUnavailable")
			return
		}
		status, answer := work(k, r, body)
		if fails {
			panic(http.ErrAbortHandler) // done, but nobody is told
		}
		switch {
		case status >= 400:
			graphError(w, status, http.StatusText(status))
		case answer != nil:
			writeJSON(w, status, answer)
		default:
			w.WriteHeader(status)
		}
	}
}

func graphError(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, map[string]any{"error": map[string]string{"code": code, "message": code}})
}

// record notes an action under the ledger's lock, with its epoch.
func (c *callsDoor) record(k *call, r *http.Request, verb, callback string) *action {
	a := &action{at: time.Now(), verb: verb, callback: callback}
	if callback != "" {
		a.region, a.part, a.epoch = readCallback(callback, c.cfg.WebhookPath)
	}
	if epoch, err := strconv.ParseUint(r.Header.Get("Tandem-Epoch"), 10, 64); err == nil {
		a.epoch = epoch
	}
	for _, s := range k.seen {
		if a.epoch != 0 && s.epoch > a.epoch {
			a.stale = "with the past epoch " + strconv.FormatUint(a.epoch, 10)
		}
	}
	k.actions = append(k.actions, a)
	c.ledger.next()
	return a
}

func (c *callsDoor) answer(k *call, r *http.Request, body []byte) (int, any) {
	var sent struct {
		CallbackURI        string          `json:"callbackUri"`
		AcceptedModalities []string        `json:"acceptedModalities"`
		MediaConfig        json.RawMessage `json:"mediaConfig"`
	}
	if json.Unmarshal(body, &sent) != nil || sent.CallbackURI == "" || len(sent.AcceptedModalities) == 0 || len(sent.MediaConfig) == 0 {
		return http.StatusBadRequest, nil
	}
	to := c.places.resolve(sent.CallbackURI, k.dice)
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	a := c.record(k, r, "answer", sent.CallbackURI)
	a.status = c.judgeAnswer(k, a)
	if a.status == http.StatusAccepted && k.answeredAt.IsZero() {
		k.answeredAt, k.callback, k.home = a.at, sent.CallbackURI, to.region
		close(k.answered)
		c.watchers.tell(k.id, "", "cloud", "answered in "+a.at.Sub(k.firstPost).Round(time.Millisecond).String())
	}
	return a.status, nil
}

// judgeAnswer decides about an answer: the first one in time wins, its repeat
// with the same callback URI is harmless, any other is refused.
func (c *callsDoor) judgeAnswer(k *call, a *action) int {
	switch {
	case k.outgoing || !k.rejectedAt.IsZero():
		return http.StatusConflict
	case !k.answeredAt.IsZero() && a.callback == k.callback:
		return http.StatusAccepted
	case !k.answeredAt.IsZero():
		region, _, epoch := readCallback(k.callback, c.cfg.WebhookPath)
		if a.region == region && a.epoch <= epoch {
			a.stale = "with a second callback URI in one epoch"
		}
		return http.StatusConflict
	case a.at.After(k.firstPost.Add(k.clock)):
		if k.lateAnswer.IsZero() {
			k.lateAnswer = a.at
		}
		return http.StatusNotFound
	case k.over:
		return http.StatusNotFound
	}
	return http.StatusAccepted
}

func (c *callsDoor) reject(k *call, r *http.Request, body []byte) (int, any) {
	var sent struct {
		CallbackURI string `json:"callbackUri"`
	}
	if len(body) > 0 && json.Unmarshal(body, &sent) != nil {
		return http.StatusBadRequest, nil
	}
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	a := c.record(k, r, "reject", sent.CallbackURI)
	switch {
	case !k.rejectedAt.IsZero():
		a.status = http.StatusAccepted
	case k.over || k.outgoing || !k.answeredAt.IsZero() || a.at.After(k.firstPost.Add(k.clock)):
		a.status = http.StatusNotFound
	default:
		a.status = http.StatusAccepted
		k.rejectedAt, k.callback = a.at, sent.CallbackURI
		close(k.answered)
		c.watchers.tell(k.id, "", "cloud", "rejected")
	}
	return a.status, nil
}

func (c *callsDoor) keepAlive(k *call, r *http.Request, _ []byte) (int, any) {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	a := c.record(k, r, "keepAlive", "")
	a.status = http.StatusOK
	if k.over || !k.settled() {
		a.status = http.StatusNotFound
		return a.status, nil
	}
	k.keptAt = a.at
	return a.status, nil
}

func (c *callsDoor) remove(k *call, r *http.Request, _ []byte) (int, any) {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	a := c.record(k, r, "delete", "")
	if k.over || !k.settled() {
		a.status = http.StatusNotFound
		return a.status, nil
	}
	a.status = http.StatusNoContent
	select {
	case <-k.hangup:
	default:
		close(k.hangup)
	}
	return a.status, nil
}

func (c *callsDoor) show(k *call, r *http.Request, _ []byte) (int, any) {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	a := c.record(k, r, "get", "")
	a.status = http.StatusOK
	if k.over {
		a.status = http.StatusNotFound
		return a.status, nil
	}
	state := "established"
	if !k.settled() {
		state = "incoming"
	}
	found := map[string]any{"@odata.type": typePrefix + "call", "id": k.raw, "state": state, "callChainId": k.chain}
	if k.callback != "" {
		found["callbackUri"] = k.callback // as in call-get of Graph v1.0: the one of the answer that counts
	}
	return a.status, found
}

// dial starts an outgoing call: its first notification is an update for an id
// that no incoming notification ever named.
func (c *callsDoor) dial(w http.ResponseWriter, r *http.Request) {
	app, ok := c.bearers.known(r.Header.Get("Authorization"))
	if !ok {
		graphError(w, http.StatusUnauthorized, "InvalidAuthenticationToken")
		return
	}
	var sent struct {
		CallbackURI string `json:"callbackUri"`
		TenantID    string `json:"tenantId"`
	}
	if json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&sent) != nil || sent.CallbackURI == "" {
		graphError(w, http.StatusBadRequest, "BadRequest")
		return
	}
	k := c.newCall(draft{app: app, tenant: sent.TenantID, outgoing: true})
	k.callback = sent.CallbackURI
	k.home = c.places.resolve(sent.CallbackURI, k.dice).region
	k.answeredAt = time.Now()
	c.ledger.begin(k)
	if !c.tasks.run(func() { c.live(c.ctx, k) }) {
		graphError(w, http.StatusServiceUnavailable, "ServiceUnavailable")
		return
	}
	writeJSON(w, http.StatusCreated, map[string]any{"@odata.type": typePrefix + "call", "id": k.raw, "state": "establishing", "callbackUri": sent.CallbackURI})
}
