package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/pass"
)

// wire leads to one other region's door, by passes, or nowhere.
type wire struct {
	to  *room
	cut atomic.Bool
}

func (w *wire) Get(ctx context.Context, region ownership.Region, pathAndQuery string) (*http.Response, error) {
	return w.Stream(ctx, region, pathAndQuery, nil)
}

func (w *wire) Stream(ctx context.Context, region ownership.Region, pathAndQuery string, header http.Header) (*http.Response, error) {
	if w.cut.Load() {
		return nil, fmt.Errorf("asking region %q: %w", region, ownership.ErrUnreachable)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.to.url+pathAndQuery, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	path, _, _ := strings.Cut(pathAndQuery, "?")
	p := pass.Pass{Deployment: "contoso-bots", From: "emea", Node: "emea-1", To: string(region), Operator: ownership.Operator(ctx), Method: "GET", Path: path, Expires: start.Add(pass.Life)}
	req.Header.Set("Authorization", "Bearer "+pass.Sign(passKey, p))
	return http.DefaultClient.Do(req)
}

// twoRegions are doors of emea and amer; emea's reaches amer's.
func twoRegions(t *testing.T) (emea, amer *room, between *wire) {
	amer = tokenRoom(t, passes, func(c *Config, _ *Deps) { c.Region, c.Node = "amer", "amer-1" })
	between = &wire{to: amer}
	emea = tokenRoom(t, passes, func(_ *Config, d *Deps) { d.Elsewhere = between })
	emea.someCalls(5)
	for i := range 7 {
		amer.fake.add(ownership.Call{ID: ownership.CallID(fmt.Sprintf("a%02d", i)), App: "app-1", Partition: 1, State: ownership.CallAnswered, ClaimedAt: start})
	}
	return emea, amer, between
}

const reader = "Authorization: Bearer canary-read-5b1d"

// TestAnyNodeShowsAnyRegion: what is asked of another region comes from there, in the
// reader's name, and what is no region, or nothing for others, is told.
func TestAnyNodeShowsAnyRegion(t *testing.T) {
	t.Parallel()
	emea, _, between := twoRegions(t)
	for path, want := range map[string]struct {
		status int
		says   string
	}{
		"/v1/status?region=amer":                       {200, `"node":"amer-1"`},
		"/v1/nodes?region=amer":                        {200, `"items"`},
		"/v1/nodes/emea-2?region=amer":                 {200, `"id":"emea-2"`},
		"/v1/partitions/2?region=amer":                 {200, `"id":2`},
		"/v1/calls?region=amer&limit=2":                {200, `"id":"a01"`},
		"/v1/calls?region=amer&state=lost":             {400, "state"},
		"/v1/calls?region=emea":                        {200, `"id":"c00"`},
		"/v1/calls/A-03":                               {200, `"id":"a03"`},
		"/v1/calls/a03/explain":                        {200, `"why"`},
		"/v1/calls/a03/timeline":                       {200, `"items"`},
		"/v1/calls/c03":                                {200, `"id":"c03"`},
		"/v1/calls/c03?region=amer":                    {404, "region amer knows no call c03"},
		"/v1/calls/d03":                                {404, "region emea knows no call d03"},
		"/v1/events?region=amer&follow=false":          {200, `"call":"a06"`},
		"/v1/events?region=amer&follow=false&after=xx": {400, "after is \\\"xx\\\": write a whole number"},
		"/v1/events?region=all&follow=false":           {400, "one region at a time"},
		"/v1/status?region=*":                          {400, "one region at a time"},
		"/v1/nodes?region=mars":                        {404, `no region \"mars\"`},
	} {
		a := emea.ask("GET", path, "", reader)
		if a.StatusCode != want.status || !strings.Contains(a.text, want.says) {
			t.Errorf("%s: %d %.300s", path, a.StatusCode, a.text)
		}
		if from := a.Header.Get("Tandem-Region"); want.status == 200 && (from == "amer") != (strings.Contains(path, "amer") || strings.Contains(strings.ToLower(path), "calls/a")) {
			t.Errorf("%s: it is said to come from %q", path, from)
		}
	}
	emea.ask("GET", "/v1/tokens?region=amer", "", "Authorization: Bearer canary-operate-77aa").want(t, 421)
	emea.ask("GET", "/v1/nodes?region=amer", "").want(t, 401)
	between.cut.Store(true)
	for path, status := range map[string]int{"/v1/nodes?region=amer": 503, "/v1/calls/a03": 503, "/v1/calls/c03": 200, "/v1/events?region=amer": 503} {
		if a := emea.ask("GET", path, "", reader); a.StatusCode != status || status == 503 && a.Header.Get("Retry-After") == "" {
			t.Errorf("with amer cut off, %s: %d %s", path, a.StatusCode, a.text)
		}
	}
}

// TestWhatWasSentOnStaysThere: a door that is asked for somebody asks nobody else, however
// that is told.
func TestWhatWasSentOnStaysThere(t *testing.T) {
	t.Parallel()
	emea, _, _ := twoRegions(t)
	for _, header := range []string{reader + "\n" + forwarded + ": apac", "Authorization: Bearer " + pass.Sign(passKey, amerPass("/v1/nodes"))} {
		lines := strings.Split(header, "\n")
		emea.ask("GET", "/v1/nodes?region=amer", "", lines...).want(t, 421)
		if len(lines) > 1 {
			emea.ask("GET", "/v1/calls/a03", "", lines...).want(t, 404)
		}
	}
}

// TestAllRegionsAreGathered: each item says whose it is, a cursor goes on in all, and a
// region that is cut off is named.
func TestAllRegionsAreGathered(t *testing.T) {
	t.Parallel()
	emea, amer, between := twoRegions(t)
	seen := map[string]int{}
	pages := 0
	for cursor := ""; ; pages++ {
		var page api.CallPage
		a := emea.ask("GET", "/v1/calls?region=all&limit=3&cursor="+cursor, "", reader).want(t, 200)
		if err := json.Unmarshal([]byte(a.text), &page); err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Items {
			seen[string(c.Region)+" "+string(c.ID)]++
		}
		for _, p := range page.Parts {
			if p.Partial || p.AsOf.IsZero() || p.Items == 0 {
				t.Errorf("a part is %+v", p)
			}
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(seen) != 12 || seen["amer a06"] != 1 || seen["emea c04"] != 1 || pages != 2 {
		t.Errorf("%d pages give %v", pages+1, seen)
	}
	var told api.Gathered
	c := emea.client(api.RoleRead)
	c.Region, c.Gathered = "all", func(g api.Gathered) { told = g }
	nodes, err := c.Nodes(t.Context())
	if err != nil || len(nodes) != 8 || told.Partial || len(told.Parts) != 2 {
		t.Errorf("%d nodes, %+v, %v", len(nodes), told, err)
	}
	parts, err := c.Partitions(t.Context())
	if err != nil || len(parts) != 18 || parts[0].Region != "emea" || parts[17].Region != "amer" || parts[17].ID != 9 {
		t.Errorf("%d partitions, %v", len(parts), err)
	}
	for _, bad := range []string{"all-", "all-e30", "after-c01", "zzz"} {
		emea.ask("GET", "/v1/calls?region=*&cursor="+bad, "", reader).want(t, 400)
	}
	emea.ask("GET", "/v1/calls?region=*&state=lost", "", reader).want(t, 400)
	between.cut.Store(true)
	if nodes, err = c.Nodes(t.Context()); err != nil || len(nodes) != 4 || !told.Partial || !told.Parts[1].Partial || !strings.Contains(told.Parts[1].Error, "cannot be reached") {
		t.Errorf("with amer cut off: %d nodes, %+v, %v", len(nodes), told, err)
	}
	between.cut.Store(false)
	amer.at.advance(time.Hour) // its clock
	if _, err = c.Nodes(t.Context()); err != nil || !told.Partial || !strings.Contains(told.Parts[1].Error, "compare the clocks") {
		t.Errorf("with another clock: %+v, %v", told, err)
	}
	a := emea.ask("GET", "/v1/nodes?region=amer", "", reader).want(t, 502)
	if !strings.Contains(a.text, "compare the clocks") {
		t.Errorf("with another clock: %s", a.text)
	}
}

// TestAnotherRegionsEventsPassThrough as they happen, and end with this door.
func TestAnotherRegionsEventsPassThrough(t *testing.T) {
	t.Parallel()
	emea, amer, _ := twoRegions(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, emea.url+"/v1/events?region=amer&after=7", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", strings.TrimPrefix(reader, "Authorization: "))
	// It opens at once, not with the first event or beat.
	resp, err := (&http.Client{Transport: &http.Transport{ResponseHeaderTimeout: eventBeat * 2 / 3, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	amer.fake.tell(history.Event{Kind: "claimed", Text: "over there"})
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() && !strings.Contains(lines.Text(), "over there") {
		continue
	}
	if err := lines.Err(); err != nil || !strings.Contains(lines.Text(), "over there") {
		t.Fatalf("the stream gave %q, %v", lines.Text(), err)
	}
	emea.door.Close()
	for lines.Scan() {
		continue
	}
}

// TestTheConsoleReachesTheOtherRegions for lists of calls and for one call.
func TestTheConsoleReachesTheOtherRegions(t *testing.T) {
	t.Parallel()
	amer := tokenRoom(t, passes, func(c *Config, _ *Deps) { c.Region, c.Node = "amer", "amer-1" })
	between := &wire{to: amer}
	emea := openRoom(t, func(_ *Config, d *Deps) { d.Elsewhere = between })
	amer.fake.add(ownership.Call{ID: "a01", App: "app-1", Partition: 1, State: ownership.CallAnswered, ClaimedAt: start, Placement: ownership.Placement{Owner: "emea-1", Partition: 1, Epoch: 1}})
	for path, want := range map[string]string{
		"/console/calls?region=amer":               `href="/console/calls/a01"`,
		"/console/calls?region=amer&state=claimed": "No call matches",
		"/console/calls":                           `<option>amer</option>`,
		"/console/calls/a01":                       "<dt>Region</dt><dd>amer</dd>",
		"/console/":                                `href="/console/?region=amer"`,
	} {
		if a := emea.ask("GET", path, "").want(t, 200); !strings.Contains(a.text, want) {
			t.Errorf("%s shows no %q:\n%s", path, want, a.text)
		}
	}
	pages := func(want map[string]int) {
		for path, status := range want {
			if a := emea.ask("GET", path, ""); a.StatusCode != status {
				t.Errorf("%s (cut off: %v): %d", path, between.cut.Load(), a.StatusCode)
			}
		}
	}
	pages(map[string]int{"/console/calls?region=mars": 404, "/console/calls/a02": 404})
	between.cut.Store(true)
	pages(map[string]int{"/console/calls?region=amer": 503, "/console/calls/a01": 503, "/console/search?q=a01": 503})
}
