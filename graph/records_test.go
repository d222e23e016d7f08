package graph

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestCallRecords: page after page, asked as Graph's page says.
func TestCallRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeGraph{}
		c, _, _ := newTestCalls(t, f)
		var queries []url.Values
		f.api = func(n int, r *http.Request) (*http.Response, error) {
			queries = append(queries, r.URL.Query())
			if r.URL.Path != "/v1.0/communications/callRecords" || r.Method != http.MethodGet {
				t.Errorf("request %d is %s %s", n, r.Method, r.URL.Path)
			}
			if n == 1 {
				return reply(http.StatusServiceUnavailable, ""), nil
			}
			if n == 2 {
				return reply(200, fmt.Sprintf(`{"value":[{"id":"one","type":"groupCall","startDateTime":"2026-11-29T08:00:00.5Z","endDateTime":"2026-11-29T09:00:00Z",
					"modalities":["audio"],"organizer":{"user":{"displayName":"Abbie"}},
					"joinWebUrl":"https://teams.microsoft.com/l/meetup-join/19%%3ameeting_x%%40thread.v2/0?context=%%7b%%7d"}],"@odata.nextLink":"%s/communications/callRecords?$skiptoken=2"}`, c.base)), nil
			}
			return reply(200, `{"value":[{"id":"two","joinWebUrl":"https://elsewhere.example/"}]}`), nil
		}
		since := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
		var got []CallRecord
		for r, err := range c.CallRecords(t.Context(), since, since.Add(24*time.Hour), "a@b.example") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r)
		}
		want := CallRecord{ID: "one", Type: "groupCall", Start: since.Add(8*time.Hour + 500*time.Millisecond), End: since.Add(9 * time.Hour), Modalities: []string{"audio"}, Thread: "19:meeting_x@thread.v2"}
		if len(got) != 2 || fmt.Sprint(got[0]) != fmt.Sprint(want) || got[1].ID != "two" || got[1].Thread != "" {
			t.Errorf("the records are %+v", got)
		}
		filter := "startDateTime ge 2026-11-29T00:00:00Z and startDateTime lt 2026-11-30T00:00:00Z and participants_v2/any(p:p/id eq 'a@b.example')"
		if len(queries) != 3 || queries[1].Get("$filter") != filter || queries[2].Get("$skiptoken") != "2" {
			t.Errorf("asked was %v", queries)
		}
	})
}

// TestCallRecordsStayWhereTheConfigurationSays: no answer sends the token elsewhere, or round in
// a circle, and no id leaves its quotes.
func TestCallRecordsStayWhereTheConfigurationSays(t *testing.T) {
	for name, tc := range map[string]struct {
		next, participant, says string
		body                    string
	}{
		"another host":     {next: "https://evil.example/v1.0/communications/callRecords?x", says: "at another address"},
		"another path":     {next: "BASE/users?x", says: "at another address"},
		"a host behind it": {next: "BASE.evil.example/communications/callRecords?x", says: "at another address"},
		"the same page":    {next: "SAME", says: "the same one"},
		"a quote":          {participant: "x' or 1 eq 1", says: "no id of a participant"},
		"no JSON":          {body: "<html>", says: "no page of call records"},
		"refused":          {body: "403", says: "Graph refused"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeGraph{}
			c, _, _ := newTestCalls(t, f)
			f.api = func(_ int, r *http.Request) (*http.Response, error) {
				if tc.body == "403" {
					return reply(http.StatusForbidden, `{"error":{"code":"Forbidden"}}`), nil
				}
				if tc.body != "" {
					return reply(200, tc.body), nil
				}
				next := strings.NewReplacer("BASE", c.base, "SAME", r.URL.String()).Replace(tc.next)
				return reply(200, fmt.Sprintf(`{"value":[],"@odata.nextLink":%q}`, next)), nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var err error
			for _, err = range c.CallRecords(ctx, time.Time{}, time.Now(), tc.participant) {
			}
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), tokenCanary) {
				t.Errorf("%s: %v, want %q", name, err, tc.says)
			}
			if paths := f.requests(); slices.ContainsFunc(paths, func(s sent) bool { return !strings.HasSuffix(s.path, "/communications/callRecords") }) {
				t.Errorf("%s: asked was %+v", name, paths)
			}
		})
	}
}
