package graph

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/azure"
	"tandem/graph/credential"
	"tandem/spelling"
)

// Config says how one app reaches Graph's calls API. Both addresses come from
// the configuration only, never from a notification.
type Config struct {
	BaseURL  string // such as https://graph.microsoft.com/v1.0; http only on loopback
	TokenURL string // OAuth 2.0 token endpoint of the app's tenant; http only on loopback
	ClientID string // the app's id at the token endpoint
	// How the app proves there who it is: exactly one of the following, see package
	// credential. Files are read at every token fetch, so what is rotated needs no restart.
	ClientSecretFile string
	ClientSecret     string // of the environment; it goes before the file
	Certificate      credential.Certificate
	TokenFile        string            // workload identity federation
	ManagedIdentity  string            // system or user; there is no TokenURL then
	MetadataURL      string            // of the machine, for a managed identity; empty: Azure's
	Scope            string            // empty: the origin of BaseURL + "/.default"
	AttemptTimeout   time.Duration     // of one HTTP attempt; zero: 4 s
	Transport        http.RoundTripper // nil: one of its own
	// Wrap goes around the transport, to watch it; nil: nothing does.
	Wrap    func(http.RoundTripper) http.RoundTripper
	Now     func() time.Time      // for the life of tokens; nil: time.Now
	Logger  *slog.Logger          // nil: discard
	Metrics prometheus.Registerer // nil: none

	metadata http.RoundTripper // nil but in tests: of the requests to the machine
}

// Permit says on whose authority an action is taken. The zero Permit always
// agrees.
type Permit struct {
	// Epoch of the call's partition; it goes out as Tandem-Epoch, so that a log at
	// the far side shows which owner acted. Zero: no header.
	Epoch uint64
	// Check is asked right before every single attempt, retries too. Its error
	// stops the action and comes back unchanged: so a node that lost its lease
	// stops between two attempts.
	Check func() error
	// Heard is told of every attempt that went out: the status, 0 without a response, and
	// how long it took. It may be nil.
	Heard func(status int, took time.Duration)
}

// AnswerPayload is what an answer says.
type AnswerPayload struct {
	CallbackURI string          // where the cloud sends every later notification of the call
	With        json.RawMessage // object with acceptedModalities, mediaConfig and more; its callbackUri is replaced
}

// RejectPayload is what a rejection says.
type RejectPayload struct {
	Reason      string // none, busy or forbidden
	CallbackURI string // where the cloud sends the end of the call
}

// Remote is what Graph tells of a live call.
type Remote struct {
	State       string // as Graph spells it; compare without regard to case
	CallbackURI string // the URI that the cloud uses; empty where Graph does not tell
}

// Calls is a client of /communications/calls for one app. Its methods may be
// called from many goroutines. Every method tries again, with jitter, on 408,
// 429, 5xx and network errors until the caller's deadline (30 s where the
// caller has none); the same bytes and the same client-request-id go out every
// time. Errors are *CallError, or what the Permit returned.
//
// Source: https://learn.microsoft.com/graph/api/resources/call (v1.0).
type Calls struct {
	base    string
	attempt time.Duration
	client  *http.Client
	tokens  *tokens
	log     *slog.Logger
	count   *actionMetrics
}

// Check says why NewCalls would refuse the addresses, the id and how the app proves who
// it is. The files are read by Credential().CheckFiles.
func (c Config) Check() error {
	if _, err := spelling.BaseURL(c.BaseURL); err != nil {
		return fmt.Errorf("reading Graph's addresses: base_url %w", err)
	}
	return c.Credential().Check()
}

// Credential is how the app proves who it is.
func (c Config) Credential() credential.Config {
	return credential.Config{
		TokenURL: c.TokenURL, ClientID: c.ClientID, Secret: c.ClientSecret, SecretFile: c.ClientSecretFile,
		Certificate: c.Certificate, TokenFile: c.TokenFile, ManagedIdentity: c.ManagedIdentity, MetadataURL: c.MetadataURL, Logger: c.Logger,
	}
}

