package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humahttprouter"

	"tandem/admin/api"
)

// Captures tells of calls as they ring, in a form that may leave the deployment, and holds
// rules against such calls.
type Captures interface {
	// Capture calls each with every new call that rings at this node, until the context
	// ends or each returns an error; with recent, with those that are remembered first. It
	// returns how many it missed because each was too slow.
	Capture(ctx context.Context, recent bool, each func(api.Captured) error) (missed int64, err error)
	// Replay holds rules against captured calls. Its errors are about what was asked.
	Replay(context.Context, api.ReplayAsk) (api.RulesDiff, error)
}

// captureDoor is the part of the door that captures.
type captureDoor struct{ *Door }

type captureAsked struct {
	Recent  bool `query:"recent" doc:"Begin with the calls that the node remembers."`
	Seconds int  `query:"seconds" minimum:"1" maximum:"3600" default:"60" doc:"End after so long."`
	Most    int  `query:"most" minimum:"1" maximum:"100000" default:"10000" doc:"End after so many calls."`
}

func (d captureDoor) routes() {
	op := d.operation("capture-calls", http.MethodGet, "/v1/capture", api.RoleRead, "New calls as they ring at this node, without persons, as server-sent events")
	op.Errors = append(op.Errors, http.StatusNotImplemented)
	op.Description += " Nothing is captured while nobody reads. Each event call holds a Captured in JSON; the last event, end, a CaptureEnd. " +
		"There are no bodies and no tokens in it; persons and meetings have names of which nobody can tell whose they are."
	op.Responses = map[string]*huma.Response{"200": {
		Description: "A stream of calls.",
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{
			Type: huma.TypeArray, Items: d.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Captured](), true, "Captured"),
		}}},
	}}
	huma.Register(d.api, op, func(ctx context.Context, in *captureAsked) (*huma.StreamResponse, error) {
		if d.deps.Captures == nil {
			return nil, absent("Capturing")
		}
		who := caller(ctx)
		if !d.streams.enter(who.hash) {
			return nil, unavailable(busyStreams)
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			defer d.streams.leave(who.hash)
			_, w, _ := humahttprouter.Unwrap(ctx)
			d.capture(ctx.Context(), newEventStream(w, true), who, *in)
		}}, nil
	})
	replay := d.operation("replay-calls", http.MethodPost, "/v1/rules/replay", api.RoleRead, "Where captured calls would go by a candidate, or by the rules in force; nothing is changed")
	replay.Errors = append(replay.Errors, http.StatusUnprocessableEntity, http.StatusNotImplemented)
	huma.Register(d.api, replay, func(ctx context.Context, in *struct{ Body api.ReplayAsk }) (*reply[api.RulesDiff], error) {
		if d.deps.Captures == nil {
			return nil, absent("Capturing")
		}
		if err := ruleDoor(d).checkRules(in.Body.Text, true); err != nil {
			return nil, err
		}
		return within(ctx, d.Door, func(ctx context.Context) (api.RulesDiff, error) {
			out, err := d.deps.Captures.Replay(ctx, in.Body)
			if err != nil {
				return out, huma.Error422UnprocessableEntity(err.Error()) // all of it is about what was asked
			}
			return whole(out), nil
		})
	})
}

// capture streams until the time is over, there are enough, the reader goes, its token
// ends, or the door closes.
func (d captureDoor) capture(ctx context.Context, s *eventStream, who visitor, in captureAsked) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(in.Seconds)*time.Second)
	defer cancel()
	calls, missed := make(chan api.Captured), make(chan int64, 1)
	go func() {
		n, _ := d.deps.Captures.Capture(ctx, in.Recent, func(c api.Captured) error { // its error is the context's
			select {
			case calls <- c:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		missed <- n
	}()
	beat := time.NewTicker(watchLook)
	defer beat.Stop()
	end := api.CaptureEnd{Why: "time"}
	var err error
	for idle := 0; err == nil && end.Calls < in.Most; {
		select {
		case c := <-calls:
			end.Calls++
			err = s.tell("call", captured(c))
			continue
		case <-beat.C:
			if !d.auth.still(who, api.RoleRead) {
				panic(http.ErrAbortHandler) // as of /v1/events
			}
			if idle++; idle%int(eventBeat/watchLook) == 0 {
				err = s.beat()
			}
			continue
		case <-d.closing:
			end.Why = "closing"
		case <-ctx.Done():
		}
		break
	}
	if end.Calls == in.Most {
		end.Why = "calls"
	}
	cancel()
	end.Missed = <-missed
	if err == nil {
		_ = s.tell("end", captured(end)) // a reader that has gone needs no end
	}
}

func captured(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain fields
	}
	return out
}

// whole makes a difference's lists lists.
func whole(d api.RulesDiff) api.RulesDiff {
	d.Moves, d.Examples, d.Heard, d.Missing = orEmpty(d.Moves), orEmpty(d.Examples), orEmpty(d.Heard), orEmpty(d.Missing)
	return d
}
