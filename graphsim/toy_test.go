package graphsim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// toy is a well-behaved router of a few nodes that share one memory, so that
// the simulator can be tested without Tandem. Its bugs are planted one by one.
type toy struct {
	t     *testing.T
	cloud *Cloud
	nodes []*toyNode
	bug   string
	count atomic.Int64
	token string

	client *http.Client

	mu    sync.Mutex
	calls map[string]*toyCall
	late  sync.WaitGroup

	stop chan struct{} // of a toy that stands still: closed when it goes on
	rang atomic.Int64  // requests that came meanwhile
}

type toyNode struct {
	id, region string
	server     *httptest.Server
}

type toyCall struct {
	mu       sync.Mutex
	owner    *toyNode
	replies  map[string]reply
	answered bool
	held     func()
}

// startToy starts two regions of two nodes and a cloud that posts to them.
func startToy(t *testing.T, bug string, cfg Config) (*Cloud, *toy) {
	t.Helper()
	toy := &toy{t: t, bug: bug, calls: map[string]*toyCall{}, client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(toy.client.CloseIdleConnections)
	t.Cleanup(toy.late.Wait) // after the servers, whose requests start answers
	cfg.RegionURLs = map[string]string{"emea": "http://emea.bot.test", "amer": "http://amer.bot.test/base"}
	for _, id := range []string{"emea-1", "emea-2", "amer-1", "amer-2"} {
		n := &toyNode{id: id, region: id[:4]}
		n.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { toy.serve(n, w, r) }))
		t.Cleanup(n.server.Close)
		toy.nodes = append(toy.nodes, n)
		cfg.Targets = append(cfg.Targets, Target{Region: n.region, Node: id, URL: n.server.URL})
	}
	cloud, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	toy.cloud = cloud
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {cloud.cfg.Apps[0].ID}, "client_secret": {"secret"}}
	resp, err := toy.client.PostForm(cloud.TokenURL(), form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var grant struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&grant); err != nil {
		t.Fatal(err)
	}
	toy.token = grant.AccessToken
	return cloud, toy
}

// on reports whether the planted bug strikes now: each nth time.
func (y *toy) on(bug string, nth int64) bool { return y.bug == bug && y.count.Add(1)%nth == 0 }

func (y *toy) serve(n *toyNode, w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	var in struct {
		CallState string
		Value     []map[string]any
	}
	if json.Unmarshal(body, &in) != nil || in.Value == nil && in.CallState == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if in.Value == nil {
		w.WriteHeader(map[bool]int{true: http.StatusOK, false: http.StatusNoContent}[y.bug == "no handshake"])
		return
	}
	if y.stop != nil {
		y.rang.Add(1)
		<-y.stop
	}
	if y.bug == "redirects mid-call" && strings.HasSuffix(r.URL.Path, "/1") && r.URL.Query().Get("h") == "" {
		http.Redirect(w, r, y.other(n).server.URL+"/api/calls/any?h=1", http.StatusTemporaryRedirect)
		return
	}
	out := reply{status: http.StatusAccepted}
	for _, item := range in.Value {
		resource, _ := item["resource"].(string)
		if resource == "" {
			resource, _ = item["resourceUrl"].(string)
		}
		_, after, _ := strings.Cut(resource, "/calls/")
		id, under, _ := strings.Cut(after, "/")
		data, _ := item["resourceData"].(map[string]any)
		state, _ := data["state"].(string)
		event := "update"
		if strings.EqualFold(item["changeType"].(string), "created") && under == "" && strings.EqualFold(state, "incoming") {
			event = "incoming"
			if to := y.elsewhere(n, normal(id), data, r); to != "" {
				http.Redirect(w, r, to, http.StatusFound)
				return
			}
		}
		if got := y.hand(normal(id), event, r.Header, body); got.status != http.StatusAccepted {
			out = got
		}
	}
	if y.on("errors", 4) {
		out = reply{status: http.StatusInternalServerError}
	}
	w.WriteHeader(out.status)
	_, _ = w.Write([]byte(out.body))
}

// elsewhere returns the Location when the first notification belongs to another
// region or node.
func (y *toy) elsewhere(n *toyNode, id string, data map[string]any, r *http.Request) string {
	source, _ := data["source"].(map[string]any)
	home, _ := source["region"].(string)
	base := y.cloud.cfg.RegionURLs[home]
	switch {
	case y.bug == "loops":
		return n.server.URL + "/api/calls?again=" + r.URL.Query().Get("again") + "x"
	case y.on("open redirect", 5):
		return "http://127.0.0.1:1/evil"
	case y.on("redirects to itself", 5) && r.URL.Query().Get("h") == "":
		return n.server.URL + "/api/calls?h=1"
	case home != n.region:
		return base + "/api/calls?h=1"
	}
	owner := y.find(id, n.region).owner
	if owner == n || strings.Count(r.URL.Path, "/") > 2 {
		return ""
	}
	if y.bug == "two node hops" && r.URL.Query().Get("h") != "2" {
		return y.other(owner).server.URL + "/api/calls?h=2"
	}
	return owner.server.URL + "/api/calls/" + n.region + "/7/1/ref?h=1"
}

