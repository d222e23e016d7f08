// Package assistant serves the reading part of the admin API to assistants that speak the
// Model Context Protocol (modelcontextprotocol.io). It changes nothing: all it can reach is
// Door, which holds reads alone.
package assistant

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// Door is what the tools ask. *client.Client is one, and does more.
type Door interface {
	Status(context.Context) (api.Status, error)
	Guarantees(context.Context) ([]api.Promise, error)
	Regions(context.Context) ([]api.Region, error)
	Nodes(context.Context) ([]api.Node, error)
	Partitions(context.Context) ([]api.PartitionIn, error)
	Peers(context.Context) ([]api.Peer, error)
	Calls(ctx context.Context, f ownership.CallFilter, cursor string, limit int) (api.CallPage, error)
	ExplainCall(ctx context.Context, id string) (api.CallExplanation, error)
	Explain(context.Context, ownership.Supposed) (api.Explanation, error)
	Events(ctx context.Context, after uint64, follow bool, each func(history.Event) error) error
	ForecastNode(context.Context, ownership.NodeID) (api.NodeForecast, error)
	Evacuation(ctx context.Context, region ownership.Region, to ...ownership.Region) (api.Evacuation, error)
	LoseRegion(context.Context, ownership.Region) (api.Evacuation, error)
}

// Rulebook is what the tools ask about rules; client.Rules is one.
type Rulebook interface {
	Now(context.Context) (api.RulesNow, error)
	Diff(ctx context.Context, text string) (api.RulesDiff, error)
}

// Bounds of one answer: an assistant reads all of it.
const (
	mostAnswer = 200 << 10 // bytes
	mostCalls  = 100
	mostEvents = 200
)

const instructions = `Tandem routes the webhook notifications of Microsoft Teams calls to the bot instance that
owns each call. These tools read a running deployment and change nothing. Begin with status.
"Where did this call go?" is explain_call; "where would this notification go?" is
explain_notification; "what if" questions have tools of their own. Call ids may be written
with or without dashes.`

// Serve answers an assistant on in and out until it goes or the context ends. examine, for
// the tool doctor, says what is wrong with the deployment.
func Serve(ctx context.Context, door Door, rules Rulebook, examine func(context.Context) (any, error), software string, in io.ReadCloser, out io.WriteCloser) error {
	err := server(door, rules, examine, software).Run(ctx, &mcp.IOTransport{Reader: in, Writer: out})
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil //nolint:nilerr // the assistant has gone
	}
	return err
}

type (
	nothing struct{}
	callIn  struct {
		Call string `json:"call" jsonschema:"call id, with or without dashes; or the id of its chain or of one of its notifications"`
	}
	searchIn struct {
		Node      string `json:"node,omitempty" jsonschema:"only calls that this node acts for"`
		Tenant    string `json:"tenant,omitempty" jsonschema:"only calls of this tenant (GUID)"`
		App       string `json:"app,omitempty" jsonschema:"only calls of this app (GUID)"`
		Group     string `json:"group,omitempty" jsonschema:"only calls with this group key, such as thread:19:meeting_x@thread.v2"`
		Partition uint32 `json:"partition,omitempty" jsonschema:"only calls of this partition"`
		State     string `json:"state,omitempty" jsonschema:"claimed (ringing), answered, orphaned or ended; empty: all"`
		Cursor    string `json:"cursor,omitempty" jsonschema:"next of the page before"`
		Limit     int    `json:"limit,omitempty" jsonschema:"at most 100; 0: 50"`
	}
	noticeIn struct {
		Body   string `json:"body" jsonschema:"the webhook's body, JSON as the cloud sends it"`
		Target string `json:"target,omitempty" jsonschema:"path and query it would be posted to; empty: the webhook's path"`
		Tenant string `json:"tenant,omitempty" jsonschema:"the tenant that its token would name"`
		App    string `json:"app,omitempty" jsonschema:"the app that its token would name"`
	}
	eventsIn struct {
		After uint64 `json:"after,omitempty" jsonschema:"only events with a higher number; 0: the newest 200"`
		Call  string `json:"call,omitempty" jsonschema:"only events of this call"`
		Node  string `json:"node,omitempty" jsonschema:"only events of this node"`
	}
	rulesIn struct {
		Rules string `json:"rules" jsonschema:"the document of rules, tables and pins, in YAML or JSON"`
	}
	nodeIn struct {
		Node string `json:"node"`
	}
	regionIn struct {
		Region string   `json:"region"`
		To     []string `json:"to,omitempty" jsonschema:"who would take its new calls, in this order; empty: those with the most room"`
	}
)

