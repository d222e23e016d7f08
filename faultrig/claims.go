package faultrig

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/anishathalye/porcupine"

	"tandem/admin/client"
	"tandem/graphsim"
	"tandem/ownership"
)

// claimants post first notifications for a few calls at a time to random nodes,
// read them back and end them, and record when they asked and what they heard.
type claimants struct {
	fleet *Fleet
	http  *http.Client
	begun time.Time
	held  atomic.Bool

	tokenMu sync.Mutex
	tokens  map[mix]token

	mu      sync.Mutex
	dice    *rand.Rand
	window  []*call
	history []porcupine.Operation
	acked   map[ownership.CallID]told
	ended   map[ownership.CallID]bool
	mixes   map[ownership.CallID]mix
	last    map[ownership.NodeID]time.Time // last time a new call was placed there
	claims  int                            // new calls that were acknowledged
}

// call is one call id that claimants use together.
type call struct {
	id      ownership.CallID
	uses    int
	unknown int // claims whose outcome nobody knows: few, or the check explodes
}

// Bounds of one call's history.
const (
	paceOfClaimant = 4 * time.Millisecond
	windowSize     = 6
	usesOfCall     = 24
	maxUnknown     = 3
)

func newClaimants(f *Fleet) *claimants {
	var conf *tls.Config
	if f.tls != nil {
		conf = f.tls.client
	}
	c := &claimants{
		fleet: f, begun: time.Now(), dice: rand.New(rand.NewPCG(f.opts.Seed, 7)),
		tokens: map[mix]token{}, mixes: map[ownership.CallID]mix{},
		acked: map[ownership.CallID]told{}, ended: map[ownership.CallID]bool{}, last: map[ownership.NodeID]time.Time{},
		http: &http.Client{
			Transport: &http.Transport{
				TLSClientConfig: conf, MaxIdleConnsPerHost: 32, IdleConnTimeout: 20 * time.Second,
				DialContext: (&net.Dialer{Timeout: time.Second}).DialContext,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	return c
}

// run claims with so many workers until ctx ends.
func (c *claimants) run(ctx context.Context, workers int) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if c.held.Load() {
					pause(ctx, 20*time.Millisecond)
					continue
				}
				rest := paceOfClaimant
				if !c.once(w) {
					rest = 20 * time.Millisecond
				}
				pause(ctx, rest)
			}
		})
	}
	wg.Wait()
}

// hold makes the claimants rest, or go on.
func (c *claimants) hold(still bool) { c.held.Store(still) }

// once does one operation; false when it was refused or lost.
func (c *claimants) once(worker int) bool {
	c.mu.Lock()
	k, verb := c.pickLocked()
	node := c.fleet.Nodes[c.dice.IntN(len(c.fleet.Nodes))]
	c.mu.Unlock()
	if !node.Up() && c.chance(0.9) { // now and then somebody still tries
		return true
	}
	return c.do(worker, k, verb, node)
}

func (c *claimants) chance(p float64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dice.Float64() < p
}

// pickLocked chooses a call and what to do with it; a call's last use ends it.
func (c *claimants) pickLocked() (*call, verb) {
	for len(c.window) < windowSize {
		k := &call{id: ownership.CallID(fmt.Sprintf("%016x%016x", c.dice.Uint64(), c.dice.Uint64()))}
		c.mixes[k.id] = c.mixLocked()
		c.window = append(c.window, k)
	}
	i := c.dice.IntN(len(c.window))
	k := c.window[i]
	k.uses++
	if k.uses >= usesOfCall || k.unknown >= maxUnknown {
		c.window = append(c.window[:i], c.window[i+1:]...)
		if c.dice.IntN(2) == 0 {
			return k, verbRelease
		}
		return k, verbRead
	}
	if k.uses > 1 && c.dice.IntN(5) < 2 {
		return k, verbRead
	}
	return k, verbClaim
}

func (c *claimants) do(worker int, k *call, verb verb, node *Node) bool {
	call := time.Since(c.begun)
	var out told
	var err error
	switch verb {
	case verbClaim:
		out, err = c.claim(node, k.id)
	case verbRead:
		out, err = c.read(node, k.id)
	default:
		out, err = c.release(node, k.id)
	}
	c.record(worker, k, verb, call, out, err)
	return err == nil
}

// errUnsent: the operation surely did not happen.
var errUnsent = errors.New("not sent")

func (c *claimants) record(worker int, k *call, verb verb, at time.Duration, out told, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	back := time.Since(c.begun)
	switch {
	case err == nil:
	case verb == verbRead, errors.Is(err, errUnsent):
		return // it changed nothing and told nothing
	default:
		out, back = told{said: saidUnknown}, math.MaxInt64
		k.unknown++
	}
	if err == nil && verb == verbClaim && out.said == saidOwner {
		if _, known := c.acked[k.id]; !known {
			c.acked[k.id] = out
			c.claims++
		}
	}
	if verb == verbRelease && out.said != saidNothing {
		c.ended[k.id] = true
		if err == nil {
			c.fleet.Desk.Ended(k.id)
		}
	}
	c.history = append(c.history, porcupine.Operation{
		ClientId: worker, Input: asked{verb, k.id}, Call: int64(at), Output: out, Return: int64(back),
	})
}

// token is a good one for one app and tenant.
type token struct {
	text   string
	minted time.Time
}

