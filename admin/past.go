package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// Then is the part of a read's input that chooses a moment of the past; nothing: now.
type Then struct {
	At    time.Time `query:"at" doc:"As it was at this time (RFC 3339), by the region's history."`
	Index uint64    `query:"index" doc:"As it was after this raft index, by the region's history."`
}

// moment is what was asked for; false: now.
func (t Then) moment() (history.Moment, bool) {
	m := history.Moment{Index: t.Index, At: t.At}
	return m, m != history.Moment{}
}

// pastAnswer is the output of a read that knows the past.
type pastAnswer[T any] struct {
	api.Freshness
	Since string `header:"Tandem-History-Since" doc:"Of an answer about the past: how far back the history reaches."`
	First string `header:"Tandem-History-Since-Index" doc:"The same as a raft index."`
	Body  T
}

// past is the part of the door that reads the table, as it is or as it was.
type past struct{ *Door }

func (d past) routes() {
	const more = " With at or index it is told as it was then, as far as the region's history reaches back: 410 beyond that."
	then := func(op huma.Operation) huma.Operation {
		op.Description += more
		op.Errors = append(op.Errors, http.StatusGone)
		return op
	}
	all := then(far(d.operation("list-partitions", http.MethodGet, "/v1/partitions", api.RoleRead, "The partitions of the region"), toAll))
	huma.Register(d.api, all, func(ctx context.Context, in *struct {
		Asking
		Then
	}) (*pastAnswer[api.List[api.PartitionIn]], error) {
		return readPast(ctx, d, in.Asking, in.Then, func(m history.Moment, then bool) (out api.List[api.PartitionIn], err error) {
			parts, err := d.partitions(m, then)
			if err != nil {
				return out, err
			}
			var moved map[ownership.PartitionID]api.Moved
			if !then {
				if moved, err = d.moves.recent(d.deps.Journal, d.now()); err != nil {
					return out, err
				}
			}
			out.Items = make([]api.PartitionIn, len(parts))
			for i, p := range parts {
				out.Items[i].Partition = p
				if m, ok := moved[p.ID]; ok {
					out.Items[i].Moved = &m
				}
			}
			return out, nil
		})
	})
	nodes := then(far(d.operation("list-nodes", http.MethodGet, "/v1/nodes", api.RoleRead, "The nodes of the region"), toAll))
	nodes.Description += " Of the past, a node's record but for its state is that of today, and a node is silent if nothing was told of it since it fell silent."
	huma.Register(d.api, nodes, func(ctx context.Context, in *struct {
		Asking
		Then
	}) (*pastAnswer[api.List[api.Node]], error) {
		return readPast(ctx, d, in.Asking, in.Then, func(m history.Moment, then bool) (api.List[api.Node], error) {
			if !then {
				return list(d.nodes()), nil
			}
			all, err := d.nodesAt(ctx, m)
			return list(all), err
		})
	})
	calls := then(far(d.operation("list-calls", http.MethodGet, "/v1/calls", api.RoleRead, "Calls, filtered, page by page"), toAll))
	calls.Description += " Of the past they are those that lived, not those that had ended, and a page may hold less than asked for with a next one after it."
	huma.Register(d.api, calls, func(ctx context.Context, in *callsAsked) (*pastAnswer[api.CallPage], error) {
		f, err := in.filter()
		if err != nil {
			return nil, huma.Error400BadRequest(err.Error())
		}
		return readPast(ctx, d, in.Asking, in.Then, func(m history.Moment, then bool) (api.CallPage, error) {
			if then {
				return d.callsAt(ctx, f, m, in.Cursor, in.Limit)
			}
			return d.page(f, in.Cursor, in.Limit)
		})
	})
	one := then(far(d.operation("get-partition", http.MethodGet, "/v1/partitions/{id}", api.RoleRead, "One partition"), toOne))
	huma.Register(d.api, one, func(ctx context.Context, in *struct {
		Asking
		Then
		ID uint32 `path:"id" minimum:"1"`
	}) (*pastAnswer[ownership.Partition], error) {
		return readPast(ctx, d, in.Asking, in.Then, func(m history.Moment, then bool) (ownership.Partition, error) {
			parts, err := d.partitions(m, then)
			for _, p := range parts {
				if p.ID == ownership.PartitionID(in.ID) {
					return p, nil
				}
			}
			if err == nil {
				err = huma.Error404NotFound(fmt.Sprintf("The region has no partition %d%s.", in.ID, when(then)))
			}
			return ownership.Partition{}, err
		})
	})
	call := then(far(d.operation("get-call", http.MethodGet, "/v1/calls/{id}", api.RoleRead, "One call"), untilOne))
	call.Description += " A call that this region does not know is looked for in the others, unless a region is named. Of the past its owner is absent where " +
		"its media may have been on a node that was silent."
	huma.Register(d.api, call, func(ctx context.Context, in *struct {
		Asking
		Then
		ID string `path:"id" maxLength:"160" doc:"Call id, with or without dashes, in any letter case."`
	}) (*pastAnswer[ownership.Call], error) {
		return readPast(ctx, d, in.Asking, in.Then, func(m history.Moment, then bool) (ownership.Call, error) {
			if then {
				return d.callAt(in.ID, m)
			}
			return d.findCall(in.ID)
		})
	})
}

