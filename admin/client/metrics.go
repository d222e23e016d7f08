package client

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"tandem/admin/api"
)

// mostText bounds an answer in plain text.
const mostText = 64 << 20

// Inside asks a node for what it tells of its own insides.
type Inside struct{ *Client }

// Metrics returns the node's metrics in Prometheus' text format.
func (c Inside) Metrics(ctx context.Context) (string, error) {
	return c.plain(ctx, "/metrics")
}

// Goroutines returns the stacks of all goroutines of the node, as Go's runtime tells them.
func (c Inside) Goroutines(ctx context.Context) (string, error) {
	return c.plain(ctx, "/debug/pprof/goroutine")
}

// LastLog returns the last lines of the node's log, as JSON lines.
func (c Inside) LastLog(ctx context.Context) (string, error) {
	return c.plain(ctx, "/v1/log/tail")
}

// Config returns the configuration in force at the node, without secrets.
func (c Inside) Config(ctx context.Context) (map[string]any, error) {
	return exchange[map[string]any](ctx, c.Client, http.MethodGet, "/v1/config", nil)
}

// Audit returns the last changes asked of the node, newest first.
func (c Inside) Audit(ctx context.Context) ([]api.Change, error) {
	return items[api.Change](ctx, c.Client, "/v1/audit", url.Values{"limit": {"1000"}})
}

// plain reads an answer in plain text.
func (c Inside) plain(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	query := map[string][]string{}
	if strings.HasPrefix(path, "/debug/") {
		query["debug"] = []string{"2"}
	}
	res, err := c.request(ctx, http.MethodGet, path, query, http.Header{"Accept": {"text/plain, application/x-ndjson"}}, nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, mostText))
	if err != nil {
		return "", fmt.Errorf("reading the answer of GET %s: %w", path, err)
	}
	return string(text), nil
}

// Samples walks the samples of a page of metrics: each one's name with its labels, as it
// is written there, and its value. Lines that are none are passed over.
func Samples(text string) iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			at := strings.LastIndexByte(line, '}') // label values may hold spaces
			name, rest, ok := strings.Cut(line[max(at, 0):], " ")
			if !ok {
				continue
			}
			value, _, _ := strings.Cut(rest, " ") // a time may follow
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				continue
			}
			if !yield(line[:max(at, 0)]+name, v) {
				return
			}
		}
	}
}
