package faultrig

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/faultrig/claims"
	"tandem/faultrig/desk"
	"tandem/faultrig/fleet"
	"tandem/ownership"
)

// line is what the cloud tells of the rig's own calls, and what the desk hears of it.
type line struct {
	Load *claims.Load
	desk *desk.Desk
}

// talkAt makes calls on a node and has the table call them answered: the desk
// took them, and the cloud told that they are established.
func (s *Stage) talkAt(ctx context.Context, at *fleet.Node, want int) ([]ownership.CallID, error) {
	calls, err := s.claimAt(ctx, at, want)
	if err != nil {
		return nil, err
	}
	for _, id := range calls {
		if err := s.notify(ctx, at, id, "established", "established"); err != nil {
			return nil, err
		}
	}
	if !fleet.Until(ctx, 10*time.Second, 50*time.Millisecond, func() bool {
		return !slices.ContainsFunc(calls, func(id ownership.CallID) bool {
			c, err := at.API.Call(ctx, string(id))
			return err != nil || c.State != ownership.CallAnswered
		})
	}) {
		return nil, fmt.Errorf("not all of %d established calls became answered in the table of %s within 10s", len(calls), at.ID)
	}
	return calls, nil
}

// uriOf is where the cloud sends a call's notifications: it keeps the callback URI
// that the call was answered with.
func (l line) uriOf(id ownership.CallID) string {
	for _, t := range l.desk.Of(id) {
		if t.URI != "" {
			return t.URI
		}
	}
	return ""
}

// notify posts a later notification of a call to a node until it is taken, as the
// cloud does after a 503.
func (l line) notify(ctx context.Context, n *fleet.Node, id ownership.CallID, state, message string) error {
	var status int
	var text string
	ok := fleet.Until(ctx, 12*time.Second, 100*time.Millisecond, func() bool {
		var err error
		status, text, err = l.notifyOnce(ctx, n, id, state, message)
		return err == nil && status/100 == 2
	})
	if !ok {
		return fmt.Errorf("telling %s of %s of call %s: %d %s", n.ID, state, id, status, text)
	}
	return nil
}

// notifyOnce posts it once.
func (l line) notifyOnce(ctx context.Context, n *fleet.Node, id ownership.CallID, state, message string) (int, string, error) {
	body := strings.NewReplacer(`"created"`, `"updated"`, `"state":"incoming"`, fmt.Sprintf(`"state":%q,"tag":%q`, state, message)).Replace(l.Load.MixOf(id).Incoming(id))
	if state == "terminated" {
		body = strings.Replace(body, `"updated"`, `"deleted"`, 1)
	}
	ctx, cancel := context.WithTimeout(ctx, claims.Patience)
	defer cancel()
	res, err := l.Load.Post(ctx, l.Load.MixOf(id), fmt.Sprintf("%s-%s", message, id[:16]), n.Public+l.uriOf(id), body)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 4096)) // for the finding only
	return res.StatusCode, string(text), nil
}

// toldOf counts how often the desk was handed the message of a call, unrefused.
func (l line) toldOf(id ownership.CallID, message string) (times int, by ownership.NodeID) {
	for _, t := range l.desk.Of(id) {
		if t.Message == fmt.Sprintf("%s-%s", message, id[:16]) && !t.Refused {
			times++
			by = t.Node
		}
	}
	return times, by
}

// events returns what the desk was told of a call by event, on all nodes.
func (l line) events(id ownership.CallID, event ownership.Event) (all []desk.Told) {
	for _, t := range l.desk.Of(id) {
		if t.Event == event {
			all = append(all, t)
		}
	}
	return all
}

// hammer posts notifications of calls to a node as fast as a busy cloud would,
// until ctx ends: whatever that node hands over, the desk judges.
func (s *Stage) hammer(ctx context.Context, n *fleet.Node, calls []ownership.CallID) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := w; ctx.Err() == nil; i++ {
				_, _, _ = s.notifyOnce(ctx, n, calls[i%len(calls)], "established", fmt.Sprintf("hammer-%d-%d", s.Round, i)) // the desk judges whatever comes of it
				fleet.Pause(ctx, 2*time.Millisecond)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// statesOf counts the calls by their state in a node's table.
func (s *Stage) statesOf(ctx context.Context, n *fleet.Node, calls []ownership.CallID) (map[ownership.CallState]int, error) {
	t, err := readTable(ctx, n)
	if err != nil {
		return nil, err
	}
	out := map[ownership.CallState]int{}
	for _, id := range calls {
		out[t.calls[id].State]++
	}
	return out, nil
}

// lead makes a node the leader and waits for it.
func (s *Stage) lead(ctx context.Context, to *fleet.Node) error {
	for range 10 {
		leader, err := s.Leader(ctx)
		if err != nil {
			return err
		}
		if leader == to {
			return nil
		}
		_ = leader.API.TransferLeader(ctx, to.ID) // asked again
		fleet.Pause(ctx, 500*time.Millisecond)
	}
	return fmt.Errorf("making %s the leader: it is not after ten transfers", to.ID)
}

// partitionsOf returns the partitions that a node owns.
func partitionsOf(ctx context.Context, n *fleet.Node, owner ownership.NodeID) ([]api.PartitionIn, error) {
	all, err := n.API.Partitions(ctx)
	return slices.DeleteFunc(all, func(p api.PartitionIn) bool { return p.Owner != owner || p.Retired }), err
}

// refusedWith reports whether the admin door said no in words.
func refusedWith(err error) bool {
	return err != nil && !client.Unavailable(err)
}

// rewrite changes a node's configuration and starts it anew.
func (s *Stage) rewrite(ctx context.Context, n *fleet.Node, change func(map[string]any)) error {
	if err := s.Configure(n, change); err != nil {
		return err
	}
	if err := n.Stop(15 * time.Second); err != nil {
		s.Break("%v", err)
	}
	if err := n.Start(); err != nil {
		return err
	}
	if err := n.Ready(ctx, fleet.HealWithin); err != nil {
		s.Break("after a change of its configuration: %v", err)
	}
	return nil
}

// unanswered: the node's door refuses or says 503.
func (l line) saysLater(ctx context.Context, n *fleet.Node, id ownership.CallID, state, message string) (status int) {
	status, _, err := l.notifyOnce(ctx, n, id, state, message)
	if err != nil {
		return http.StatusServiceUnavailable // the cloud tries again all the same
	}
	return status
}
