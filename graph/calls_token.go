package graph

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"tandem/azure"
	"tandem/graph/credential"
)

const (
	earlyRenewal = 5 * time.Minute  // a token is renewed that long before its end
	fetchTime    = 10 * time.Second // of one token fetch
	fetchPause   = 500 * time.Millisecond
	unstatedLife = 5 * time.Minute // of a token without expires_in
)

var errTokenRefused = errors.New("the token endpoint refused the app's credentials")

// tokens keeps one access token: renewed from 5 min before its end (half of its
// life if that is shorter), by one fetch at a time, and used to its very end
// while the endpoint is down or slow.
type tokens struct {
	conf    Config
	prover  *credential.Prover
	machine *azure.Metadata // where it has a managed identity
	client  *http.Client
	base    context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup

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
		life := cmp.Or(token.life, unstatedLife)
		f.token, t.token = token.value, token.value
		t.expires = now.Add(life)
		t.renewAt = t.expires.Add(-min(earlyRenewal, life/2))
	})
}

// fetched is an access token as it was handed out.
type fetched struct {
	value string
	life  time.Duration // from now; 0: it was not told
}

func (t *tokens) fetch() (fetched, error) {
	if t.prover.Kind() == credential.ByManagedIdentity {
		return t.fetchManaged()
	}
	proof, err := t.prover.Proof(t.conf.Now())
	if err != nil {
		return fetched{}, err
	}
	ctx, cancel := context.WithTimeout(t.base, fetchTime)
	defer cancel()
	conf := clientcredentials.Config{
		ClientID: t.conf.ClientID, ClientSecret: proof.Secret, EndpointParams: proof.Form,
		TokenURL: t.conf.TokenURL, Scopes: []string{t.conf.Scope},
		// Not detected by trial: that would show the secret twice.
		AuthStyle: oauth2.AuthStyleInParams,
	}
	token, err := conf.Token(context.WithValue(ctx, oauth2.HTTPClient, t.client))
	if err == nil {
		f := fetched{value: token.AccessToken}
		if !token.Expiry.IsZero() {
			f.life = time.Until(token.Expiry) // the library added expires_in to its own clock
		}
		return f, nil
	}
	// The library's error repeats the endpoint's body, which may echo the secret.
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		if errors.Is(err, context.DeadlineExceeded) {
			return fetched{}, fmt.Errorf("fetching an access token: no response within %v", fetchTime)
		}
		return fetched{}, fmt.Errorf("fetching an access token: %w", networkCause(err))
	}
	status := refused.Response.StatusCode
	if errors.Is(kindOf(status), ErrRetryable) {
		return fetched{}, fmt.Errorf("fetching an access token: the endpoint answered %d", status)
	}
	code := refused.ErrorCode
	if proof.Shows(code) {
		code = ""
	}
	return fetched{}, fmt.Errorf("%w (%s, status %d %s)", errTokenRefused, t.prover.Kind(), status, plainCode(code, ""))
}

// fetchManaged asks the machine, which has its own patience: its service may be away for
// a minute.
func (t *tokens) fetchManaged() (fetched, error) {
	ctx, cancel := context.WithTimeout(t.base, azure.TokenPatience)
	defer cancel()
	id := ""
	if t.conf.ManagedIdentity == credential.UserAssigned {
		id = t.conf.ClientID
	}
	token, err := t.machine.Token(ctx, strings.TrimSuffix(t.conf.Scope, "/.default"), id)
	if err != nil && azure.Refused(err) {
		err = fmt.Errorf("%w (%s): %w", errTokenRefused, credential.ByManagedIdentity, err)
	}
	return fetched{token.Value, token.Life}, err
}

// networkCause keeps network errors and replaces every other text.
func networkCause(err error) error {
	if bare := bareNetError(err); bare != err { //nolint:errorlint // is it the very same?
		return bare
	}
	return errors.New("the endpoint's answer could not be read")
}
