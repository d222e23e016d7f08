package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humahttprouter"

	"tandem/admin/api"
	"tandem/ownership/history"
)

const (
	eventBatch  = 256              // events read from the journal at a time
	eventBeat   = 15 * time.Second // a comment keeps idle streams alive
	streamGrace = 10 * time.Second // a follower must take a batch within this
)

// eventsAsked is the input of the event stream.
type eventsAsked struct {
	Region      string `query:"region" maxLength:"64" doc:"Of which region; absent: of the one whose node is asked."`
	After       uint64 `query:"after" doc:"Only events with a higher id. Last-Event-ID goes first."`
	LastEventID string `header:"Last-Event-ID" maxLength:"20"`
	Follow      bool   `query:"follow" default:"true" doc:"false: end when there are no more."`
}

// streamRoutes puts the event stream and snapshots on the door.
func (d *Door) streamRoutes() {
	op := far(d.operation("follow-events", http.MethodGet, "/v1/events", api.RoleRead, "What happens to the table, as server-sent events, resumable by Last-Event-ID"), asStream)
	op.Description += " Each event's data is an Event in JSON, its id the Event's id, its name the Event's kind. " +
		"An event of kind " + string(history.Gap) + " says that older ones are no longer kept. " +
		"The stream breaks off when its token is revoked or expires."
	op.Responses = map[string]*huma.Response{"200": {
		Description: "A stream of events.",
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{
			Type: huma.TypeArray, Items: d.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[history.Event](), true, "Event"),
		}}},
	}}
	huma.Register(d.api, op, eventFeed{d}.followEvents)
	d.watchRoute()
	d.scalingRoute()
	d.pulseRoute()
	claims{d.deps.Journal}.route(d)

	save := d.change("save-snapshot", http.MethodGet, "/v1/snapshot", api.RoleOperate, "The whole table in one file, with stamp and checksum")
	save.Responses = map[string]*huma.Response{"200": {Description: "The snapshot.", Content: map[string]*huma.MediaType{"application/octet-stream": {}}}}
	huma.Register(d.api, save, snapshots{d}.saveSnapshot)

	restore := d.noContent(d.change("restore-snapshot", http.MethodPut, "/v1/snapshot", api.RoleOperate, "Replace the region's table by a snapshot of the same deployment and region"))
	restore.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/octet-stream": {}}}
	restore.Errors = append(restore.Errors, http.StatusUnprocessableEntity)
	huma.Register(d.api, restore, snapshots{d}.restoreSnapshot)
}

// eventFeed is the stream of events.
type eventFeed struct{ *Door }

// busyStreams refuses a follower too many.
const busyStreams = "As many streams as this node serves, or serves one token, are open already."

func (d eventFeed) followEvents(ctx context.Context, in *eventsAsked) (*huma.StreamResponse, error) {
	after, err := resumePoint(in.LastEventID, strconv.FormatUint(in.After, 10))
	if err != nil {
		return nil, huma.Error400BadRequest(err.Error())
	}
	if _, _, err := d.events(after, 1); err != nil {
		return nil, problem(err)
	}
	reader := caller(ctx)
	if !d.streams.enter(reader.hash) {
		return nil, unavailable(busyStreams)
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		defer d.streams.leave(reader.hash)
		_, w, _ := humahttprouter.Unwrap(ctx)
		d.pump(ctx.Context(), newEventStream(w, true), reader, after, in.Follow)
	}}, nil
}

// events returns at most limit events after an id, oldest first, and the id of the oldest
// one that is still kept; 0: none is.
func (d eventFeed) events(after uint64, limit int) (events []history.Event, oldest uint64, err error) {
	first, err := d.deps.Journal.Events(0, 1)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range first {
		oldest = e.ID
	}
	events, err = d.deps.Journal.Events(after, limit)
	return events, oldest, err
}

// resumePoint reads where a follower left off: the header goes first.
func resumePoint(header, query string) (uint64, error) {
	text := cmp.Or(header, query)
	if text == "" {
		return 0, nil
	}
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, errors.New("Last-Event-ID and after must be the id of an event: a number")
	}
	return id, nil
}

// places counts the followers of events: so many in all, and a quarter of them for
// one token, so that one reader cannot keep the others out. On a door without
// tokens nobody can be told apart.
type places struct {
	mu   sync.Mutex
	most int
	open int
	of   map[[sha256.Size]byte]int
}

