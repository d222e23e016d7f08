package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"tandem/federation/doubles"
	"tandem/ownership"
)

// ownClaims is this region, for doubles.
type ownClaims struct{ n *Node }

// compareClaims begins to look for calls that another region claimed, too.
func (o ownClaims) compareClaims(ctx context.Context) error {
	n := o.n
	var names []ownership.Region
	for _, r := range n.regions.Regions() {
		names = append(names, r.Name)
	}
	if len(names) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		doubles.New(o, foreignClaims{n}, names, n.log).Run(ctx)
	}()
	n.stops.add("comparison with other regions", func() {
		cancel()
		<-done
	})
	return nil
}

// Leads implements doubles.Own.
func (o ownClaims) Leads() bool { return o.n.region.Status().State == "leader" }

// Find implements doubles.Own.
func (o ownClaims) Find(id ownership.CallID) (doubles.Claim, bool) {
	k, ok := o.n.table.Known(id)
	if !ok || k.State == ownership.CallEnded {
		return doubles.Claim{}, false
	}
	c, ok := o.n.table.Call(id)
	return doubles.Claim{Region: ownership.Region(o.n.cfg.Node.Region), State: c.State, AnsweredAt: c.AnsweredAt}, ok && c.State != ownership.CallEnded
}

// Yield implements doubles.Own.
func (o ownClaims) Yield(ctx context.Context, id ownership.CallID, why string) error {
	out, err := o.n.region.Do(ctx, ownership.Release{At: o.n.now(), Call: id, Why: why})
	if err == nil {
		err = out.Err
	}
	return err
}

// foreignClaims asks the other regions' admin doors.
type foreignClaims struct{ n *Node }

// Claims implements doubles.Others.
func (f foreignClaims) Claims(ctx context.Context, r ownership.Region, after uint64) (p doubles.Page, err error) {
	_, err = f.get(ctx, r, "/v1/claims?after="+strconv.FormatUint(after, 10), &p)
	return p, err
}

// Claim implements doubles.Others.
func (f foreignClaims) Claim(ctx context.Context, r ownership.Region, id ownership.CallID) (doubles.Claim, bool, error) {
	c := doubles.Claim{Region: r}
	known, err := f.get(ctx, r, "/v1/calls/"+string(id), &c)
	c.Region = r
	return c, known, err
}

// get reads one answer; false: there is no such thing.
func (f foreignClaims) get(ctx context.Context, r ownership.Region, path string, into any) (bool, error) {
	resp, err := f.n.regions.Get(ctx, r, path)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	switch resp.StatusCode {
	case http.StatusOK:
		return true, json.NewDecoder(resp.Body).Decode(into)
	case http.StatusNotFound:
		return false, nil
	case http.StatusServiceUnavailable:
		return false, fmt.Errorf("%w: its admin door answers 503", ownership.ErrUnreachable)
	default:
		return false, errors.New("its admin door answers " + resp.Status)
	}
}
