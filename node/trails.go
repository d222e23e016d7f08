package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"tandem/admin/api"
	"tandem/cluster"
	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/pulse"
	"tandem/traces"
	"tandem/trail"
)

// What the nodes of a region ask each other about notifications that somebody follows.
const (
	topicTrail     = "trail"     // ids; what do you remember of them? history.Trail
	topicFollow    = "follow"    // trail.Follow; write it to your log, and say what you follow then: []trail.Follow
	topicFollowing = "following" // what do you follow? []trail.Follow
)

// follow is what a node tells of notifications to whoever follows them.
type follow struct {
	trail   *trail.Trail
	pulse   *pulse.Pulse   // and of itself
	traces  *traces.Traces // nil: none are made
	letters http.Handler   // the public door for letters of other regions, with their traces
}

// trails is the part of a node that follows notifications.
type trails struct{ *Node }

// consulted answers another node of the region, see cluster.Deps.
func (n trails) consulted(ctx context.Context, topic string, body []byte) ([]byte, error) {
	switch topic {
	case topicTrail:
		var ids []string
		if err := json.Unmarshal(body, &ids); err != nil {
			return nil, fmt.Errorf("reading which notifications are followed: %w", err)
		}
		return json.Marshal(n.trail.Of(ids...))
	case topicFollow:
		var f trail.Follow
		if err := json.Unmarshal(body, &f); err != nil {
			return nil, fmt.Errorf("reading what is to be followed: %w", err)
		}
		if err := n.trail.Follow(f); err != nil {
			return nil, fmt.Errorf("%w: %w", err, ownership.ErrConflict)
		}
		return json.Marshal(n.trail.Following())
	case topicFollowing:
		return json.Marshal(n.trail.Following())
	}
	return pulses(n).consulted(ctx, topic, body)
}

// Of implements admin.Trails. An id may name a call on one node only, as where the cloud
// was redirected: then the others are asked for the call.
func (n trails) Of(ctx context.Context, ids ...string) (out api.Trail, calls []ownership.CallID) {
	asked := slices.Clone(ids)
	for {
		out, calls = n.askAll(ctx, asked)
		more := len(asked)
		for _, c := range calls {
			if !slices.Contains(asked, string(c)) {
				asked = append(asked, string(c))
			}
		}
		if more == len(asked) || more > len(ids) {
			return out, calls
		}
	}
}

// consult asks all nodes of the region, and reads what each of them answers.
func consult[T any](ctx context.Context, n *Node, topic string, question []byte) iter.Seq2[cluster.Consulted, T] {
	return func(yield func(cluster.Consulted, T) bool) {
		for _, c := range n.region.Consult(ctx, topic, question) {
			var there T
			if c.Err == nil {
				c.Err = json.Unmarshal(c.Body, &there)
			}
			if !yield(c, there) {
				return
			}
		}
	}
}

func (n trails) askAll(ctx context.Context, ids []string) (out api.Trail, calls []ownership.CallID) {
	question, err := json.Marshal(ids)
	if err != nil {
		return out, nil // of strings: it cannot fail
	}
	for c, there := range consult[history.Trail](ctx, n.Node, topicTrail, question) {
		from := api.TrailNode{Region: n.Region(), Node: c.Node, Since: there.Since}
		if c.Err != nil {
			from.Error = c.Err.Error()
		}
		out.Nodes, out.Steps, out.More = append(out.Nodes, from), append(out.Steps, there.Steps...), out.More || there.More
		for _, call := range there.Calls {
			if !slices.Contains(calls, call) {
				calls = append(calls, call)
			}
		}
	}
	out.Sort()
	return out, calls
}

// Follow implements admin.Trails.
func (n trails) Follow(ctx context.Context, ask api.LogFollow) (api.LogFollows, error) {
	f := trail.Follow{Call: ask.Call, Tenant: ask.Tenant, Node: ask.Node, Until: ask.Until, By: ask.By}
	if err := f.Level.UnmarshalText([]byte(ask.Level)); err != nil {
		return api.LogFollows{}, fmt.Errorf("reading how much is to be followed: %w", err)
	}
	if err := f.Check(time.Now()); err != nil {
		return api.LogFollows{}, err
	}
	question, err := json.Marshal(f)
	if err != nil {
		return api.LogFollows{}, fmt.Errorf("asking the nodes to follow steps: %w", err)
	}
	n.log.Info("steps are followed", "call", f.Call, "tenant", f.Tenant, "node_followed", f.Node, "shown_at", f.Level, "until", f.Until, "by", f.By)
	return n.follows(ctx, topicFollow, question)
}

// Following implements admin.Trails.
func (n trails) Following(ctx context.Context) api.LogFollows {
	out, _ := n.follows(ctx, topicFollowing, nil) // nobody refuses the question
	return out
}

// follows asks all nodes, and puts what they say side by side. A node that refuses what is
// asked refuses it for all.
func (n trails) follows(ctx context.Context, topic string, question []byte) (out api.LogFollows, err error) {
	for c, there := range consult[[]trail.Follow](ctx, n.Node, topic, question) {
		if errors.Is(c.Err, ownership.ErrConflict) {
			return out, c.Err
		}
		if c.Err != nil {
			out.Missing = append(out.Missing, fmt.Sprintf("%s: %v", c.Node, c.Err))
			continue
		}
		for _, f := range there {
			if f.Node == "" || f.Node == c.Node { // others only keep it in mind
				out.Items = merge(out.Items, f, c.Node)
			}
		}
	}
	return out, nil
}

// merge adds that a node follows something.
func merge(all []api.LogFollow, f trail.Follow, node ownership.NodeID) []api.LogFollow {
	told := api.LogFollow{Call: f.Call, Tenant: f.Tenant, Node: f.Node, Level: word(f.Level), Until: f.Until, By: f.By}
	for i := range all {
		if all[i].Call == told.Call && all[i].Tenant == told.Tenant && all[i].Node == told.Node && all[i].Level == told.Level {
			all[i].Nodes = append(all[i].Nodes, node)
			return all
		}
	}
	told.Nodes = []ownership.NodeID{node}
	return append(all, told)
}

// word is a level as the configuration spells it.
func word(l slog.Level) string {
	if l == slog.LevelInfo {
		return "info"
	}
	return "debug"
}

// openTrail begins to remember, before any room has something to tell.
func (n *Node) openTrail(context.Context) error {
	n.trail = trail.New(n.Region(), n.ID(), time.Now, n.log)
	n.pulse = pulse.New(n.cfg.Registry, n.now)
	return nil
}

// openTraces begins to make traces, if the environment asks for them. That they cannot be
// made keeps no node from its work.
func (n *Node) openTraces(ctx context.Context) error {
	wanted, err := traces.Wanted(os.Getenv)
	if err == nil && wanted {
		n.traces, err = traces.Start(context.WithoutCancel(ctx), n.Region(), n.ID(), n.cfg.Version, n.log)
	}
	if err != nil {
		n.log.Warn("no traces are made", "err", err)
		return nil
	}
	n.stops.addWaiting("traces", n.traces.Close)
	return nil
}

// watched makes spans of what goes out; nil: none are made.
func (n *Node) watched(name string) func(http.RoundTripper) http.RoundTripper {
	if n.traces == nil {
		return nil
	}
	return func(t http.RoundTripper) http.RoundTripper { return n.traces.Transport(name, t) }
}