// bearer gives a good token, a new one now and then.
func (c *claimants) bearer(m mix) (string, error) {
	m.thread = ""
	c.tokenMu.Lock()
	defer c.tokenMu.Unlock()
	t := c.tokens[m]
	if t.text == "" || time.Since(t.minted) > 20*time.Second {
		var err error
		if t.text, err = c.fleet.Cloud.Mint(graphsim.TokenOptions{Audience: m.app, Tenant: m.tenant, Life: time.Hour}); err != nil {
			return "", err
		}
		t.minted = time.Now()
		c.tokens[m] = t
	}
	return t.text, nil
}

const incoming = `{"@odata.type":"#microsoft.graph.commsNotifications","value":[{"@odata.type":"#microsoft.graph.commsNotification",` +
	`"changeType":"created","resource":"/app/calls/%[1]s","resourceUrl":"/communications/calls/%[1]s","resourceData":` +
	`{"@odata.type":"#microsoft.graph.call","state":"incoming","direction":"incoming","id":"%[1]s",%[2]s"tenantId":"%[3]s"}}]}`

// claimPatience is longer than a node may take to say no (I8: a second).
const claimPatience = 4 * time.Second

// claim posts the first notification of a call to a node and reads the owner
// off the answer: the desk's own words, or the redirect's handle. It does not
// follow the redirect: the claim is done by then.
func (c *claimants) claim(node *Node, id ownership.CallID) (told, error) {
	ctx, cancel := context.WithTimeout(context.Background(), claimPatience)
	defer cancel()
	res, err := c.first(ctx, node, id)
	if err != nil {
		return told{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	switch {
	case err != nil:
		return told{}, err
	case res.StatusCode == http.StatusFound:
		return c.redirected(node, res.Header.Get("Location"), id)
	case res.StatusCode == http.StatusAccepted && len(body) == 0:
		return told{said: saidTaken}, nil
	case res.StatusCode == http.StatusOK:
		var g granted
		if err := json.Unmarshal(body, &g); err != nil {
			return told{}, err
		}
		c.placed(g.Node)
		return told{saidOwner, g.Partition, g.Epoch}, nil
	}
	return told{}, fmt.Errorf("claiming at %s: status %d: %s", node.ID, res.StatusCode, body)
}

// first posts the first notification of a call to a node.
func (c *claimants) first(ctx context.Context, node *Node, id ownership.CallID) (*http.Response, error) {
	m := c.mixOf(id)
	return c.post(ctx, m, "", node.Public+"/api/calls", m.incoming(id))
}

func (c *claimants) post(ctx context.Context, m mix, message, to, body string) (*http.Response, error) {
	bearer, err := c.bearer(m)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Content-Type", "application/json")
	if message != "" {
		req.Header.Set("X-Microsoft-Skype-Message-ID", message)
	}
	res, err := c.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errors.Join(errUnsent, err)
	}
	return res, err
}

// redirected reads …/api/calls/region/partition/epoch/ref off a Location.
func (c *claimants) redirected(node *Node, location string, id ownership.CallID) (told, error) {
	u, err := url.Parse(location)
	if err != nil {
		return told{}, err
	}
	parts := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
	if len(parts) != 6 || parts[5] != string(id) {
		return told{}, fmt.Errorf("claiming at %s: Location %q names no handle of the call", node.ID, u.Path)
	}
	part, err1 := strconv.ParseUint(parts[3], 10, 32)
	epoch, err2 := strconv.ParseUint(parts[4], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return told{}, err
	}
	out := told{saidOwner, ownership.PartitionID(part), ownership.Epoch(epoch)}
	for _, n := range c.fleet.all() {
		if u.Scheme+"://"+u.Host == n.Public {
			c.fleet.Desk.Owner(out.part, out.epoch, n.ID, "a redirect from "+string(node.ID))
			c.placed(n.ID)
			return out, nil
		}
	}
	c.fleet.Desk.mu.Lock()
	defer c.fleet.Desk.mu.Unlock()
	c.fleet.Desk.breakLocked("I6: %s redirected to %s, which is no base of the deployment", node.ID, u.Host)
	return out, nil
}

func (c *claimants) placed(on ownership.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last[on] = time.Now()
}

// read asks a node's admin door for the call, linearizably.
func (c *claimants) read(node *Node, id ownership.CallID) (told, error) {
	ctx, cancel := context.WithTimeout(context.Background(), claimPatience)
	defer cancel()
	api := *node.api
	api.Consistency = "linearizable"
	found, err := api.Call(ctx, string(id))
	switch {
	case client.NotFound(err):
		return told{said: saidNothing}, nil
	case err != nil:
		return told{}, err
	case found.State == ownership.CallEnded:
		return told{saidEnded, found.Partition, found.Epoch}, nil
	}
	return told{saidOwner, found.Partition, found.Epoch}, nil
}

// release ends the call by an operator's word.
func (c *claimants) release(node *Node, id ownership.CallID) (told, error) {
	ctx, cancel := context.WithTimeout(context.Background(), claimPatience)
	defer cancel()
	err := node.api.Release(ctx, string(id))
	switch {
	case client.NotFound(err):
		return told{said: saidNothing}, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return told{}, errors.Join(errUnsent, err)
	case err != nil:
		return told{}, err
	}
	return told{said: saidEnded}, nil
}