func when(then bool) string {
	if then {
		return " at that moment"
	}
	return ""
}

// readPast reads the table as it is, or as it was.
func readPast[T any](ctx context.Context, d past, a Asking, t Then, read func(history.Moment, bool) (T, error)) (*pastAnswer[T], error) {
	fresh, err := d.freshen(ctx, a)
	if err != nil {
		return nil, err
	}
	out := &pastAnswer[T]{Freshness: fresh}
	m, then := t.moment()
	if then {
		first, err := d.reach(m)
		if err != nil {
			return nil, err
		}
		out.Since, out.First = first.At.UTC().Format(time.RFC3339Nano), strconv.FormatUint(first.Index, 10)
	}
	if out.Body, err = read(m, then); err != nil {
		return nil, problem(err)
	}
	return out, nil
}

// reach returns the oldest event that the history still has, where it reaches back to a
// moment.
func (d past) reach(m history.Moment) (history.Event, error) {
	oldest, err := d.deps.Journal.Events(0, 1)
	switch {
	case err != nil:
		return history.Event{}, problem(err)
	case m.Index != 0 && !m.At.IsZero():
		return history.Event{}, huma.Error400BadRequest("Say at or index, not both.")
	case m.Index > d.deps.Table.Applied():
		return history.Event{}, huma.Error400BadRequest(fmt.Sprintf("The table here has applied the log up to index %d.", d.deps.Table.Applied()))
	case m.At.After(d.now()):
		return history.Event{}, huma.Error400BadRequest("That time is yet to come.")
	case len(oldest) == 0 || !m.Past(&oldest[0]):
		return history.Event{}, huma.Error410Gone("The history does not reach back so far: " + reachText(oldest))
	}
	return oldest[0], nil
}

func reachText(oldest []history.Event) string {
	if len(oldest) == 0 {
		return "it is empty."
	}
	return fmt.Sprintf("its oldest event is of index %d, %s.", oldest[0].Index, oldest[0].At.UTC().Format(time.RFC3339Nano))
}

func (d past) partitions(m history.Moment, then bool) ([]ownership.Partition, error) {
	now := d.deps.Table.Partitions()
	if !then {
		return now, nil
	}
	events, err := d.deps.Journal.Owning(0)
	return history.PartitionsAt(now, events, m), err
}

// callThen returns a call as it was; false: there was none.
func (d past) callThen(id ownership.CallID, m history.Moment) (ownership.Call, bool, error) {
	today, known := d.deps.Table.Call(id)
	line, err := d.deps.Journal.Timeline(id)
	if err != nil {
		return ownership.Call{}, false, err
	}
	c, was := history.CallAt(today, known, line, m)
	if len(line) == 0 && known && today.State != ownership.CallEnded && m.Index == 0 && !today.ClaimedAt.After(m.At) {
		return today, true, nil // nothing happened to it in all the history
	}
	return c, was, nil
}

