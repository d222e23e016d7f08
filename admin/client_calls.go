package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
)

// Status says how the node and its region are.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status", nil)
}

// Guarantees says which promises hold now.
func (c *Client) Guarantees(ctx context.Context) ([]Promise, error) {
	return items[Promise](ctx, c, "/v1/guarantees", nil)
}

// Summary is what the region tells the others.
func (c *Client) Summary(ctx context.Context) (Summary, error) {
	return get[Summary](ctx, c, "/v1/summary", nil)
}

// Whoami says how the door knows the client's token.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	var who Whoami
	err := c.call(ctx, http.MethodGet, "/v1/whoami", nil, nil, &who)
	return who, err
}

// Nodes gives the nodes of the region, gone ones too.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	return items[Node](ctx, c, "/v1/nodes", nil)
}

// Node gives one node.
func (c *Client) Node(ctx context.Context, id ownership.NodeID) (Node, error) {
	return get[Node](ctx, c, nodePathOf(id), nil)
}

// Join takes a node into the region.
func (c *Client) Join(ctx context.Context, r JoinRequest) (Node, error) {
	var n Node
	err := c.call(ctx, http.MethodPost, "/v1/nodes", nil, r, &n)
	return n, err
}

// Found founds the region with the node that is asked as its first.
func (c *Client) Found(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/region", nil, nil, nil)
}

// Remove takes a node out of the region.
func (c *Client) Remove(ctx context.Context, id ownership.NodeID) error {
	return c.call(ctx, http.MethodDelete, nodePathOf(id), nil, nil, nil)
}

// Leave takes the node that is asked out of the region.
func (c *Client) Leave(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/leave", nil, nil, nil)
}

// Drain gives a node no new calls; until zero: until its last call ends.
func (c *Client) Drain(ctx context.Context, id ownership.NodeID, until time.Time) error {
	return c.call(ctx, http.MethodPut, nodePathOf(id)+"/drain", nil, DrainAsk{Until: until}, nil)
}

// Undrain brings a draining node back.
func (c *Client) Undrain(ctx context.Context, id ownership.NodeID) error {
	return c.call(ctx, http.MethodDelete, nodePathOf(id)+"/drain", nil, nil, nil)
}

// Partitions gives the partitions of the region.
func (c *Client) Partitions(ctx context.Context) ([]ownership.Partition, error) {
	return items[ownership.Partition](ctx, c, "/v1/partitions", nil)
}

// Partition gives one partition.
func (c *Client) Partition(ctx context.Context, id ownership.PartitionID) (ownership.Partition, error) {
	return get[ownership.Partition](ctx, c, "/v1/partitions/"+id.String(), nil)
}

// Move hands a partition over to a node.
func (c *Client) Move(ctx context.Context, id ownership.PartitionID, to ownership.NodeID) error {
	return c.call(ctx, http.MethodPost, "/v1/partitions/"+id.String()+"/move", nil, MoveAsk{To: to}, nil)
}

// Calls gives one page of calls; cursor is the Next of the page before, limit 0
// the door's own.
func (c *Client) Calls(ctx context.Context, f ownership.CallFilter, cursor string, limit int) (CallPage, error) {
	return c.CallsIn(ctx, "", f, cursor, limit)
}

// CallsIn is Calls for one region. The door of another one refuses, and says whom to
// ask.
func (c *Client) CallsIn(ctx context.Context, region ownership.Region, f ownership.CallFilter, cursor string, limit int) (CallPage, error) {
	q := url.Values{}
	set := func(name, v string) {
		if v != "" {
			q.Set(name, v)
		}
	}
	set("region", string(region))
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
	return get[CallPage](ctx, c, "/v1/calls", q)
}

// Call gives one call; the id may be spelled as the cloud spells it.
func (c *Client) Call(ctx context.Context, id string) (ownership.Call, error) {
	return get[ownership.Call](ctx, c, callPathOf(id), nil)
}

// ExplainCall says why a call is where it is.
func (c *Client) ExplainCall(ctx context.Context, id string) (CallExplanation, error) {
	return get[CallExplanation](ctx, c, callPathOf(id)+"/explain", nil)
}

// Timeline gives the events of one call, oldest first.
func (c *Client) Timeline(ctx context.Context, id string) ([]history.Event, error) {
	return items[history.Event](ctx, c, callPathOf(id)+"/timeline", nil)
}

// Release forgets a call that is over; the cloud is not told.
func (c *Client) Release(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, callPathOf(id), nil, nil, nil)
}

// Explain says what the webhook would do with a notification. An Authorization
// among its headers is judged, too.
func (c *Client) Explain(ctx context.Context, n ownership.Supposed) (Explanation, error) {
	var out Explanation
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
	err := c.call(ctx, http.MethodPost, "/v1/explain", q, rawBody{n.Body, header}, &out)
	return out, err
}

// Regions gives this region and what is known of the others.
func (c *Client) Regions(ctx context.Context) ([]Region, error) {
	return items[Region](ctx, c, "/v1/regions", nil)
}

// CallbackURI asks for a signed callback URI on the node, for an outgoing call.
func (c *Client) CallbackURI(ctx context.Context, app ownership.AppID, group string) (CallbackURI, error) {
	var out CallbackURI
	err := c.call(ctx, http.MethodPost, "/v1/callback-uris", nil, CallbackBody{App: app, Group: group}, &out)
	return out, err
}

// TransferLeader gives the raft leadership away; to empty: to any voter.
func (c *Client) TransferLeader(ctx context.Context, to ownership.NodeID) error {
	return c.call(ctx, http.MethodPost, "/v1/raft/leader", nil, TransferAsk{To: to}, nil)
}

// Peers gives the servers of the raft group.
func (c *Client) Peers(ctx context.Context) ([]Peer, error) {
	return items[Peer](ctx, c, "/v1/raft/peers", nil)
}

// Tokens gives the names, roles and ends of the node's tokens.
func (c *Client) Tokens(ctx context.Context) ([]TokenInfo, error) {
	return items[TokenInfo](ctx, c, "/v1/tokens", nil)
}

// Audit gives the last changes asked of the node, newest first; limit 0: the
// door's own.
func (c *Client) Audit(ctx context.Context, limit int) ([]Change, error) {
	q := url.Values{}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var list List[Change]
	err := c.call(ctx, http.MethodGet, "/v1/audit", q, nil, &list)
	return list.Items, err
}

// MakeToken makes a token of the region's doors. Its secret is in the answer and
// nowhere else.
func (c *Client) MakeToken(ctx context.Context, ask TokenAsk) (TokenMade, error) {
	var made TokenMade
	err := c.call(ctx, http.MethodPost, "/v1/tokens", nil, ask, &made)
	return made, err
}

// RevokeToken takes a token of the region's doors back.
func (c *Client) RevokeToken(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/tokens/"+url.PathEscape(name), nil, nil, nil)
}
