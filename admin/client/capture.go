package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tandem/admin/api"
)

// CaptureAsk says what is captured: what the node remembers too, and until when.
type CaptureAsk struct {
	Recent bool
	For    time.Duration // in whole seconds; at most api.CaptureTime
	Most   int           // calls; at most api.CaptureCalls
}

// errBroken: the stream ended without its last word.
var errBroken = errors.New("capturing: the stream broke off")

// Captures takes along what rings at a node, and holds rules against it.
type Captures struct{ *Client }

// Capture calls each with every new call that rings at the node, until the door ends it or
// each returns an error, which is given back.
func (c Captures) Capture(ctx context.Context, ask CaptureAsk, each func(api.Captured) error) (end api.CaptureEnd, err error) {
	ctx, cancel := context.WithTimeout(ctx, ask.For+patience)
	defer cancel()
	query := url.Values{"recent": {strconv.FormatBool(ask.Recent)}, "seconds": {strconv.Itoa(int(ask.For.Seconds()))}, "most": {strconv.Itoa(ask.Most)}}
	res, err := c.request(ctx, http.MethodGet, "/v1/capture", query, http.Header{"Accept": {"text/event-stream"}}, nil)
	if err != nil {
		return end, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	kind := ""
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case name == "event":
			kind = value
		case name == "data" && kind == "end":
			if err := json.Unmarshal([]byte(value), &end); err != nil {
				return end, fmt.Errorf("capturing: %w", err)
			}
			return end, nil
		case name == "data":
			var k api.Captured
			if err := json.Unmarshal([]byte(value), &k); err != nil {
				return end, fmt.Errorf("capturing: %w", err)
			}
			if err := each(k); err != nil {
				return end, err
			}
		}
	}
	return end, errors.Join(errBroken, lines.Err())
}

// Replay says where captured calls would go by a candidate, or by the rules in force.
func (c Captures) Replay(ctx context.Context, ask api.ReplayAsk) (api.RulesDiff, error) {
	return exchange[api.RulesDiff](ctx, c.Client, http.MethodPost, "/v1/rules/replay", ask)
}