// server has the tools.
func server(door Door, rules Rulebook, examine func(context.Context) (any, error), software string) *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "tandem", Title: "Tandem, read-only", Version: software}, &mcp.ServerOptions{Instructions: instructions})
	tool(s, "status", "How the asked node and its region are, which promises hold now and why, and what is warned of.", func(ctx context.Context, _ nothing) (any, error) {
		st, err := door.Status(ctx)
		if err != nil {
			return nil, err
		}
		promises, err := door.Guarantees(ctx)
		return map[string]any{"status": st, "promises": promises}, err
	})
	tool(s, "doctor", "Examines all nodes and public addresses and says what is wrong and what to do about it, the worst first.", func(ctx context.Context, _ nothing) (any, error) { return examine(ctx) })
	tool(s, "regions", "All regions with their nodes, room and health, as the asked node knows them.", func(ctx context.Context, _ nothing) (any, error) { return door.Regions(ctx) })
	tool(s, "nodes", "The nodes of the region with their live calls, and its raft peers.", func(ctx context.Context, _ nothing) (any, error) {
		nodes, err := door.Nodes(ctx)
		if err != nil {
			return nil, err
		}
		peers, err := door.Peers(ctx)
		return map[string]any{"nodes": nodes, "raft": peers}, err
	})
	tool(s, "partitions", "Who owns which partition of the region, in which epoch, with how many live calls.", func(ctx context.Context, _ nothing) (any, error) { return door.Partitions(ctx) })
	tool(s, "search_calls", "Finds calls by node, tenant, app, group, partition and state, page by page.", func(ctx context.Context, in searchIn) (any, error) {
		f := ownership.CallFilter{Node: ownership.NodeID(in.Node), Tenant: ownership.TenantID(in.Tenant), App: ownership.AppID(in.App), Group: ownership.GroupKey(in.Group), Partition: ownership.PartitionID(in.Partition)}
		if in.State != "" {
			state, err := ownership.ParseCallState(in.State)
			if err != nil {
				return nil, err
			}
			f.State = state
		}
		limit := cmp.Or(in.Limit, mostCalls/2)
		if limit < 0 || limit > mostCalls {
			return nil, fmt.Errorf("limit is %d: write a number from 1 to %d", in.Limit, mostCalls)
		}
		return door.Calls(ctx, f, in.Cursor, limit)
	})
	tool(s, "explain_call", "Why a call is where it is: its placement with the candidates, who owns it now, and what happened to it and its notifications, step by step.", func(ctx context.Context, in callIn) (any, error) {
		return door.ExplainCall(ctx, in.Call)
	})
	tool(s, "explain_notification", "What the public door would do with a notification, step by step, and why. Nothing happens.", func(ctx context.Context, in noticeIn) (any, error) {
		return door.Explain(ctx, ownership.Supposed{Body: []byte(in.Body), Target: in.Target, Tenant: ownership.TenantID(in.Tenant), App: ownership.AppID(in.App)})
	})
	tool(s, "events", "What happened to the region's table, oldest first.", func(ctx context.Context, in eventsIn) (any, error) { return events(ctx, door, in) })
	tool(s, "rules", "The rules in force, and which nodes and regions have them.", func(ctx context.Context, _ nothing) (any, error) { return rules.Now(ctx) })
	tool(s, "what_if_rules", "Which of the last calls would have gone elsewhere by other rules.", func(ctx context.Context, in rulesIn) (any, error) { return rules.Diff(ctx, in.Rules) })
	tool(s, "what_if_node_lost", "What the drain or the loss of a node would bring: its calls, and the others' room.", func(ctx context.Context, in nodeIn) (any, error) {
		return door.ForecastNode(ctx, ownership.NodeID(in.Node))
	})
	tool(s, "what_if_evacuated", "What the evacuation of a region would bring, or how far it is.", func(ctx context.Context, in regionIn) (any, error) {
		return door.Evacuation(ctx, ownership.Region(in.Region), ownership.Words[ownership.Region](in.To)...)
	})
	tool(s, "what_if_region_lost", "What the sudden loss of another region would bring to the asked one.", func(ctx context.Context, in regionIn) (any, error) {
		return door.LoseRegion(ctx, ownership.Region(in.Region))
	})
	return s
}

// tool adds one that reads: it answers in JSON, and with the door's own words where that
// refuses.
func tool[In any](s *mcp.Server, name, does string, ask func(context.Context, In) (any, error)) {
	no := false
	mcp.AddTool(s, &mcp.Tool{Name: name, Description: does, Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: true, DestructiveHint: &no, OpenWorldHint: &no}},
		func(ctx context.Context, _ *mcp.CallToolRequest, in In) (*mcp.CallToolResult, any, error) {
			v, err := ask(ctx, in)
			if err != nil {
				return nil, nil, err
			}
			text, err := json.MarshalIndent(v, "", " ")
			if err != nil {
				return nil, nil, fmt.Errorf("writing the answer: %w", err)
			}
			content := []mcp.Content{&mcp.TextContent{Text: string(text[:min(len(text), mostAnswer)])}}
			if len(text) > mostAnswer {
				content = append(content, &mcp.TextContent{Text: fmt.Sprintf("Cut off here, at %d of %d bytes: ask for less.", mostAnswer, len(text))})
			}
			return &mcp.CallToolResult{Content: content}, nil, nil
		})
}

// events gives the newest that match, or, behind a number, the next.
func events(ctx context.Context, door Door, in eventsIn) (any, error) {
	enough := errors.New("enough")
	call := ownership.CallID("")
	if in.Call != "" {
		id, err := ownership.ParseCallID(in.Call)
		if err != nil {
			return nil, err
		}
		call = id
	}
	found := []history.Event{}
	err := door.Events(ctx, in.After, false, func(e history.Event) error {
		if call != "" && e.Call != call || in.Node != "" && string(e.Node) != in.Node {
			return nil
		}
		if in.After > 0 && len(found) == mostEvents {
			return enough
		}
		if len(found) == mostEvents {
			found = append(found[:0], found[1:]...)
		}
		found = append(found, e)
		return nil
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return found, err
}
