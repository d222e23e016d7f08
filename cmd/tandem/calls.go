package main

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
	"tandem/ownership/history"
)

func (a *app) callsCommand() *cobra.Command {
	var (
		f                        ownership.CallFilter
		partition, state, cursor string
		limit                    int
		count                    bool
		past                     pastFlags
	)
	c := &cobra.Command{
		Use:   "calls [list | [show] CALL]",
		Short: "the calls in the ownership table",
		Long: `Lists calls, or shows one with its timeline: those that wait for somebody first
(orphaned, then claimed), then the answered ones, and the ended ones at last. They stay
for some minutes, so that late notifications do no harm. OWNER is who acts for a call now.`,
		Example: `  tandem calls --state orphaned          what died with its node and can be rejoined
  tandem calls --node emea-1 --limit 20
  tandem calls --region all
  tandem calls --count --tenant 8986d25d-ed3f-4bb8-b739-14d2fcc37b09
  tandem calls --at 2026-11-29T14:03:00Z   which ones lived then, and who acted for them
  tandem calls 57dab8b1-894c-409a-b240-bd8beae78896   in whichever region it is`,
		Args: cobra.ArbitraryArgs,
		RunE: a.listing(func(ctx context.Context, c *client.Client, name string) error {
			err := checkLimit(limit)
			if err == nil {
				c.Then, err = past.then()
			}
			switch {
			case err != nil:
				return err
			case name != "" && c.Then != (client.Then{}):
				k, err := c.Call(ctx, name)
				if err != nil {
					return err
				}
				return a.print(k, callRows([]api.CallIn{{Call: k}}))
			case name != "":
				return a.showCall(ctx, c, name)
			}
			if partition != "" {
				id, err := partitionID(partition)
				if err != nil {
					return err
				}
				f.Partition = id
			}
			if state != "" {
				s, err := ownership.ParseCallState(state)
				if err != nil {
					return usage("%w", err)
				}
				f.State = s
			}
			if count {
				return a.countCalls(ctx, c, f)
			}
			page, err := liveFirst{c}.calls(ctx, f, cursor, limit)
			if err != nil {
				return err
			}
			if page.Next != "" {
				defer a.done("there are more: --cursor %s", page.Next)
			}
			if f.State == ownership.CallOrphaned {
				return a.print(page, orphanRows(page.Items))
			}
			return a.print(page, callRows(page.Items))
		}),
	}
	flags := c.Flags()
	past.register(c)
	a.regionFlag(c, "of another region, or of all: then the limit is each region's")
	flags.StringVar((*string)(&f.Node), "node", "", "only calls that this node acts for, those reserved for it included")
	flags.StringVar(&partition, "partition", "", "only calls of this partition")
	flags.StringVar((*string)(&f.Tenant), "tenant", "", "only calls of this tenant")
	flags.StringVar((*string)(&f.App), "app", "", "only calls of this app")
	flags.StringVar((*string)(&f.Group), "group", "", "only calls that carry this group key, such as thread:19:…")
	flags.StringVar(&state, "state", "", "only claimed, answered, orphaned or ended calls")
	flags.StringVar(&cursor, "cursor", "", "where the last page stopped")
	flags.IntVar(&limit, "limit", 50, "at most so many")
	flags.BoolVar(&count, "count", false, "only say how many there are, by state")
	c.MarkFlagsMutuallyExclusive("count", "cursor")
	return c
}

// countCalls says how many calls a filter takes, page by page: calls that come or end meanwhile
// may be missed.
func (a *app) countCalls(ctx context.Context, c *client.Client, f ownership.CallFilter) error {
	counts, all := map[ownership.CallState]int{}, 0
	for cursor, more := "", true; more; more = cursor != "" {
		page, err := c.Calls(ctx, f, cursor, api.MostCalls)
		if err != nil {
			return err
		}
		for _, k := range page.Items {
			counts[k.State]++
		}
		all, cursor = all+len(page.Items), page.Next
	}
	rows, told := [][]string{{"STATE", "CALLS"}}, map[string]int{"all": all}
	for _, s := range ownership.ByUrgency {
		rows, told[s.String()] = append(rows, []string{s.String(), strconv.Itoa(counts[s])}), counts[s]
	}
	return a.print(told, append(rows, []string{"all", strconv.Itoa(all)}))
}

// liveFirst lists calls in the order of ownership.ByUrgency. A cursor of its own names the state
// at which a page stopped: "answered/after-…".
type liveFirst struct{ *client.Client }