// pastSought is how many calls of the past are looked at for one page.
const pastSought = 10_000

// callsAt returns a page of the calls that lived at a moment.
func (d past) callsAt(ctx context.Context, f ownership.CallFilter, m history.Moment, cursor string, limit int) (page api.CallPage, err error) {
	page.Items = []api.CallIn{}
	switch {
	case f.Group != "":
		return page, huma.Error400BadRequest("The history does not tell groups: leave out group, or at and index.")
	case f.State == ownership.CallEnded:
		return page, huma.Error400BadRequest("Of the past, calls are listed that lived: leave out state=ended, or at and index.")
	}
	last, err := lastOf(cursor)
	if err != nil {
		return page, err
	}
	ids, err := d.deps.Journal.LivingAt(m)
	if err != nil {
		return page, err
	}
	from, _ := slices.BinarySearch(ids, ownership.CallID(last+"\x00"))
	for i, id := range ids[from:] {
		if len(page.Items) == limit || i == pastSought {
			page.Next = cursorMark + last
			return page, nil
		}
		if err := ctx.Err(); err != nil {
			return page, err
		}
		c, was, err := d.callThen(id, m)
		if err != nil {
			return page, err
		}
		if last = string(id); was && lived(c.State) && chosen(f, &c) {
			page.Items = append(page.Items, api.CallIn{Call: c})
		}
	}
	return page, nil
}

func lived(s ownership.CallState) bool { return s.Live() || s == ownership.CallOrphaned }

// chosen reports whether a filter takes a call of the past.
func chosen(f ownership.CallFilter, c *ownership.Call) bool {
	return (f.Node == "" || f.Node == c.Owner) && (f.Partition == 0 || f.Partition == c.Partition) && (f.Tenant == "" || f.Tenant == c.Tenant) &&
		(f.App == "" || f.App == c.App) && (f.State == 0 || f.State == c.State)
}

// nodesAt returns the nodes as they were, with the partitions and the live calls that they had.
func (d past) nodesAt(ctx context.Context, m history.Moment) (all []api.Node, err error) {
	members, err := d.deps.Journal.Members()
	if err != nil {
		return nil, err
	}
	owning, err := d.deps.Journal.Owning(0)
	if err != nil {
		return nil, err
	}
	parts := map[ownership.NodeID]int{}
	for _, p := range history.PartitionsAt(d.deps.Table.Partitions(), owning, m) {
		if !p.Retired {
			parts[p.Owner]++
		}
	}
	ids, err := d.deps.Journal.LivingAt(m)
	if err != nil {
		return nil, err
	}
	live := map[ownership.NodeID]int{}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, was, err := d.callThen(id, m)
		if err != nil {
			return nil, err
		}
		if was && c.State.Live() {
			live[c.Owner]++
		}
	}
	events := append(members, owning...)
	slices.SortFunc(events, func(a, b history.Event) int { return cmp.Compare(a.ID, b.ID) })
	for _, n := range history.NodesAt(d.deps.Table.Nodes(), events, m) {
		one := api.Node{Node: n.Node, Standing: n.State.String(), Live: live[n.ID], Partitions: parts[n.ID]}
		if !n.Silent.IsZero() && n.State != ownership.NodeGone {
			one.Standing = api.NodeSilent
			one.Silence = &api.Silence{Silence: ownership.Silence{Node: n.ID, Since: n.Silent},
				Text: fmt.Sprintf("%s fell silent at %s, and nothing was told of it until then", n.ID, n.Silent.UTC().Format(time.RFC3339))}
		}
		all = append(all, one)
	}
	return all, nil
}

// callAt returns a call as it was.
func (d past) callAt(raw string, m history.Moment) (ownership.Call, error) {
	id, err := ownership.ParseCallID(raw)
	if err != nil {
		return ownership.Call{}, huma.Error400BadRequest(err.Error())
	}
	c, was, err := d.callThen(id, m)
	if err != nil {
		return c, err
	}
	if !was {
		return c, huma.Error404NotFound(fmt.Sprintf("The region %s knew no call %s at that moment, as far as its history tells.", d.cfg.Region, id))
	}
	return c, nil
}