func (y *toy) find(id, region string) *toyCall {
	y.mu.Lock()
	defer y.mu.Unlock()
	c, ok := y.calls[id]
	if !ok || c.owner == nil { // an end that overtook its call made it, without an owner
		var near []*toyNode
		for _, n := range y.nodes {
			if n.region == region {
				near = append(near, n)
			}
		}
		h := fnv.New32a()
		h.Write([]byte(id))
		c = &toyCall{replies: map[string]reply{}}
		if len(near) > 0 {
			c.owner = near[h.Sum32()%uint32(len(near))]
		}
		y.calls[id] = c
	}
	return c
}

func (y *toy) other(n *toyNode) *toyNode {
	for _, o := range y.nodes {
		if o != n && o.region == n.region {
			return o
		}
	}
	return n
}

// hand hands one notification to the owner's bot, once, in order.
func (y *toy) hand(id, event string, header http.Header, body []byte) reply {
	c := y.find(id, "")
	if c.owner == nil {
		return reply{status: http.StatusAccepted} // the end of a call that nobody has seen
	}
	key := header.Get("X-Microsoft-Skype-Message-ID")
	if event == "incoming" {
		key = event
	}
	if y.bug != "overlaps" || event == "incoming" {
		c.mu.Lock()
		defer c.mu.Unlock()
		if old, ok := c.replies[key]; ok && y.bug != "handles twice" {
			return old
		}
	}
	owner, send := c.owner, body
	switch {
	case event == "incoming":
	case y.on("drops", 5):
		return reply{status: http.StatusAccepted}
	case y.on("wrong node", 5):
		owner = y.other(owner)
	case y.on("loses the body", 5):
		send = nil
	case y.bug == "reorders" && c.held == nil && len(c.replies) == 1:
		c.held = func() { y.bot(owner, id, event, header, body) }
		c.replies[key] = reply{status: http.StatusAccepted}
		return c.replies[key]
	}
	got := y.bot(owner, id, event, header, send)
	if held := c.held; held != nil {
		c.held = func() {}
		held()
	}
	if y.bug == "bare 202" {
		got = reply{status: http.StatusAccepted}
	}
	if got.status/100 == 2 && y.bug != "overlaps" {
		c.replies[key] = got
	}
	if event == "incoming" && y.cloud.cfg.Answering == AnswerByRouter && !c.answered {
		c.answered = true
		y.answer(id, owner)
	}
	return got
}

func (y *toy) bot(owner *toyNode, id, event string, header http.Header, body []byte) reply {
	req, _ := http.NewRequest(http.MethodPost, y.cloud.Bot(owner.id).URL, bytes.NewReader(body))
	req.Header = maps.Clone(header)
	req.Header.Set("Tandem-Event", event)
	req.Header.Set("Tandem-Call", id)
	req.Header.Set("Tandem-Partition", "7")
	epoch := "1"
	if y.on("past epoch", 5) {
		epoch = "0"
	}
	req.Header.Set("Tandem-Epoch", epoch)
	req.Header.Set("Tandem-Callback-Uri", y.callback(owner, 1))
	resp, err := y.client.Do(req)
	if err != nil {
		return reply{status: http.StatusServiceUnavailable}
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, body: string(text)}
}

func (y *toy) callback(owner *toyNode, ref int) string {
	return fmt.Sprintf("%s/api/calls/%s/7/1/%d?s=sig", y.cloud.cfg.RegionURLs[owner.region], owner.region, ref)
}

// answer answers by the calls API, again until it is heard.
func (y *toy) answer(id string, owner *toyNode) {
	send := func(ref int) {
		defer y.late.Done()
		for range 20 {
			body := fmt.Sprintf(`{"callbackUri":%q,"acceptedModalities":["audio"],"mediaConfig":{}}`, y.callback(owner, ref))
			req, _ := http.NewRequest(http.MethodPost, y.cloud.GraphURL()+"/communications/calls/"+id+"/microsoft.graph.answer", strings.NewReader(body))
			req.Header.Set("Authorization", "Bearer "+y.token)
			resp, err := y.client.Do(req)
			if err != nil {
				continue
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusTooManyRequests {
				return
			}
		}
	}
	y.late.Add(1)
	switch y.bug {
	case "answers late":
		time.AfterFunc(y.cloud.cfg.Timings.Clock+20*time.Millisecond, func() { send(1) })
	case "never answers":
		y.late.Done()
	case "answers twice":
		y.late.Add(1)
		send(1)
		send(2)
	default:
		send(1)
	}
}
