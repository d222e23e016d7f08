package graphsim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// parcel is one notification body on its way to the public door.
type parcel struct {
	call    *call
	notices []*notice // none for the legacy form
	message string
	body    string
	to      func() (spot, bool) // resolved again for each attempt
	midcall bool
	legacy  bool
	header  http.Header
}

// reply is what one POST, with its redirects, came to.
type reply struct {
	status int // 0: no response
	after  string
	body   string
	err    error
	start  time.Time // of the last hop
}

// maxHops bounds the redirects that are followed for one POST.
const maxHops = 3

// post makes one attempt: it POSTs, and follows redirects by POSTing the same
// body, token and headers to the Location.
func (c *Cloud) post(ctx context.Context, p parcel) reply {
	at, ok := p.to()
	if !ok {
		return reply{err: fmt.Errorf("the webhook's name resolves to no node")}
	}
	var hops PerKind
	method := http.MethodPost
	for n := 0; ; n++ {
		r, location := c.exchange(ctx, p, at, method)
		if location == "" || p.midcall && !c.cfg.Switches.FollowMidcall {
			return r
		}
		if n == maxHops {
			r.err = fmt.Errorf("redirected more than %d times, at last to %s", n, bare(location))
			c.stray(p, at, r.err.Error())
			return r
		}
		to, err := c.follow(p, at, location, &hops)
		if err != nil {
			r.err = err
			return r
		}
		c.tell(p.call, at.node, to.node, fmt.Sprintf("%d to another %s", r.status, to.kind))
		if c.cfg.Switches.RedirectAsGET && r.status < http.StatusTemporaryRedirect {
			method = http.MethodGet
		}
		at = to
	}
}

// what names the parcel for a live view.
func (p parcel) what() string {
	switch len(p.notices) {
	case 0:
		return "legacy incoming"
	case 1:
		return p.notices[0].what
	}
	return fmt.Sprintf("%s and %d more", p.notices[0].what, len(p.notices)-1)
}

// exchange is one request and its response. A redirect gives its Location.
func (c *Cloud) exchange(ctx context.Context, p parcel, at spot, method string) (r reply, redirect string) {
	defer func() { c.passed(p, at, r) }()
	c.ledger.posting(p.notices, at)
	c.tell(p.call, p.call.dc, at.node, strings.ToLower(method)+" "+p.what())
	r.start = time.Now()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(p.body)
	}
	req, err := http.NewRequestWithContext(ctx, method, at.url, body)
	if err != nil {
		r.err = fmt.Errorf("posting to %s: %w", at.node, err)
		return r, ""
	}
	req.Header = p.header.Clone()
	req.Host = at.name
	req.Close = p.header.Get("Connection") == "close"
	resp, err := c.client.Do(req)
	if err != nil {
		r.err = fmt.Errorf("posting to %s: %w", at.node, withoutURL(err))
		c.ledger.count(func(l *ledger) { l.responses["none"]++ })
		return r, ""
	}
	defer func() { _ = resp.Body.Close() }() // nothing is written by closing a response
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		r.err = fmt.Errorf("reading the response of %s: %w", at.node, err)
		return r, ""
	}
	took := time.Since(r.start)
	r.status, r.body, r.after = resp.StatusCode, string(text), resp.Header.Get("Retry-After")
	switch r.status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		redirect = resp.Header.Get("Location")
	}
	c.ledger.count(func(l *ledger) {
		l.responses[strconv.Itoa(r.status)]++
		if r.status >= http.StatusInternalServerError {
			l.refusals[strings.TrimSpace(strconv.Itoa(r.status)+" "+refusalCode(r.body))]++
		}
		if redirect != "" && !p.legacy && !p.midcall {
			l.decisions = sample(l.decisions, took)
		}
	})
	return r, redirect
}

// refusalCode reads {"error":{"code":…}}, as the calling API of the cloud writes it, too.
func refusalCode(body string) string {
	var told struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	_ = json.Unmarshal([]byte(body), &told) // a body of another form has no code
	return told.Error.Code
}

// follow resolves a Location and counts the hop by its kind.
func (c *Cloud) follow(p parcel, at spot, location string, hops *PerKind) (spot, error) {
	from, err := url.Parse(at.url)
	if err != nil {
		return spot{}, fmt.Errorf("following a redirect: %w", err)
	}
	u, err := from.Parse(location)
	if err != nil {
		c.stray(p, at, "redirected to a Location that is no URL")
		return spot{}, fmt.Errorf("following a redirect: %w", err)
	}
	to := c.places.resolve(u.String(), p.call.dice)
	switch {
	case to.kind == hopStray:
		c.stray(p, at, "redirected to an unknown base, "+bare(location))
		return spot{}, fmt.Errorf("redirected to an unknown base")
	case u.String() == at.url, to.kind == hopRegion && to.region == at.region:
		c.stray(p, at, "redirected to itself")
	}
	c.ledger.count(func(l *ledger) {
		if to.kind == hopRegion {
			hops.Region++
			l.redirects.Region++
		} else {
			hops.Node++
			l.redirects.Node++
		}
		l.hopsMax.Region = max(l.hopsMax.Region, hops.Region)
		l.hopsMax.Node = max(l.hopsMax.Node, hops.Node)
	})
	return to, nil
}

func (c *Cloud) stray(p parcel, at spot, what string) {
	text := fmt.Sprintf("call %s: %s %s", p.call.id, at.node, what)
	c.ledger.count(func(l *ledger) { l.strays.add(text) })
	c.tell(p.call, at.node, "", what)
}

// withoutURL drops the URL that net/http puts into its errors.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// bare is a URL without query, for sentences: the query may hold a signature.
func bare(raw string) string {
	before, _, _ := strings.Cut(raw, "?")
	return before
}

// String is the word for the live view.
func (k hopKind) String() string {
	return [...]string{"stray", "region", "node"}[k]
}
