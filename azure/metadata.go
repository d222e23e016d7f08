package azure

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultURL is where IMDS is on every machine of Azure.
const DefaultURL = "http://169.254.169.254"

const maxAnswer = 256 << 10 // bytes read of one answer

// Metadata is a client of one machine's IMDS. Its methods may be called from many
// goroutines.
type Metadata struct {
	base   string
	client *http.Client
}

// New makes a client. The base URL comes from the configuration, which has checked it
// (spelling.MetadataURL); empty: DefaultURL. transport is nil but for tests.
func New(base string, transport http.RoundTripper) *Metadata {
	if transport == nil {
		transport = &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute} // and no proxy
	}
	return &Metadata{base: strings.TrimSuffix(cmp.Or(base, DefaultURL), "/"), client: &http.Client{
		Transport: transport,
		// IMDS redirects nobody; whoever does would get the token's request.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes idle connections.
func (m *Metadata) Close() { m.client.CloseIdleConnections() }

// Name is what this machine is called, as the resources of an event name it.
func (m *Metadata) Name(ctx context.Context) (string, error) {
	body, err := m.ask(ctx, http.MethodGet, "/metadata/instance/compute/name", url.Values{"api-version": {"2021-02-01"}, "format": {"text"}}, nil)
	if err != nil {
		return "", fmt.Errorf("asking the metadata service for this machine's name: %w", err)
	}
	name := strings.TrimSpace(string(body))
	if name == "" || len(name) > 256 {
		return "", errors.New("asking the metadata service for this machine's name: it told none")
	}
	return name, nil
}

// StatusError is an answer that is no success. Its text holds nothing that the service
// wrote, but for a code that Microsoft's page knows.
type StatusError struct {
	Status int
	Code   string
}

// Error says the status.
func (e *StatusError) Error() string {
	if e.Code != "" {
		return fmt.Sprintf("it answered %d (%s)", e.Status, e.Code)
	}
	return fmt.Sprintf("it answered %d", e.Status)
}

// ask sends one request and reads the whole answer.
func (m *Metadata) ask(ctx context.Context, method, path string, query url.Values, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, m.base+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the request could not be made")
	}
	req.Header.Set("Metadata", "true")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := m.client.Do(req)
	if err != nil {
		return nil, bare(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case res.StatusCode/100 != 2:
		return nil, &StatusError{res.StatusCode, codeOf(answer)}
	case err != nil:
		return nil, bare(err)
	case len(answer) > maxAnswer:
		return nil, errors.New("its answer is too large")
	}
	return answer, nil
}

// bare keeps what the network said, without the URL of the request.
func bare(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &network):
		return err
	}
	return errors.New("the connection broke off")
}
