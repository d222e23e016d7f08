package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humahttprouter"

	"tandem/admin/api"
)

// The timings of the summary's stream. A listener takes a second without a word for
// the end.
const (
	watchers  = 256                    // streams at a time, a quarter of them for one token, or one region
	watchLook = 200 * time.Millisecond // a change is told so soon
	watchBeat = 500 * time.Millisecond // and the figures as often as that, changed or not
)

// shown is what all listeners are told, made once for all of them.
type shown struct {
	mu      sync.Mutex
	at      time.Time
	whole   []byte // the summary
	figures []byte // the part of it that changes with each call
	nodes   string // the other part: nodes, partitions
	quick   string // figures without their time
}

type watchAsked struct {
	Follow bool `query:"follow" default:"true" doc:"false: end after the first event."`
}

// watchRoute puts the summary's stream on the door.
func (d *Door) watchRoute() {
	op := d.operation("follow-summary", http.MethodGet, "/v1/summary/stream", api.RoleRead, "What this region tells the others, as server-sent events")
	op.Description += " An event summary holds a Summary in JSON; it comes first, and again when nodes or partitions change. " +
		"An event figures is one without nodes_list, partitions and doors: these stay as they were. It comes within a quarter of a second of a change, and twice a second without one. " +
		"There is nothing to resume: the first event says all."
	op.Responses = map[string]*huma.Response{"200": {
		Description: "A stream of summaries.",
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{
			Type: huma.TypeArray, Items: d.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Summary](), true, "Summary"),
		}}},
	}}
	huma.Register(d.api, op, func(ctx context.Context, in *watchAsked) (*huma.StreamResponse, error) {
		who := caller(ctx)
		if !d.watchers.enter(who.hash) {
			return nil, unavailable(busyStreams)
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			defer d.watchers.leave(who.hash)
			_, w, _ := humahttprouter.Unwrap(ctx)
			d.watch(ctx.Context(), newEventStream(w, true), who, in.Follow)
		}}, nil
	})
}

// watch tells of the region until the listener goes, the door closes, or the listener's
// token ends.
func (d *Door) watch(ctx context.Context, s *eventStream, who visitor, follow bool) {
	tick := time.NewTicker(watchLook)
	defer tick.Stop()
	var nodes, quick string
	var told time.Time
	for {
		if !d.auth.still(who, api.RoleRead) {
			panic(http.ErrAbortHandler) // as of /v1/events
		}
		now := d.show()
		var err error
		switch since := time.Since(told); {
		case now.nodes != nodes:
			err = s.tell("summary", now.whole)
		case now.quick != quick, since > watchBeat-watchLook/2:
			err = s.tell("figures", now.figures)
		default:
			now = nil
		}
		if err != nil || !follow {
			return
		}
		if now != nil {
			nodes, quick, told = now.nodes, now.quick, time.Now()
		}
		select {
		case <-tick.C:
		case <-d.closing:
			return
		case <-ctx.Done():
			return
		}
	}
}

// show returns what is told now. It is made anew for the first who asks.
func (d *Door) show() *shown {
	d.shown.mu.Lock()
	defer d.shown.mu.Unlock()
	now := time.Now()
	if last := &d.shown; last.whole == nil || now.Sub(last.at) >= watchLook/2 {
		whole := d.summary()
		last.at = now
		last.whole = text(whole)
		rest := api.Summary{Doors: whole.Doors, NodesList: whole.NodesList, Partitions: whole.Partitions, LeftOut: whole.LeftOut}
		last.nodes = string(text(rest))
		whole.Doors, whole.NodesList, whole.Partitions, whole.LeftOut = nil, nil, nil, ""
		last.figures = text(whole)
		whole.AsOf = time.Time{}
		last.quick = string(text(whole))
	}
	return &shown{whole: d.shown.whole, figures: d.shown.figures, nodes: d.shown.nodes, quick: d.shown.quick}
}

func text(s api.Summary) []byte {
	out, err := json.Marshal(s)
	if err != nil {
		panic(err) // plain fields
	}
	return out
}
