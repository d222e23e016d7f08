package region

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"tandem/faultrig/fleet"
	"tandem/graphsim"
	"tandem/ownership"
)

// Room is how many live calls a node may hold: no bench fills one.
const Room = 8_000_000

// Region is a region of real processes, with a bot beside each node.
type Region struct {
	*fleet.Fleet
	Bot *Bot

	http    *http.Client
	token   string
	numbers atomic.Uint64 // of calls that were made up
	posted  atomic.Uint64 // notifications
}

// Start starts a region of so many nodes. It is ready to take calls.
func Start(ctx context.Context, program string, nodes int) (r *Region, err error) {
	kind := graphsim.Kind()
	f, err := fleet.New(ctx, program, fleet.Options{Nodes: nodes, Rates: &kind})
	if err != nil {
		return nil, fmt.Errorf("starting a region of %d nodes: %w", nodes, err)
	}
	r = &Region{Fleet: f, http: &http.Client{
		Timeout:       20 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 512, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.Bot, err = openBot(); err != nil {
		return r, err
	}
	if r.token, err = f.Cloud.Mint(graphsim.TokenOptions{Audience: fleet.ClaimsApp, Tenant: fleet.ClaimsTenant, Life: 12 * time.Hour}); err != nil {
		return r, fmt.Errorf("minting a token: %w", err)
	}
	return r, r.takeBots(ctx)
}

// takeBots gives each node the bench's bot in place of the fleet's, which remembers too
// much for a million calls.
func (r *Region) takeBots(ctx context.Context) error {
	for _, n := range r.Nodes {
		n.Kill()
	}
	for _, n := range r.Nodes {
		if err := r.Configure(n, r.Beside(n.ID)); err != nil {
			return err
		}
		if err := n.Start(); err != nil {
			return err
		}
	}
	if err := r.AwaitAll(ctx, time.Minute); err != nil {
		return fmt.Errorf("giving the nodes their bots: %w", err)
	}
	return nil
}

// Beside is the part of a node's configuration that names the bench's bot.
func (r *Region) Beside(id ownership.NodeID) func(map[string]any) {
	return func(doc map[string]any) {
		doc["node"].(map[string]any)["capacity"] = Room
		doc["apps"] = []any{map[string]any{
			"id": fleet.ClaimsApp, "profile": "simulated", "hosting": "service", "answer": "bot",
			"bot": map[string]any{"url": r.Bot.url(id), "health_url": r.Bot.url(id) + "health"},
		}}
	}
}

// Close ends all processes and removes what they wrote.
func (r *Region) Close() error {
	err := r.Fleet.Close()
	if r.Bot != nil {
		r.Bot.close()
	}
	r.http.CloseIdleConnections()
	return errors.Join(err, r.Forget())
}

// Up returns the nodes whose processes run.
func (r *Region) Up() []*fleet.Node {
	var up []*fleet.Node
	for _, n := range r.All() {
		if n.Up() {
			up = append(up, n)
		}
	}
	return up
}

// Any returns one of the nodes.
func Any(nodes []*fleet.Node) *fleet.Node { return nodes[rand.IntN(len(nodes))] }

// Last is the number of the newest call that was made up.
func (r *Region) Last() uint64 { return r.numbers.Load() }

// node returns the node of that id, nil where there is none.
func (r *Region) node(id ownership.NodeID) *fleet.Node {
	for _, n := range r.All() {
		if n.ID == id {
			return n
		}
	}
	return nil
}