func (l liveFirst) calls(ctx context.Context, f ownership.CallFilter, cursor string, limit int) (all api.CallPage, err error) {
	name, inside, ours := strings.Cut(cursor, "/")
	if f.State != 0 || cursor != "" && !ours || l.Then != (client.Then{}) {
		page, err := l.Calls(ctx, f, cursor, limit)
		slices.SortStableFunc(page.Items, func(a, b api.CallIn) int {
			return cmp.Compare(slices.Index(ownership.ByUrgency, a.State), slices.Index(ownership.ByUrgency, b.State))
		})
		return page, err
	}
	begin := 0
	if ours {
		state, err := ownership.ParseCallState(name)
		if err != nil {
			return all, usage("--cursor is %.64q: give the one of the page before", cursor)
		}
		begin = slices.Index(ownership.ByUrgency, state)
	}
	all.Items = []api.CallIn{}
	everywhere := l.Region == "all" || l.Region == "*"
	for _, state := range ownership.ByUrgency[begin:] {
		if len(all.Items) >= limit {
			all.Next = state.String() + "/"
			return all, nil
		}
		f.State = state
		most := limit - len(all.Items)
		if everywhere {
			most = limit // each region's
		}
		page, err := l.Calls(ctx, f, inside, most)
		if err != nil {
			return all, err
		}
		inside = ""
		all.Items = append(all.Items, page.Items...)
		if page.Next != "" {
			all.Next = state.String() + "/" + page.Next
			return all, nil
		}
	}
	return all, nil
}

func callRows(calls []api.CallIn) [][]string {
	now := time.Now()
	rows := [][]string{{"CALL", "STATE", "OWNER", "PARTITION", "EPOCH", "REASON", "CLAIMED", "TENANT"}}
	for _, k := range calls {
		owner := cmp.Or(k.Owner, k.Placement.Owner) // a node of older software does not say who acts now
		if k.State == ownership.CallEnded {
			owner = ""
		}
		rows = append(rows, []string{
			string(k.ID), k.State.String(), dash(string(owner)), k.Partition.String(), k.Epoch.String(),
			string(k.Placement.Reason), ago(k.ClaimedAt, now), dash(string(k.Tenant)),
		})
	}
	return inRegion(rows, calls, func(k api.CallIn) ownership.Region { return k.Region })
}

// orphanRows shows what is needed to rejoin calls whose media died with their
// node: the meeting (thread and organizer) and in whose tenant it is.
func orphanRows(calls []api.CallIn) [][]string {
	now := time.Now()
	rows := [][]string{{"CALL", "TENANT", "THREAD", "ORGANIZER", "OBSERVED", "APP", "LOST WITH", "ANSWERED"}}
	for _, k := range calls {
		rows = append(rows, []string{
			string(k.ID), dash(string(k.Tenant)), dash(k.Thread), dash(k.Organizer), dash(k.Observed), dash(string(k.App)),
			dash(string(k.Placement.Owner)), ago(k.AnsweredAt, now),
		})
	}
	return inRegion(rows, calls, func(k api.CallIn) ownership.Region { return k.Region })
}

func (a *app) showCall(ctx context.Context, c *client.Client, id string) error {
	if err := checkCallID(id); err != nil {
		return err
	}
	call, err := c.Call(ctx, id)
	if err != nil {
		return err
	}
	why, err := c.ExplainCall(ctx, id)
	if err != nil {
		return err
	}
	both := struct {
		Call     ownership.Call  `json:"call"`
		Why      []string        `json:"why"`
		Timeline []history.Event `json:"timeline"`
		api.Trail
	}{Call: call, Why: why.Why, Timeline: why.Timeline, Trail: why.Trail}
	rows := [][]string{
		{"call", string(call.ID)},
		{"state", call.State.String()},
		{"partition", call.Partition.String() + ", epoch " + call.Epoch.String()},
		{"owner now", string(cmp.Or(call.Owner, why.Partition.Owner))},
		{"tenant", dash(string(call.Tenant))},
		{"app", dash(string(call.App))},
		{"thread", dash(call.Thread)},
		{"organizer", dash(call.Organizer)},
		{"groups", dash(joined(call.Groups, " "))},
	}
	rows = append(rows, under("why", why.Why)...)
	return a.print(both, append(rows, story(why.Timeline, why.Trail)...))
}