func newPlaces(most int) *places {
	return &places{most: most, of: map[[sha256.Size]byte]int{}}
}

// enter takes a follower's place, if there is one.
func (p *places) enter(token [sha256.Size]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open >= p.most || token != [sha256.Size]byte{} && p.of[token] >= max(1, p.most/4) {
		return false
	}
	p.open++
	p.of[token]++
	return true
}

func (p *places) leave(token [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	if p.of[token]--; p.of[token] == 0 {
		delete(p.of, token)
	}
}

// pump sends events until the follower goes, the door closes, or, without
// follow, there are no more. Before each batch and with each beat it looks whether
// the reader's token still holds: a stream must not outlive it.
func (d eventFeed) pump(ctx context.Context, s *eventStream, reader visitor, after uint64, follow bool) {
	for {
		if !d.auth.still(reader, api.RoleRead) {
			panic(http.ErrAbortHandler) // an orderly end would say that there are no more
		}
		events, oldest, err := d.events(after, eventBatch)
		if err != nil {
			d.log.Error("reading the event history for a follower", "after", after, "err", err)
			panic(http.ErrAbortHandler) // an orderly end would say that there are no more
		}
		if after > 0 && oldest > after+1 {
			gap := history.Event{ID: oldest - 1, At: d.now().UTC(), Kind: history.Gap,
				Text: fmt.Sprintf("Events after %d are no longer kept; the oldest one left is %d.", after, oldest)}
			if s.send(gap) != nil {
				return
			}
		}
		for _, e := range events {
			if s.send(e) != nil {
				return
			}
			after = e.ID
		}
		if oldest > 0 && after+1 < oldest {
			after = oldest - 1
		}
		if s.flush() != nil {
			return
		}
		if len(events) > 0 {
			continue
		}
		if !follow {
			return
		}
		switch err := d.waitEvent(ctx, after); {
		case err == nil:
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			if s.beat() != nil {
				return
			}
		default:
			return
		}
	}
}

var errClosing = errors.New("the door is closing")

// waitEvent waits for an event above after, for a beat at most, and not past
// the door's closing.
func (d eventFeed) waitEvent(ctx context.Context, after uint64) error {
	ctx, cancel := context.WithTimeout(ctx, eventBeat)
	defer cancel()
	ctx, cancelCause := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-d.closing:
			cancelCause(errClosing)
		case <-ctx.Done():
		}
	}()
	err := d.deps.Journal.Wait(ctx, after)
	if errors.Is(context.Cause(ctx), errClosing) {
		err = errClosing
	}
	cancelCause(nil)
	<-done
	return err
}

// eventStream writes server-sent events (HTML standard, section 9.2).
type eventStream struct {
	w     io.Writer
	out   *http.ResponseController
	named bool // each event carries its kind as its name
}

// newEventStream opens a stream at once: where nothing happens the first word may be long in
// coming, and until then the reader would not know that anybody listens.
func newEventStream(w http.ResponseWriter, named bool) *eventStream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	s := &eventStream{w: w, out: http.NewResponseController(w), named: named}
	_ = s.flush() // of a reader that has gone the first word tells
	return s
}

func (s *eventStream) send(e history.Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("writing event %d: %w", e.ID, err)
	}
	if err := s.out.SetWriteDeadline(time.Now().Add(streamGrace)); err != nil {
		return err
	}
	name := ""
	if s.named {
		name = "event: " + fieldText(string(e.Kind)) + "\n"
	}
	_, err = fmt.Fprintf(s.w, "id: %d\n%sdata: %s\n\n", e.ID, name, data)
	return err
}

// tell sends an event without an id at once.
func (s *eventStream) tell(name string, data []byte) error {
	if err := s.out.SetWriteDeadline(time.Now().Add(streamGrace)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", name, data); err != nil {
		return err
	}
	return s.flush()
}

func (s *eventStream) beat() error {
	if _, err := io.WriteString(s.w, ":\n\n"); err != nil {
		return err
	}
	return s.flush()
}

// flush gives the follower streamGrace to take what was written.
func (s *eventStream) flush() error {
	if err := s.out.SetWriteDeadline(time.Now().Add(streamGrace)); err != nil {
		return err
	}
	return s.out.Flush()
}

// fieldText keeps a line break out of a field: it would begin another one.
func fieldText(s string) string {
	out := []byte(s)
	for i, c := range out {
		if c == '\n' || c == '\r' || c == 0 {
			out[i] = ' '
		}
	}
	return string(out)
}
