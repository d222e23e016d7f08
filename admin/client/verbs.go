package client

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// Status says how the node and its region are.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	return get[api.Status](ctx, c, "/v1/status", nil)
}

// Guarantees says which promises hold now.
func (c *Client) Guarantees(ctx context.Context) ([]api.Promise, error) {
	return items[api.Promise](ctx, c, "/v1/guarantees", nil)
}

// Summary is what the region tells the others.
func (c *Client) Summary(ctx context.Context) (api.Summary, error) {
	return get[api.Summary](ctx, c, "/v1/summary", nil)
}

// Nodes returns the nodes of the region, gone ones too.
func (c *Client) Nodes(ctx context.Context) ([]api.Node, error) {
	return items[api.Node](ctx, c, "/v1/nodes", c.Then.query())
}

// Node returns one node.
func (c *Client) Node(ctx context.Context, id ownership.NodeID) (api.Node, error) {
	return get[api.Node](ctx, c, nodePath(id), nil)
}

// Join takes a node into the region.
func (c *Client) Join(ctx context.Context, r api.JoinRequest) (api.Node, error) {
	return exchange[api.Node](ctx, c, http.MethodPost, "/v1/nodes", r)
}

// Found founds the region with the node that is asked as its first.
func (c *Client) Found(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/region", nil, nil)
}

// Lease returns how long leases last in the region.
func (c *Client) Lease(ctx context.Context) (api.RegionLease, error) {
	return exchange[api.RegionLease](ctx, c, http.MethodGet, "/v1/region/lease", nil)
}

// SetLease changes how long leases last in the region.
func (c *Client) SetLease(ctx context.Context, length time.Duration) error {
	return c.call(ctx, http.MethodPut, "/v1/region/lease", api.RegionLease{Length: length.String()}, nil)
}

// StopCheck asks whether a node may be stopped now.
func (c *Client) StopCheck(ctx context.Context, id ownership.NodeID) (ownership.StopCheck, error) {
	return get[ownership.StopCheck](ctx, c, nodePath(id)+"/stop-check", nil)
}

// Remove takes a node out of the region.
func (c *Client) Remove(ctx context.Context, id ownership.NodeID) error {
	return c.call(ctx, http.MethodDelete, nodePath(id), nil, nil)
}

// Leave takes the node that is asked out of the region.
func (c *Client) Leave(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/leave", nil, nil)
}

// Reload has the node that is asked read its configuration again.
func (c *Client) Reload(ctx context.Context) (api.Reloaded, error) {
	return exchange[api.Reloaded](ctx, c, http.MethodPost, "/v1/reload", nil)
}

// Drain gives a node no new calls; until zero: until its last call ends.
func (c *Client) Drain(ctx context.Context, id ownership.NodeID, until time.Time) error {
	return c.call(ctx, http.MethodPut, nodePath(id)+"/drain", api.DrainAsk{Until: until}, nil)
}

// Undrain brings a draining node back.
func (c *Client) Undrain(ctx context.Context, id ownership.NodeID) error {
	return c.call(ctx, http.MethodDelete, nodePath(id)+"/drain", nil, nil)
}

// Partitions returns the partitions of the region.
func (c *Client) Partitions(ctx context.Context) ([]api.PartitionIn, error) {
	return items[api.PartitionIn](ctx, c, "/v1/partitions", c.Then.query())
}

// Partition returns one partition.
func (c *Client) Partition(ctx context.Context, id ownership.PartitionID) (ownership.Partition, error) {
	return get[ownership.Partition](ctx, c, "/v1/partitions/"+id.String(), c.Then.query())
}

// Move hands a partition over to a node.
func (c *Client) Move(ctx context.Context, id ownership.PartitionID, to ownership.NodeID) error {
	return c.call(ctx, http.MethodPost, "/v1/partitions/"+id.String()+"/move", api.MoveAsk{To: to}, nil)
}

