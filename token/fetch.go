package token

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"tandem/spelling"
)

// Limits of one fetch.
const (
	fetchTimeout   = 10 * time.Second
	maxFetchBytes  = 1 << 20 // 24 keys with certificates have about 50 KB
	maxFetchDetour = 3       // redirects, all within one origin
)

// errOtherOrigin refuses a redirect that leaves the origin of the first
// request: whoever can bend one answer of the key endpoint must not be able to
// send us elsewhere for keys.
var errOtherOrigin = errors.New("it redirects to another origin")

// fetcher gets documents from key endpoints.
type fetcher struct {
	client *http.Client
	own    bool // the connections are ours to close
}

// newFetcher wraps the given client, or makes one when it is nil.
func newFetcher(given *http.Client) *fetcher {
	f := &fetcher{client: &http.Client{}, own: given == nil}
	if given != nil {
		*f.client = *given
	} else {
		f.client.Transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    5 * time.Second,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           4,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	f.client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if first := via[0].URL; next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
			return errOtherOrigin
		}
		if len(via) > maxFetchDetour {
			return fmt.Errorf("it redirects more than %d times", maxFetchDetour)
		}
		return nil
	}
	return f
}

func (f *fetcher) close() {
	if f.own {
		f.client.CloseIdleConnections()
	}
}

// discover reads a metadata document and gives the address of its key set.
// This is not OpenID Connect Discovery: the published document's issuer is not
// a prefix of its address, and "RSA256" among its algorithms is no JWA name
// (bot-docs issue 2064), so jwks_uri is the only member read; issuers and
// algorithms come from the profile and from this package.
func (f *fetcher) discover(ctx context.Context, from *url.URL) (*url.URL, error) {
	body, err := f.get(ctx, from)
	if err != nil {
		return nil, err
	}
	var doc struct {
		KeysURL string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("reading the metadata at %s: %w", from, describe(err))
	}
	u, err := spelling.URL(doc.KeysURL)
	if err != nil {
		return nil, fmt.Errorf("reading the metadata at %s: its jwks_uri %w", from, err)
	}
	if spelling.Loopback(u.Hostname()) && !spelling.Loopback(from.Hostname()) {
		return nil, fmt.Errorf("reading jwks_uri in the metadata at %s: it points at a loopback address", from)
	}
	return u, nil
}

// get fetches one document of at most maxFetchBytes.
func (f *fetcher) get(ctx context.Context, u *url.URL) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", u, err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", u, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching %s: it answered %d", u, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFetchBytes+1))
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", u, err)
	}
	if len(body) > maxFetchBytes {
		return nil, fmt.Errorf("fetching %s: the answer is longer than %d bytes", u, maxFetchBytes)
	}
	return body, nil
}
