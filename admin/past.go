package admin

import (
	"context"
	"fmt"
	"net/http"
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
	events, err := d.deps.Journal.Owning()
	return history.PartitionsAt(now, events, m), err
}

// callAt returns a call as it was.
func (d past) callAt(raw string, m history.Moment) (ownership.Call, error) {
	id, err := ownership.ParseCallID(raw)
	if err != nil {
		return ownership.Call{}, huma.Error400BadRequest(err.Error())
	}
	today, known := d.deps.Table.Call(id)
	line, err := d.deps.Journal.Timeline(id)
	if err != nil {
		return ownership.Call{}, err
	}
	c, was := history.CallAt(today, known, line, m)
	if !was {
		return c, huma.Error404NotFound(fmt.Sprintf("The region %s knew no call %s at that moment, as far as its history tells.", d.cfg.Region, id))
	}
	return c, nil
}
