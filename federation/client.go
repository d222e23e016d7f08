package federation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

// token returns the bearer token for the region's admin door; empty: none.
func (r Region) token() (string, error) {
	if r.TokenFile == "" {
		return r.Token, nil
	}
	text, err := os.ReadFile(r.TokenFile)
	if err != nil {
		return "", fmt.Errorf("reading the token for its admin door: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// show puts into a request what the region's admin door knows us by: the token of the
// configuration, else a pass. path is the request's as the door sees it.
func (r Region) show(req *http.Request, operator, path string) error {
	secret, err := r.token()
	if secret == "" && err == nil && r.pass != nil {
		secret = r.pass(r.Name, operator, req.Method, path)
	}
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	return err
}

// newClient makes a client that follows no redirect: the token is meant for one
// address. What it is asked is bounded by the question's context.
func newClient(t http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// dialler makes a transport that reaches a host at one of its addresses only. Proxies
// are dialled as ever.
func dialler(t *http.Transport, base string, addr netip.Addr) *http.Transport {
	t = t.Clone()
	u, err := url.Parse(base)
	if err != nil || !addr.IsValid() {
		return t
	}
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, at string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(at); err == nil && host == u.Hostname() {
			at = net.JoinHostPort(addr.String(), port)
		}
		return dial(ctx, network, at)
	}
	return t
}

// newTransport makes a transport for one region's doors.
func newTransport(caFile string) (*http.Transport, error) {
	// HTTP/1.1 only, which a DialContext without ForceAttemptHTTP2 means: a request that is
	// given up takes its dead connection along.
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}
	if caFile == "" {
		return t, nil
	}
	text, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("reading the certificates for its admin door: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("reading the certificates for its admin door: %s holds none in PEM form", caFile)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}
