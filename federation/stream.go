package federation

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"mime"
	"net/http"
	"slices"
	"time"
)

// A region tells of itself by a stream: what changes is here a quarter of a second
// later, and a stream that is silent for a second has broken off. Few doors are
// listened to, so that what a region tells does not grow with its nodes squared: one
// would do for the figures, the others are there when it dies. Which ones is chosen by a
// hash with a seed of this process, so the listeners of a deployment spread.

const (
	streamPath = summaryPath + "/stream"

	maxStreams = 3                // at the doors of one region
	silence    = time.Second      // of a stream that tells of itself twice in that time
	unable     = 30 * time.Second // until a door that has no stream is asked for one again
)

// Why a stream is over.
var (
	errNoStream = errors.New("the door has no stream") // an older one
	errSilent   = fmt.Errorf("the door said nothing for %s", silence)
)

// tend begins the streams that are wanted and ends the others.
func (f *follower) tend(ctx context.Context, doors []*door) {
	if len(f.region.adminURLs()) == 0 {
		return
	}
	able := slices.DeleteFunc(slices.Clone(doors), func(d *door) bool {
		l := d.said.Load()
		return l == nil || !l.answered || time.Now().Before(d.unable)
	})
	slices.SortStableFunc(able, func(a, b *door) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(maphash.String(f.seed, a.base), maphash.String(f.seed, b.base)))
	})
	able = able[:min(len(able), maxStreams)]
	for d, s := range f.streams {
		if !slices.Contains(able, d) {
			s.cancel()
			delete(f.streams, d)
		}
	}
	for _, d := range able {
		if f.streams[d] == nil {
			f.listen(ctx, d)
		}
	}
}

// stream is one that is listened to.
type stream struct {
	door   *door
	cancel context.CancelFunc
	err    error // why it is over
}

// listen begins a stream at a door. Its end comes in by f.ended.
func (f *follower) listen(ctx context.Context, d *door) {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{door: d, cancel: cancel}
	f.streams[d] = s
	f.listening.Go(func() {
		defer cancel()
		s.err = f.hearOut(ctx, d)
		d.streaming.Store(false)
		select {
		case f.ended <- s:
		case <-ctx.Done(): // nobody wants it any more
		}
	})
}

// hearOut keeps what a door tells until the door falls silent, breaks off, or ctx ends.
func (f *follower) hearOut(ctx context.Context, d *door) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := f.getAt(ctx, d, streamPath, http.Header{"Accept": {"text/event-stream"}}, f.self)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); resp.StatusCode != http.StatusOK || kind != "text/event-stream" {
		return errNoStream
	}
	silent := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer silent.Stop()
	var last *figures
	err = readEvents(resp.Body, maxAnswer, func(name string, data []byte) error {
		silent.Reset(silence)
		next := &figures{}
		switch {
		case name == "figures" && last != nil:
			*next = *last // nodes and partitions stay as they were told
			next.Apps, next.Rules, next.Healthy = nil, nil, nil
		case name != "summary":
			return nil // of newer software
		}
		if err := json.Unmarshal(data, next); err != nil {
			return fmt.Errorf("reading its stream: %w", err)
		}
		last = next
		l := look{answered: true}
		l.judge(f.region.Name, next)
		d.said.Store(&l)
		d.streaming.Store(true)
		select {
		case f.woke <- struct{}{}:
		default: // it will look
		}
		return nil
	})
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// readEvents reads server-sent events (HTML standard, section 9.2) until the reader's
// end, each of at most limit bytes.
func readEvents(from io.Reader, limit int, take func(name string, data []byte) error) error {
	lines := bufio.NewReader(from)
	var name string
	var data []byte
	size := 0
	for {
		line, err := lines.ReadSlice('\n')
		if size += len(line); size > limit {
			return fmt.Errorf("reading its stream: an event is longer than %d bytes", limit)
		}
		if errors.Is(err, bufio.ErrBufferFull) { // a long line of data comes in pieces
			whole := bytes.Clone(line)
			for errors.Is(err, bufio.ErrBufferFull) {
				line, err = lines.ReadSlice('\n')
				if size += len(line); size > limit {
					return fmt.Errorf("reading its stream: an event is longer than %d bytes", limit)
				}
				whole = append(whole, line...)
			}
			line = whole
		}
		if err != nil {
			return fmt.Errorf("reading its stream: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0:
			if len(data) > 0 {
				if err := take(name, bytes.TrimSuffix(data, []byte("\n"))); err != nil {
					return err
				}
			}
			name, data, size = "", nil, 0
		case string(field) == "event":
			name = string(value)
		case string(field) == "data":
			data = append(append(data, value...), '\n')
		}
	}
}
