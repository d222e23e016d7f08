package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// resumePause is how long the client waits before it takes a broken stream up
// again.
const resumePause = time.Second

// Events calls each with every event whose id is above after, oldest first, and
// goes on until the context ends, each returns an error, or the door refuses.
// A stream that breaks is taken up again after the last event seen. With follow
// false it returns nil once there are no more.
func (c *Client) Events(ctx context.Context, after uint64, follow bool, each func(history.Event) error) error {
	started := false
	for {
		err := c.stream(ctx, &after, follow, each, func() { started = true })
		var refused *Problem
		switch {
		case err == nil && !follow, ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused) && (!started || !Unavailable(err)):
			return err
		case errors.As(err, new(stopped)):
			return errors.Unwrap(err)
		}
		pause := time.NewTimer(resumePause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

// stopped wraps what the caller's own function returned.
type stopped struct{ error }

// Unwrap returns the caller's error.
func (s stopped) Unwrap() error { return s.error }

// stream reads one connection's events.
func (c *Client) stream(ctx context.Context, after *uint64, follow bool, each func(history.Event) error, opened func()) error {
	header := http.Header{"Accept": {"text/event-stream"}}
	if *after > 0 {
		header.Set("Last-Event-ID", strconv.FormatUint(*after, 10))
	}
	query := url.Values{"follow": {strconv.FormatBool(follow)}}
	if c.Region != "" {
		query.Set("region", string(c.Region))
	}
	res, err := c.request(ctx, http.MethodGet, "/v1/events", query, header, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	opened()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue // the id stands in the data, too
		}
		var e history.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("reading an event: %w", err)
		}
		if err := each(e); err != nil {
			return stopped{err}
		}
		*after = e.ID
	}
	return lines.Err()
}

// SaveSnapshot writes the region's whole table to w.
func (c *Client) SaveSnapshot(ctx context.Context, w io.Writer) error {
	return c.save(ctx, w, "/v1/snapshot", nil, "saving a snapshot")
}

// save writes a long answer to w, whatever the client's patience.
func (c *Client) save(ctx context.Context, w io.Writer, path string, query url.Values, doing string) error {
	ctx, cancel := context.WithTimeout(ctx, api.SnapshotTime)
	defer cancel()
	res, err := c.request(ctx, http.MethodGet, path, query, nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(w, res.Body); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// RestoreSnapshot replaces the region's table by a saved snapshot.
func (c *Client) RestoreSnapshot(ctx context.Context, r io.Reader, terms ownership.RestoreTerms) error {
	query := url.Values{}
	for name, wanted := range map[string]bool{"yes": terms.Anyhow, "unsigned": terms.Unsigned, "tokens": terms.Tokens} {
		if wanted {
			query.Set(name, "true")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, api.SnapshotTime)
	defer cancel()
	res, err := c.request(ctx, http.MethodPut, "/v1/snapshot", query, http.Header{"Content-Type": {"application/octet-stream"}}, r)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// Ready asks /readyz; a node that is not ready is no error.
func (c *Client) Ready(ctx context.Context) (api.Readiness, error) {
	var out api.Readiness
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	res, err := c.send(ctx, http.MethodGet, "/readyz", url.Values{"verbose": {""}}, nil, nil)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusServiceUnavailable {
		return out, &Problem{Status: res.StatusCode, Title: http.StatusText(res.StatusCode)}
	}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("reading the answer of GET /readyz: %w", err)
	}
	return out, nil
}

// Live asks /livez.
func (c *Client) Live(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/livez", nil, nil)
}
