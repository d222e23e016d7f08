// Package client speaks to the private door of a node: the Go client of the HTTP API
// in package api.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/spelling"
)

// Client speaks to one node's admin door. The zero value is of no use;
// New makes one. It is safe for use by many goroutines.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client

	// Consistency is asked of every read of the table; empty: Local.
	Consistency string
	// Region is what reads of nodes, partitions, calls and events are asked for: another
	// one than the node's, or all. Empty: the node's own.
	Region ownership.Region
	// Then is the moment of which nodes, partitions and calls are listed; its zero value: now.
	Then Then
	// Gathered, if set, is told which regions an answer of all came from.
	Gathered func(api.Gathered)
	// Fresh, if set, is told how fresh each answer was.
	Fresh func(api.Freshness)
}

// Then is a moment of the past: a time, or a raft index.
type Then struct {
	At    time.Time
	Index uint64
}

func (t Then) query() url.Values {
	q := url.Values{}
	if !t.At.IsZero() {
		q.Set("at", t.At.Format(time.RFC3339Nano))
	}
	if t.Index != 0 {
		q.Set("index", strconv.FormatUint(t.Index, 10))
	}
	return q
}

// patience bounds one call that is neither stream nor snapshot.
const patience = 30 * time.Second

// New makes a client of the door at addr: host:port, or a URL. A bare
// host:port means https where caFile is given or the port is 443, else http.
// caFile names the PEM certificates to trust instead of the system's; empty:
// the system's. Over plain http a token is sent to loopback addresses only.
func New(addr, token, caFile string) (*Client, error) {
	if !strings.Contains(addr, "://") {
		scheme := "http://"
		if caFile != "" || strings.HasSuffix(addr, ":443") {
			scheme = "https://"
		}
		addr = scheme + addr
	}
	base, err := url.Parse(addr)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("reading the admin address %q: it must be host:port or an http(s) URL", addr)
	}
	if token != "" && base.Scheme == "http" && !spelling.Loopback(base.Host) {
		return nil, fmt.Errorf("reaching the admin door at %s: a token must not travel over plain http; use https", base.Host)
	}
	// A clone of the default transport would take proxies from the environment:
	// the operator's door is asked directly.
	t := &http.Transport{
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: api.SnapshotTime,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConns:          8,
		ForceAttemptHTTP2:     true,
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("reading the CA file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the CA file %s: it holds no certificate in PEM", caFile)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return &Client{base: base, token: token, http: &http.Client{
		Transport: t,
		// A redirect would carry the token to wherever it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Problem is a refusal by the door (RFC 9457), or, with Status 0, a door that
// could not be reached.
type Problem struct {
	Status     int           // HTTP status; 0: no answer
	Title      string        // of the status
	Detail     string        // for people
	RetryAfter time.Duration // 0: not said
	Err        error         // what went wrong where there was no answer
	Stranger   bool          // whoever answered is no admin door
}

// Error tells the refusal as a sentence.
func (p *Problem) Error() string {
	if p.Status == 0 || p.Stranger {
		return p.Detail
	}
	if p.Detail == "" {
		return fmt.Sprintf("the node answered %d %s", p.Status, p.Title)
	}
	return fmt.Sprintf("%s (%d %s)", p.Detail, p.Status, p.Title)
}

// Unwrap returns the cause where there was no answer.
func (p *Problem) Unwrap() error { return p.Err }

// NotFound reports whether the error is the door's word that there is no such
// thing.
func NotFound(err error) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound && !p.Stranger
}

// Unavailable reports whether the door could not be reached, or cannot decide
// right now.
func Unavailable(err error) bool {
	var p *Problem
	if !errors.As(err, &p) || p.Stranger {
		return false
	}
	switch p.Status {
	case 0, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// send sends one request and returns the answer, whatever its status; a door that
// cannot be reached is a *Problem.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, header http.Header, body io.Reader) (*http.Response, error) {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("asking the admin door: %w", err)
	}
	maps.Copy(r.Header, header)
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(r)
	if err != nil {
		return nil, unreached(c.base.Host, unwrapURL(err))
	}
	return res, nil
}

// request is send with every status but a 2xx turned into a *Problem.
func (c *Client) request(ctx context.Context, method, path string, query url.Values, header http.Header, body io.Reader) (*http.Response, error) {
	res, err := c.send(ctx, method, path, query, header, body)
	if err != nil || res.StatusCode < 300 {
		return res, err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // half a problem still has its status
	if p := stranger(res, text); p != nil {
		return nil, p
	}
	p := &Problem{Status: res.StatusCode, Title: http.StatusText(res.StatusCode)}
	var told struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(text, &told) == nil {
		p.Detail = told.Detail
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		p.RetryAfter = time.Duration(s) * time.Second
	}
	return nil, p
}

// exchange sends a request, with a body in JSON if any, reads the answer's JSON into
// out, if any, and returns its headers, all within the client's patience.
func (c *Client) exchange(ctx context.Context, method, path string, query url.Values, header http.Header, body io.Reader, out any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if header.Get("Accept") == "" {
		header.Set("Accept", "application/json")
	}
	if body != nil {
		header.Set("Content-Type", "application/json")
	}
	res, err := c.request(ctx, method, path, query, header, body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if out == nil {
		return res.Header, nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		if p := stranger(res, nil); p != nil {
			return nil, p
		}
		return nil, fmt.Errorf("reading the answer of %s %s: %w", method, path, err)
	}
	return res.Header, nil
}

// call sends in as JSON, if any, and reads the answer into out, if any.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("writing a request to the admin door: %w", err)
		}
		body = bytes.NewReader(text)
	}
	_, err := c.exchange(ctx, method, path, nil, http.Header{}, body, out)
	return err
}

// get reads path into a T and tells Fresh how fresh it was.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	var out T
	if query == nil {
		query = url.Values{}
	}
	if c.Consistency != "" {
		query.Set("consistency", c.Consistency)
	}
	if c.Region != "" {
		query.Set("region", string(c.Region))
	}
	told, err := c.exchange(ctx, http.MethodGet, path, query, http.Header{}, nil, &out)
	if level := told.Get("Tandem-Consistency"); err == nil && c.Fresh != nil && level != "" {
		f := api.Freshness{Consistency: level}
		f.Applied, _ = strconv.ParseUint(told.Get("Tandem-Applied-Index"), 10, 64) // absent: 0
		f.AsOf, _ = time.Parse(time.RFC3339Nano, told.Get("Tandem-As-Of"))         // absent: zero
		c.Fresh(f)
	}
	if g, can := any(out).(interface{ Told() api.Gathered }); can && err == nil && c.Gathered != nil && g.Told().Parts != nil {
		c.Gathered(g.Told())
	}
	return out, err
}

// items is get for a List.
func items[T any](ctx context.Context, c *Client, path string, query url.Values) ([]T, error) {
	l, err := get[api.List[T]](ctx, c, path, query)
	return l.Items, err
}

func nodePath(id ownership.NodeID) string { return "/v1/nodes/" + segment(string(id)) }
func callPath(id string) string           { return "/v1/calls/" + segment(id) }

// segment writes a word as one segment of a path: dots alone would be taken for a way
// up the tree.
func segment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}
