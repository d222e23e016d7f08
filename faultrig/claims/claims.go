// Package claims is a load of claims on the nodes, and what must hold of the answers:
// claimants post first notifications, read calls back and end them, and porcupine looks
// for an order that explains what they heard.
package claims

import (
	"context"
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
	"tandem/faultrig/desk"
	"tandem/faultrig/fleet"
	"tandem/graphsim"
	"tandem/ownership"
)

// Load post first notifications for a few calls at a time to random nodes,
// read them back and end them, and record when they asked and what they heard.
type Load struct {
	fleet *fleet.Fleet
	http  *http.Client
	begun time.Time
	held  atomic.Bool

	tokenMu sync.Mutex
	tokens  map[Mix]token

	mu      sync.Mutex
	dice    *rand.Rand
	window  []*call
	history []porcupine.Operation
	acked   map[ownership.CallID]Told
	ended   map[ownership.CallID]time.Time // when somebody of the rig was about to end it
	mixes   map[ownership.CallID]Mix
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

// New makes claimants of a fleet; the seed is of their choices.
func New(f *fleet.Fleet, seed uint64) *Load {
	c := &Load{
		fleet: f, begun: time.Now(), dice: rand.New(rand.NewPCG(seed, 7)),
		tokens: map[Mix]token{}, mixes: map[ownership.CallID]Mix{},
		acked: map[ownership.CallID]Told{}, ended: map[ownership.CallID]time.Time{}, last: map[ownership.NodeID]time.Time{},
		http: &http.Client{
			Transport: &http.Transport{
				TLSClientConfig: f.ClientTLS(), MaxIdleConnsPerHost: 32, IdleConnTimeout: 20 * time.Second,
				DialContext: (&net.Dialer{Timeout: time.Second}).DialContext,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	return c
}

// Run claims with so many workers until ctx ends.
func (c *Load) Run(ctx context.Context, workers int) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if c.held.Load() {
					fleet.Pause(ctx, 20*time.Millisecond)
					continue
				}
				rest := paceOfClaimant
				if !c.once(w) {
					rest = 20 * time.Millisecond
				}
				fleet.Pause(ctx, rest)
			}
		})
	}
	wg.Wait()
}

// Hold makes the claimants rest, or go on.
func (c *Load) Hold(still bool) { c.held.Store(still) }

// once does one operation; false when it was refused or lost.
func (c *Load) once(worker int) bool {
	c.mu.Lock()
	k, verb := c.pickLocked()
	node := c.fleet.Nodes[c.dice.IntN(len(c.fleet.Nodes))]
	c.mu.Unlock()
	if !node.Up() && c.chance(0.9) { // now and then somebody still tries
		return true
	}
	return c.do(worker, k, verb, node)
}

func (c *Load) chance(p float64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dice.Float64() < p
}

