package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Token is an access token of a managed identity.
type Token struct {
	Value string
	Life  time.Duration // from now; 0: it was not told
}

// pauses are those before each further attempt, from Microsoft's table: back-off with a
// delta of 2 s, 5 attempts ("Retry guidance" of how-to-use-vm-token). A 410 is over within
// 70 s, says the same page, which the next fetch sees.
var pauses = []time.Duration{2 * time.Second, 6 * time.Second, 14 * time.Second, 30 * time.Second}

const attemptTime = 5 * time.Second

// TokenPatience bounds one Token with all of its attempts.
const TokenPatience = 80 * time.Second

// Token gets an access token for a resource, such as https://graph.microsoft.com, of the
// machine's managed identity: of its system-assigned one, or of the user-assigned one
// with a client id. It tries again after 404, 410, 429, 5xx and network errors, as
// Microsoft's page asks, and after nothing else: another 4xx is a mistake of the request
// or the set-up.
func (m *Metadata) Token(ctx context.Context, resource, clientID string) (Token, error) {
	query := url.Values{"api-version": {"2018-02-01"}, "resource": {resource}}
	if clientID != "" {
		query.Set("client_id", clientID)
	}
	for n := 0; ; n++ {
		t, err := m.tokenOnce(ctx, query)
		if err == nil {
			return t, nil
		}
		if !worthARetry(err) || n == len(pauses) || !sleep(ctx, around(pauses[n])) {
			return Token{}, fmt.Errorf("asking the metadata service for a token of the managed identity: %w", err)
		}
	}
}

func (m *Metadata) tokenOnce(ctx context.Context, query url.Values) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	body, err := m.ask(ctx, http.MethodGet, "/metadata/identity/oauth2/token", query, nil)
	if err != nil {
		return Token{}, err
	}
	return readToken(body, time.Now())
}

// readToken reads the answer: expires_in and expires_on are texts with a number in them.
func readToken(body []byte, now time.Time) (Token, error) {
	var said struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   any    `json:"expires_in"`
		ExpiresOn   any    `json:"expires_on"`
	}
	if json.Unmarshal(body, &said) != nil || said.AccessToken == "" {
		return Token{}, errors.New("its answer holds no token")
	}
	t := Token{Value: said.AccessToken}
	if s, ok := seconds(said.ExpiresIn); ok {
		t.Life = time.Duration(s) * time.Second
	} else if s, ok := seconds(said.ExpiresOn); ok {
		t.Life = time.Unix(s, 0).Sub(now)
	}
	if t.Life < 0 {
		return Token{}, errors.New("its token has ended already")
	}
	return t, nil
}

// seconds reads a number, or a text that holds one.
func seconds(v any) (int64, bool) {
	const most = 1 << 33 // beyond any date and life that makes sense
	var s int64
	switch v := v.(type) {
	case float64:
		if v < 0 || v > most {
			return 0, false
		}
		s = int64(v)
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil {
			return 0, false
		}
		s = n
	default:
		return 0, false
	}
	return s, s >= 0 && s <= most
}

// Refused reports whether asking again would bring the same answer.
func Refused(err error) bool {
	var s *StatusError
	return errors.As(err, &s) && !worthARetry(err)
}

func worthARetry(err error) bool {
	var s *StatusError
	if !errors.As(err, &s) {
		return true
	}
	switch s.Status {
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusGone, http.StatusTooManyRequests:
		return true
	}
	return s.Status >= 500
}

// codes are those of the page ("HTTP response reference"). Anything else that an answer
// holds is not repeated: it may be a token.
var codes = []string{"invalid_resource", "bad_request_102", "unknown_source", "invalid_request", "unauthorized_client",
	"access_denied", "unsupported_response_type", "invalid_scope", "unknown"}

// codeOf finds a known error code in an answer.
func codeOf(body []byte) string {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil || !slices.Contains(codes, said.Error) {
		return ""
	}
	return said.Error
}

// around spreads a pause by a fifth, so that machines do not ask together.
func around(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5) }

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
