package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// Bounds of an answer. A summary of 512 nodes and 4096 partitions is 200 KiB; what is
// larger is none.
const (
	maxAnswer = 512 << 10
	maxHeader = 32 << 10
)

// look is what one question gave.
type look struct {
	answered bool     // somebody spoke HTTP
	ready    bool     // calls may be sent there
	figures  *figures // nil: none were given
	problem  error    // why it is not ready, or why there are no figures
}

const summaryPath = "/v1/summary"

// figures is the answer of the admin door to GET /v1/summary, of older nodes too.
type figures struct {
	api.Summary
	Healthy *bool `json:"healthy"` // it can place calls now
}

// ask looks at the region once, at one of its doors.
func (r Region) ask(ctx context.Context, d *door) look {
	target, method := r.URL, http.MethodHead
	admin := len(r.adminURLs()) > 0
	if admin {
		target, method = d.base+summaryPath, http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return look{problem: fmt.Errorf("asking the region: %w", err)}
	}
	var tokenErr error // ours, not the region's: ask without, and see that it lives
	req.Header.Set("User-Agent", "tandem")
	if admin {
		req.Header.Set("Accept", "application/json")
		tokenErr = r.show(req, "", summaryPath)
	}
	resp, err := d.timed(req)
	if err != nil {
		return look{problem: fmt.Errorf("asking the region: %w", err)}
	}
	defer resp.Body.Close()
	l := look{answered: true}
	switch {
	case unavailable(resp.StatusCode):
		l.problem = fmt.Errorf("the region answers %d", resp.StatusCode)
	case !admin:
		l.ready = true
		l.problem = errors.New("no admin_url is configured, so only its life is known")
	case resp.StatusCode != http.StatusOK && d.learnt:
		l.problem = fmt.Errorf("an admin door that it told of answers %d instead of a summary", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		// A wrong token or an older version: alive all the same, and calls must
		// not stay away from home for it. Redirects end here too, so the token
		// goes nowhere but to the configured address.
		l.ready = true
		l.problem = fmt.Errorf("its admin door answers %d instead of a summary", resp.StatusCode)
		switch {
		case tokenErr != nil:
			l.problem = tokenErr
		case resp.StatusCode == http.StatusUnauthorized && strings.HasPrefix(req.Header.Get("Authorization"), "Bearer ") && r.Token == "" && r.TokenFile == "":
			l.problem = fmt.Errorf("%w: it takes no pass of this region; are handle_keys_file and the clock the same there, and is its software as new?", l.problem)
		}
	default:
		l.read(r.Name, resp.Body)
	}
	return l
}

// unavailable reports whether the status is what a load balancer says when no
// node is behind it: an HTTP answer, and yet nobody there (RFC 9110, 15.6.3–5).
func unavailable(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// read takes the figures from the body.
func (l *look) read(name ownership.Region, body io.Reader) {
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if err != nil {
		l.problem = fmt.Errorf("reading its summary: %w", err)
		return
	}
	if len(text) > maxAnswer {
		l.problem = fmt.Errorf("reading its summary: it is longer than %d bytes", maxAnswer)
		return
	}
	var f figures
	if err := json.Unmarshal(text, &f); err != nil {
		l.problem = fmt.Errorf("reading its summary: %w", err)
		return
	}
	l.judge(name, &f)
}

// judge takes figures over, if they are the region's.
func (l *look) judge(name ownership.Region, f *figures) {
	switch {
	case f.Region != name:
		l.problem = fmt.Errorf("its admin door is that of region %q", f.Region)
	case f.Healthy == nil:
		l.problem = errors.New("reading its summary: it does not say whether it is healthy")
	case f.Nodes < 0 || f.Live < 0 || f.Capacity < 0:
		l.problem = errors.New("reading its summary: it holds a negative number")
	case !*f.Healthy:
		l.figures, l.problem = f, errors.New("the region says that it can place no calls")
	default:
		l.figures, l.ready = f, true
	}
}

// probe asks a door for a sign of life.
func (r Region) probe(ctx context.Context, d *door) look {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base+"/livez", nil)
	if err != nil {
		return look{problem: fmt.Errorf("asking a door: %w", err)}
	}
	req.Header.Set("User-Agent", "tandem")
	resp, err := d.timed(req)
	if err != nil {
		return look{problem: fmt.Errorf("asking a door: %w", err)}
	}
	_ = resp.Body.Close()
	if unavailable(resp.StatusCode) {
		return look{answered: true, problem: fmt.Errorf("the door answers %d", resp.StatusCode)}
	}
	return look{answered: true}
}

// timed sends a request and measures how long it is under way; connecting does not count.
func (d *door) timed(req *http.Request) (*http.Response, error) {
	began := time.Now()
	trace := &httptrace.ClientTrace{WroteHeaders: func() { began = time.Now() }}
	resp, err := d.client.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err == nil {
		took := max(time.Since(began), 1)
		if before := time.Duration(d.rtt.Load()); before > 0 {
			took = before + (took-before)/4
		}
		d.rtt.Store(int64(took))
	}
	return resp, err
}
