package federation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"tandem/ownership"
)

// Bounds of one request to another region.
const (
	getTime  = 5 * time.Second // with all doors that are tried
	doorTime = 2 * time.Second // until one door begins to answer
	getSize  = 16 << 20        // bytes of the answer's body
)

// Forwarded marks a request that a node sends for somebody: the door that gets it answers
// it, and asks no further region.
const Forwarded = "Tandem-Forwarded"

// Get asks another region for what its admin doors show, such as /v1/nodes, in the name of
// the context's operator (ownership.Operator). The doors are tried one by one, the best
// known first, until one answers for itself, whatever its status; where all refuse, the
// last refusal is the answer. It takes at most 5 s, and a body of more than 16 MiB
// breaks off with an error. Close the body. An error wraps ownership.ErrUnknown for a
// region that the configuration does not name, else ownership.ErrUnreachable.
func (w *Regions) Get(ctx context.Context, region ownership.Region, pathAndQuery string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, getTime)
	resp, err := w.get(ctx, region, pathAndQuery, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &bounded{resp.Body, getSize, cancel}
	return resp, nil
}

// Stream is Get for an answer that goes on until ctx ends or the body is closed. header
// goes with the request.
func (w *Regions) Stream(ctx context.Context, region ownership.Region, pathAndQuery string, header http.Header) (*http.Response, error) {
	return w.get(ctx, region, pathAndQuery, header)
}

func (w *Regions) get(ctx context.Context, region ownership.Region, pathAndQuery string, header http.Header) (*http.Response, error) {
	f, ok := w.byName[region]
	if !ok {
		return nil, fmt.Errorf("asking region %q: it is %w: regions does not name it", region, ownership.ErrUnknown)
	}
	if len(f.region.adminURLs()) == 0 {
		return nil, fmt.Errorf("asking region %q: %w: no admin door of it is known, set regions[].admin_urls", region, ownership.ErrUnreachable)
	}
	var refused *http.Response
	err := errors.New("it was not asked yet, so none of its doors is known")
	for _, d := range f.ranked() {
		var resp *http.Response
		if resp, err = f.getAt(ctx, d, pathAndQuery, header, w.self); err != nil {
			if ctx.Err() != nil {
				break
			}
			continue
		}
		if refused != nil {
			_ = refused.Body.Close() // another door answers
		}
		if !elsewhere(resp.StatusCode) {
			return resp, nil
		}
		refused = resp
	}
	if refused != nil {
		return refused, nil
	}
	return nil, fmt.Errorf("asking region %q: %w: none of its doors answered: %w", region, ownership.ErrUnreachable, err)
}

// elsewhere reports whether another door may answer what one refuses.
func elsewhere(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusMisdirectedRequest:
		return true
	}
	return unavailable(status)
}

// ranked returns the doors that are known, the best first.
func (f *follower) ranked() []*door {
	all := f.known.Load()
	if all == nil {
		return nil
	}
	sorted := slices.Clone(*all)
	slices.SortStableFunc(sorted, func(a, b *door) int { return cmp.Compare(a.rank(), b.rank()) })
	return sorted
}

// rank is lower for a better door.
func (d *door) rank() int {
	switch l := d.said.Load(); {
	case l == nil:
		return 2
	case l.ready:
		return 0
	case l.answered:
		return 1
	default:
		return 3
	}
}

// getAt asks one door. What has been answered is the answer's time; until then doorTime.
func (f *follower) getAt(ctx context.Context, d *door, pathAndQuery string, header http.Header, self ownership.Region) (*http.Response, error) {
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(doorTime, cancel)
	defer late.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base+pathAndQuery, nil)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("asking a door: %w", err)
	}
	path, _, _ := strings.Cut(pathAndQuery, "?")
	maps.Copy(req.Header, header)
	req.Header.Set("User-Agent", "tandem")
	req.Header.Set(Forwarded, string(self))
	if err := f.region.show(req, ownership.Operator(ctx), path); err != nil {
		cancel()
		return nil, err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("asking a door: %w", err)
	}
	resp.Body = &bounded{resp.Body, -1, cancel}
	return resp, nil
}

// bounded is a body that ends with an error where it is too long, and whose end is the
// request's.
type bounded struct {
	io.ReadCloser
	left int64 // bytes; below zero: no bound
	over context.CancelFunc
}

var errTooLong = fmt.Errorf("reading the answer of another region: it is longer than %d MiB", getSize>>20)

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return b.ReadCloser.Read(p)
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), errTooLong
		b.left = 0
		return n, err
	}
	b.left -= int64(n)
	return n, err
}

func (b *bounded) Close() error {
	defer b.over()
	return b.ReadCloser.Close()
}
