package graph

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	earlyRenewal = 5 * time.Minute  // a token is renewed that long before its end
	fetchTime    = 10 * time.Second // of one token fetch
	fetchPause   = 500 * time.Millisecond
	unstatedLife = 5 * time.Minute // of a token without expires_in
	maxSecret    = 4 << 10         // bytes of a secret file
)

var errTokenRefused = errors.New("the token endpoint refused the app's credentials")

// tokens keeps one access token: renewed from 5 min before its end (half of its
// life if that is shorter), by one fetch at a time, and used to its very end
// while the endpoint is down or slow.
type tokens struct {
	conf   Config
	client *http.Client
	base   context.Context
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	token    string
	renewAt  time.Time
	expires  time.Time
	flight   *flight
	failure  error // of the last fetch, answered again for fetchPause
	failedAt time.Time
}

// flight is one fetch that several callers wait for.
type flight struct {
	done  chan struct{}
	token string
	err   error
}

// get returns a token that is valid now.
func (t *tokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	now := t.conf.Now()
	valid := t.token != "" && now.Before(t.expires)
	if valid && now.Before(t.renewAt) {
		defer t.mu.Unlock()
		return t.token, nil
	}
	recent := t.failure != nil && now.Sub(t.failedAt).Abs() < fetchPause
	if t.flight == nil && !recent && t.base.Err() == nil {
		t.start()
	}
	f, token, failure := t.flight, t.token, t.failure
	t.mu.Unlock()
	switch {
	case valid: // the renewal goes on behind
		return token, nil
	case f != nil:
		select {
		case <-f.done:
			return f.token, f.err
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for an access token: %w", context.Cause(ctx))
		}
	case failure != nil:
		return "", failure
	default:
		return "", errors.New("fetching an access token: the client is closed")
	}
}

// drop forgets a token that Graph would not take.
func (t *tokens) drop(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == token {
		t.token = ""
	}
}

// start begins a fetch that no caller's cancellation can end: others wait for
// it. The lock is held.
func (t *tokens) start() {
	f := &flight{done: make(chan struct{})}
	t.flight = f
	t.wg.Go(func() {
		token, err := t.fetch()
		t.mu.Lock()
		defer t.mu.Unlock()
		defer close(f.done)
		t.flight, t.failure = nil, err
		now := t.conf.Now()
		if err != nil {
			f.err, t.failedAt = err, now
			t.conf.Logger.Warn("no access token for Graph", "client_id", t.conf.ClientID, "err", err)
			return
		}
		life := unstatedLife
		if !token.Expiry.IsZero() {
			life = time.Until(token.Expiry) // the library added expires_in to its own clock
		}
		f.token, t.token = token.AccessToken, token.AccessToken
		t.expires = now.Add(life)
		t.renewAt = t.expires.Add(-min(earlyRenewal, life/2))
	})
}

func (t *tokens) fetch() (*oauth2.Token, error) {
	secret, err := t.conf.Secret(nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(t.base, fetchTime)
	defer cancel()
	conf := clientcredentials.Config{
		ClientID: t.conf.ClientID, ClientSecret: secret, TokenURL: t.conf.TokenURL,
		Scopes: []string{t.conf.Scope},
		// Not detected by trial: that would show the secret twice.
		AuthStyle: oauth2.AuthStyleInParams,
	}
	token, err := conf.Token(context.WithValue(ctx, oauth2.HTTPClient, t.client))
	if err == nil {
		return token, nil
	}
	// The library's error repeats the endpoint's body, which may echo the secret.
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("fetching an access token: no response within %v", fetchTime)
		}
		return nil, fmt.Errorf("fetching an access token: %w", networkCause(err))
	}
	status := refused.Response.StatusCode
	if errors.Is(kindOf(status), ErrRetryable) {
		return nil, fmt.Errorf("fetching an access token: the endpoint answered %d", status)
	}
	return nil, fmt.Errorf("%w (status %d %s)", errTokenRefused, status, plainCode(refused.ErrorCode, secret))
}

// networkCause keeps network errors and replaces every other text.
func networkCause(err error) error {
	if bare := bareNetError(err); bare != err { //nolint:errorlint // is it the very same?
		return bare
	}
	return errors.New("the endpoint's answer could not be read")
}

// Secret reads the client secret that holds now. With a logger it warns of a file that
// others may read.
func (c Config) Secret(warn *slog.Logger) (string, error) {
	if c.ClientSecret != "" {
		return c.ClientSecret, nil
	}
	file := c.ClientSecretFile
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("reading Graph's client_secret_file: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && warn != nil && info.Mode().Perm()&0o004 != 0 {
		warn.Warn("every user of this machine may read Graph's client secret; chmod 600 it", "file", file)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("reading Graph's client_secret_file: %w", err)
	}
	secret := strings.TrimSpace(string(b))
	if secret == "" || len(b) > maxSecret {
		return "", fmt.Errorf("reading Graph's client_secret_file %s: it is empty or larger than %d bytes", file, maxSecret)
	}
	return secret, nil
}
