package bot

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"tandem/ownership"
	"tandem/spelling"
)

// HTTPConfig says where a bot listens.
type HTTPConfig struct {
	URL       string        // hand-overs are POSTed here; https, or http on loopback
	HealthURL string        // GET; empty: the bot counts as healthy
	Secret    func() string // signs hand-overs, asked for each; nil or empty: they are not signed
	ReplySize int           // largest reply body in bytes; zero: 1 MiB
	// Wrap goes around what sends the requests, to watch them; nil: nothing does.
	Wrap func(http.RoundTripper) http.RoundTripper
}

const (
	defaultReplySize = 1 << 20
	maxReport        = 64 << 10
	// Shorter than the idle time of common servers (node.js: 5 s): a POST on a
	// connection that the bot is just closing would fail, and must not be
	// repeated by guesswork.
	idleTime = 3 * time.Second
)

// HTTPBot is a bot in a process of its own, reached over HTTP.
//
// It is sent the raw body, byte for byte, and the cloud's headers, without
// those that belong to one connection, without Tandem-* ones from outside, and
// without Authorization: the token proves the cloud to this node, and whoever
// gets it could speak as the cloud for the token's life. The router has checked
// it, and what it sends the bot is signed where the two share a secret.
type HTTPBot struct {
	url, health string
	secret      func() string
	replySize   int
	client      *http.Client
}

// Check says why NewHTTPBot would refuse the addresses.
func (c HTTPConfig) Check() error {
	if _, err := spelling.URL(c.URL); err != nil {
		return fmt.Errorf("reading the bot's addresses: url %w", err)
	}
	if c.HealthURL != "" {
		if _, err := spelling.URL(c.HealthURL); err != nil {
			return fmt.Errorf("reading the bot's addresses: health_url %w", err)
		}
	}
	return nil
}

// NewHTTPBot checks the addresses; it does not connect.
func NewHTTPBot(c HTTPConfig) (*HTTPBot, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	sends := http.RoundTripper(&http.Transport{
		DialContext:            (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        idleTime,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // the reply passes through as it is
	})
	if c.Wrap != nil {
		sends = c.Wrap(sends)
	}
	return &HTTPBot{
		url: c.URL, health: c.HealthURL, secret: c.Secret, replySize: cmp.Or(c.ReplySize, defaultReplySize),
		client: &http.Client{
			Transport:     sends,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close closes idle connections.
func (b *HTTPBot) Close() { b.client.CloseIdleConnections() }

// Handle POSTs a hand-over and gives the bot's status, headers and body.
// Errors are ErrUnreachable, ErrTimeout or ErrReply with their cause.
func (b *HTTPBot) Handle(ctx context.Context, h ownership.HandOver) (ownership.Reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url, bytes.NewReader(h.Body))
	if err != nil {
		return ownership.Reply{}, fmt.Errorf("%w: the request could not be made", ErrUnreachable)
	}
	req.Header = headersToBot(h)
	if b.secret != nil {
		if secret := b.secret(); secret != "" {
			sign(secret, time.Now(), req.Header, h.Body)
		}
	}
	res, err := b.client.Do(req)
	if err != nil {
		return ownership.Reply{}, sortNetError(err)
	}
	defer res.Body.Close()
	if res.ContentLength == 0 { // most replies: nothing to read, nothing to keep
		return ownership.Reply{Status: res.StatusCode, Header: res.Header}, nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, int64(b.replySize)+1))
	switch {
	case err != nil:
		return ownership.Reply{}, sortNetError(err)
	case len(body) > b.replySize:
		return ownership.Reply{}, fmt.Errorf("%w: it is larger than %d bytes", ErrReply, b.replySize)
	}
	return ownership.Reply{Status: res.StatusCode, Header: res.Header, Body: body}, nil
}

// Health GETs the health address: 200 is healthy. A body may tell load,
// capacity and draining; one that is no such JSON is ignored.
func (b *HTTPBot) Health(ctx context.Context) (Report, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.health, nil)
	if err != nil {
		return Report{}, fmt.Errorf("asking the bot for its health: %w", err)
	}
	res, err := b.client.Do(req)
	if err != nil {
		return Report{}, fmt.Errorf("asking the bot for its health: %w", sortNetError(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReport))
	switch {
	case res.StatusCode != http.StatusOK:
		return Report{}, fmt.Errorf("asking the bot for its health: it answered %d", res.StatusCode)
	case err != nil:
		return Report{}, fmt.Errorf("asking the bot for its health: %w", sortNetError(err))
	}
	var r Report
	if json.Unmarshal(body, &r) != nil {
		return Report{}, nil
	}
	return r, nil
}

// sortNetError returns the kind, with net/http's "Post <URL>" taken off.
func sortNetError(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if slow, ok := errors.AsType[net.Error](err); errors.Is(err, context.DeadlineExceeded) || ok && slow.Timeout() {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
