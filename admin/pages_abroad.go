package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"tandem/admin/api"
	"tandem/admin/console"
	"tandem/ownership"
)

// callsElsewhere returns one page of another region's calls.
func (s consoleSource) callsElsewhere(ctx context.Context, region ownership.Region, q console.Query) (console.Calls, error) {
	if !s.d.abroad.knows(region) || s.d.abroad.doors == nil {
		return console.Calls{}, fmt.Errorf("there is no region %q that can be asked", region)
	}
	v := url.Values{"limit": {strconv.Itoa(pageCalls)}}
	for name, text := range map[string]string{
		"node": q.Node, "partition": q.Partition, "tenant": q.Tenant, "app": q.App, "group": q.Group, "state": q.State, "cursor": q.Cursor,
	} {
		if text != "" {
			v.Set(name, text)
		}
	}
	var page api.CallPage
	if err := s.from(ctx, region, "/v1/calls?"+v.Encode(), &page); err != nil {
		return console.Calls{}, err
	}
	out := console.Calls{Next: page.Next, Regions: s.d.abroad.others()}
	for _, c := range page.Items {
		out.Items = append(out.Items, console.CallRow{Call: c.Call})
	}
	return out, nil
}

// callElsewhere returns the page of a call that another region has.
func (s consoleSource) callElsewhere(ctx context.Context, id ownership.CallID) (console.Call, error) {
	if s.d.abroad.doors == nil {
		return console.Call{}, console.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, gatherIn)
	defer cancel()
	path := "/v1/calls/" + url.PathEscape(string(id))
	paths := map[ownership.Region]string{}
	for _, region := range s.d.abroad.others() {
		paths[region] = path
	}
	missing := console.ErrNotFound
	answers := s.d.abroad.askAll(ctx, paths)
	for range paths {
		a := <-answers
		out := console.Call{Region: a.region}
		if a.err == nil {
			a.err = json.Unmarshal(a.body, &out.Call)
		}
		var why api.CallExplanation
		if a.err == nil {
			a.err = s.from(ctx, a.region, path+"/explain", &why)
		}
		if a.err == nil {
			out.Placement, out.Partition, out.Why, out.Timeline = why.Placement, why.Partition, why.Why, pageTimes(why.Timeline)
			return out, nil
		}
		if a.status != http.StatusNotFound {
			missing = fmt.Errorf("%w: %w", console.ErrUnreachable, a.err)
		}
	}
	return console.Call{}, missing
}

// from reads what another region answers.
func (s consoleSource) from(ctx context.Context, region ownership.Region, path string, out any) error {
	resp, err := s.d.abroad.doors.Get(ctx, region, path)
	if err != nil {
		return fmt.Errorf("%w: %w", console.ErrUnreachable, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusalOf(resp, region)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("%w: reading what region %s answers: %w", console.ErrUnreachable, region, err)
	}
	return nil
}