// Calls returns one page of calls; cursor is the Next of the page before, limit 0
// the door's own.
func (c *Client) Calls(ctx context.Context, f ownership.CallFilter, cursor string, limit int) (api.CallPage, error) {
	q := c.Then.query()
	set := func(name, v string) {
		if v != "" {
			q.Set(name, v)
		}
	}
	set("node", string(f.Node))
	set("tenant", string(f.Tenant))
	set("app", string(f.App))
	set("group", string(f.Group))
	set("cursor", cursor)
	if f.Partition != 0 {
		q.Set("partition", f.Partition.String())
	}
	if f.State != 0 {
		q.Set("state", f.State.String())
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return get[api.CallPage](ctx, c, "/v1/calls", q)
}

// Call returns one call; the id may be spelled as the cloud spells it.
func (c *Client) Call(ctx context.Context, id string) (ownership.Call, error) {
	return get[ownership.Call](ctx, c, callPath(id), c.Then.query())
}

// ExplainCall says why a call is where it is.
func (c *Client) ExplainCall(ctx context.Context, id string) (api.CallExplanation, error) {
	return get[api.CallExplanation](ctx, c, callPath(id)+"/explain", nil)
}

// Release forgets a call that is over; the cloud is not told.
func (c *Client) Release(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, callPath(id), nil, nil)
}

// Explain says what the webhook would do with a notification. An Authorization
// among its headers is judged, too.
func (c *Client) Explain(ctx context.Context, n ownership.Supposed) (api.Explanation, error) {
	var out api.Explanation
	header := http.Header(n.Header).Clone()
	if header == nil {
		header = http.Header{}
	}
	if v := header.Get("Authorization"); v != "" {
		header.Set("Tandem-Authorization", v)
		header.Del("Authorization")
	}
	q := url.Values{}
	for name, v := range map[string]string{"target": n.Target, "app": string(n.App), "tenant": string(n.Tenant)} {
		if v != "" {
			q.Set(name, v)
		}
	}
	_, err := c.exchange(ctx, http.MethodPost, "/v1/explain", q, header, bytes.NewReader(n.Body), &out)
	return out, err
}

// Regions returns this region and what is known of the others.
func (c *Client) Regions(ctx context.Context) ([]api.Region, error) {
	return items[api.Region](ctx, c, "/v1/regions", nil)
}

// CallbackURI asks for a signed callback URI on the node, for an outgoing call.
func (c *Client) CallbackURI(ctx context.Context, app ownership.AppID, group string) (api.CallbackURI, error) {
	return exchange[api.CallbackURI](ctx, c, http.MethodPost, "/v1/callback-uris", api.CallbackBody{App: app, Group: group})
}

// TransferLeader gives the raft leadership away; to empty: to any voter.
func (c *Client) TransferLeader(ctx context.Context, to ownership.NodeID) error {
	return c.call(ctx, http.MethodPost, "/v1/raft/leader", api.TransferAsk{To: to}, nil)
}

// Peers returns the servers of the raft group.
func (c *Client) Peers(ctx context.Context) ([]api.Peer, error) {
	return items[api.Peer](ctx, c, "/v1/raft/peers", nil)
}

// Tokens returns the names, roles and ends of the node's tokens.
func (c *Client) Tokens(ctx context.Context) ([]api.TokenInfo, error) {
	return items[api.TokenInfo](ctx, c, "/v1/tokens", nil)
}

// MakeToken makes a token of the region's doors. Its secret is in the answer and
// nowhere else.
func (c *Client) MakeToken(ctx context.Context, ask api.TokenAsk) (api.TokenMade, error) {
	return exchange[api.TokenMade](ctx, c, http.MethodPost, "/v1/tokens", ask)
}

// RevokeToken takes a token of the region's doors back.
func (c *Client) RevokeToken(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/tokens/"+url.PathEscape(name), nil, nil)
}

// Whoami says how the door knows the caller.
func (c *Client) Whoami(ctx context.Context) (api.Whoami, error) {
	return exchange[api.Whoami](ctx, c, http.MethodGet, "/v1/whoami", nil)
}