// NewCalls checks the configuration; it does not speak to the network.
func NewCalls(c Config) (*Calls, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	base, _ := url.Parse(c.BaseURL) // Check has read it
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.AttemptTimeout = cmp.Or(c.AttemptTimeout, 4*time.Second)
	c.Scope = cmp.Or(c.Scope, base.Scheme+"://"+base.Host+"/.default")
	if c.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost, t.MaxResponseHeaderBytes = 64, maxResponse
		c.Transport = t
	}
	if c.Wrap != nil {
		c.Transport = c.Wrap(c.Transport)
	}
	prover, err := credential.NewProver(c.Credential())
	if err != nil {
		return nil, err
	}
	count, err := newActionMetrics(c.Metrics)
	if err != nil {
		return nil, fmt.Errorf("registering the metrics of Graph's client: %w", err)
	}
	life, stop := context.WithCancel(context.Background())
	client := &http.Client{
		Transport: c.Transport,
		// A redirect is never followed: it would carry the bearer token or the
		// client secret to an address that no configuration names.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Calls{
		base:    strings.TrimSuffix(base.String(), "/"),
		attempt: c.AttemptTimeout,
		client:  client,
		tokens:  &tokens{conf: c, prover: prover, machine: azure.New(c.MetadataURL, c.metadata), client: client, base: life, stop: stop},
		log:     c.Logger,
		count:   count,
	}, nil
}

// Close ends token fetches under way and closes idle connections.
func (c *Calls) Close() {
	c.tokens.stop()
	c.tokens.wg.Wait()
	c.client.CloseIdleConnections()
	c.tokens.machine.Close()
}

// Answer accepts the call (POST …/answer, 202). Two answers of one call with
// one callback URI carry the same client-request-id. When Graph refuses after
// an attempt whose fate is unknown, the error has Maybe set: ask Get who won.
func (c *Calls) Answer(ctx context.Context, rawCallID string, p AnswerPayload, may Permit) error {
	body, err := p.json()
	return c.post(ctx, "answer", rawCallID, p.CallbackURI, body, err, may)
}

// Reject declines the call (POST …/reject, 202).
func (c *Calls) Reject(ctx context.Context, rawCallID string, p RejectPayload, may Permit) error {
	body, err := p.json()
	return c.post(ctx, "reject", rawCallID, p.CallbackURI, body, err, may)
}

// post takes an action that has a body, unless that could not be made.
func (c *Calls) post(ctx context.Context, op, call, uri string, body []byte, err error, may Permit) error {
	if err != nil {
		return &CallError{Op: op, Call: call, Kind: ErrRefused, Err: err}
	}
	_, err = c.do(ctx, action{op: op, method: http.MethodPost, call: call, path: "/" + op, body: body, requestID: stableID(op, call, uri)}, may)
	return err
}

// KeepAlive tells the cloud that the call is still wanted (POST …/keepAlive,
// 200). The cloud ends a call 45 min after the last one; ErrGone means that it
// has ended.
func (c *Calls) KeepAlive(ctx context.Context, rawCallID string, may Permit) error {
	_, err := c.do(ctx, action{op: "keepAlive", method: http.MethodPost, call: rawCallID, path: "/keepAlive",
		requestID: randomID()}, may)
	return err
}

// Get reads the call; ErrGone means that Graph knows it no longer.
func (c *Calls) Get(ctx context.Context, rawCallID string) (Remote, error) {
	body, err := c.do(ctx, action{op: "get", method: http.MethodGet, call: rawCallID,
		requestID: randomID(), wantBody: true}, Permit{})
	if err != nil {
		return Remote{}, err
	}
	var r struct {
		State       string `json:"state"`
		CallbackURI string `json:"callbackUri"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return Remote{}, &CallError{Op: "get", Call: rawCallID, Kind: ErrRetryable, Status: http.StatusOK,
			Err: errors.New("the body is no JSON object")}
	}
	return Remote{State: r.State, CallbackURI: r.CallbackURI}, nil
}

func (p AnswerPayload) json() ([]byte, error) {
	fields := map[string]json.RawMessage{}
	if len(p.With) > 0 {
		if err := json.Unmarshal(p.With, &fields); err != nil || fields == nil {
			return nil, errors.New("what to answer with is no JSON object")
		}
	}
	uri, err := json.Marshal(p.CallbackURI)
	if err != nil {
		return nil, err
	}
	// Member names count without regard to case at the far side's reader, so a
	// CallbackUri from the bot may not stand beside ours.
	for name := range fields {
		if strings.EqualFold(name, "callbackUri") {
			delete(fields, name)
		}
	}
	fields["callbackUri"] = uri
	return json.Marshal(fields)
}

func (p RejectPayload) json() ([]byte, error) {
	switch p.Reason {
	case "":
		p.Reason = "none"
	case "none", "busy", "forbidden":
	default:
		return nil, errors.New("the reason is none of none, busy, forbidden")
	}
	return json.Marshal(struct {
		Reason      string `json:"reason"`
		CallbackURI string `json:"callbackUri,omitempty"`
	}{p.Reason, p.CallbackURI})
}