// pickLocked chooses a call and what to do with it; a call's last use ends it.
func (c *Load) pickLocked() (*call, verb) {
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

func (c *Load) do(worker int, k *call, verb verb, node *fleet.Node) bool {
	call := time.Since(c.begun)
	var out Told
	var err error
	switch verb {
	case verbClaim:
		out, err = c.Claim(node, k.id)
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

func (c *Load) record(worker int, k *call, verb verb, at time.Duration, out Told, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	back := time.Since(c.begun)
	switch {
	case err == nil:
	case verb == verbRead, errors.Is(err, errUnsent):
		return // it changed nothing and told nothing
	default:
		out, back = Told{Said: SaidUnknown}, math.MaxInt64
		k.unknown++
	}
	if err == nil && verb == verbClaim && out.Said == SaidOwner {
		if _, known := c.acked[k.id]; !known {
			c.acked[k.id] = out
			c.claims++
		}
	}
	if verb == verbRelease && out.Said != SaidNothing {
		if _, before := c.ended[k.id]; !before {
			c.ended[k.id] = c.begun.Add(at)
		}
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

// bearer returns a good token, a new one now and then.
func (c *Load) bearer(m Mix) (string, error) {
	m.thread = ""
	c.tokenMu.Lock()
	defer c.tokenMu.Unlock()
	t := c.tokens[m]
	if t.text == "" || time.Since(t.minted) > 20*time.Second {
		var err error
		if t.text, err = c.fleet.Cloud.Mint(graphsim.TokenOptions{Audience: m.App, Tenant: m.Tenant, Life: time.Hour}); err != nil {
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

// Patience is longer than a node may take to say no (I8: a second).
const Patience = 4 * time.Second

// Claim posts the first notification of a call to a node and reads the owner
// off the answer: the desk's own words, or the redirect's handle. It does not
// follow the redirect: the claim is done by then.
func (c *Load) Claim(node *fleet.Node, id ownership.CallID) (Told, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	res, err := c.First(ctx, node, id)
	if err != nil {
		return Told{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	switch {
	case err != nil:
		return Told{}, err
	case res.StatusCode == http.StatusFound:
		return c.redirected(node, res.Header.Get("Location"), id)
	case res.StatusCode == http.StatusAccepted && len(body) == 0:
		return Told{Said: SaidTaken}, nil
	case res.StatusCode == http.StatusOK:
		var g desk.Granted
		if err := json.Unmarshal(body, &g); err != nil {
			return Told{}, err
		}
		c.placed(g.Node)
		return Told{SaidOwner, g.Partition, g.Epoch}, nil
	}
	return Told{}, fmt.Errorf("claiming at %s: status %d: %s", node.ID, res.StatusCode, body)
}

// First posts the first notification of a call to a node.
func (c *Load) First(ctx context.Context, node *fleet.Node, id ownership.CallID) (*http.Response, error) {
	m := c.MixOf(id)
	return c.Post(ctx, m, "", node.Public+"/api/calls", m.Incoming(id))
}

// Post sends one notification of that kind of call, with a token of its own.
func (c *Load) Post(ctx context.Context, m Mix, message, to, body string) (*http.Response, error) {
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
func (c *Load) redirected(node *fleet.Node, location string, id ownership.CallID) (Told, error) {
	u, err := url.Parse(location)
	if err != nil {
		return Told{}, err
	}
	parts := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
	if len(parts) != 6 || parts[5] != string(id) {
		return Told{}, fmt.Errorf("claiming at %s: Location %q names no handle of the call", node.ID, u.Path)
	}
	part, err1 := strconv.ParseUint(parts[3], 10, 32)
	epoch, err2 := strconv.ParseUint(parts[4], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return Told{}, err
	}
	out := Told{SaidOwner, ownership.PartitionID(part), ownership.Epoch(epoch)}
	for _, n := range c.fleet.All() {
		if u.Scheme+"://"+u.Host == n.Public {
			c.fleet.Desk.Owner(out.Part, out.Epoch, n.ID, "a redirect from "+string(node.ID))
			c.placed(n.ID)
			return out, nil
		}
	}
	c.fleet.Desk.Break("I6: %s redirected to %s, which is no base of the deployment", node.ID, u.Host)
	return out, nil
}

func (c *Load) placed(on ownership.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last[on] = time.Now()
}

// read asks a node's admin door for the call, linearizably.
func (c *Load) read(node *fleet.Node, id ownership.CallID) (Told, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	api := *node.API
	api.Consistency = "linearizable"
	found, err := api.Call(ctx, string(id))
	switch {
	case client.NotFound(err):
		return Told{Said: SaidNothing}, nil
	case err != nil:
		return Told{}, err
	case found.State == ownership.CallEnded:
		return Told{SaidEnded, found.Partition, found.Epoch}, nil
	}
	return Told{SaidOwner, found.Partition, found.Epoch}, nil
}

// release ends the call by an operator's word.
func (c *Load) release(node *fleet.Node, id ownership.CallID) (Told, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	err := node.API.Release(ctx, string(id))
	switch {
	case client.NotFound(err):
		return Told{Said: SaidNothing}, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return Told{}, errors.Join(errUnsent, err)
	case err != nil:
		return Told{}, err
	}
	return Told{Said: SaidEnded}, nil
}
