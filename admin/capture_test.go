package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/admin/client"
)

// Capture implements Captures: three calls that are remembered, and one a millisecond.
func (f *fake) Capture(ctx context.Context, recent bool, each func(api.Captured) error) (int64, error) {
	c := api.Captured{At: start, Call: "h.one", Facts: map[string]string{"country_code": "DE"}, To: "emea"}
	for n := 0; recent && n < 3; n++ {
		if err := each(c); err != nil {
			return 2, err
		}
	}
	tick := time.NewTicker(cmp.Or(f.pause, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := each(c); err != nil {
				return 2, err
			}
		case <-ctx.Done():
			return 2, nil
		}
	}
}

// TestAStreamOpensAtOnce: a reader learns that it is connected before anything happens.
func TestAStreamOpensAtOnce(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	r.fake.set(func() { r.fake.events, r.fake.pause = nil, time.Hour })
	impatient := &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: eventBeat * 2 / 3, DisableKeepAlives: true}}
	for _, path := range []string{"/v1/capture", "/v1/events", "/v1/summary/stream"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", strings.TrimPrefix(reader, "Authorization: "))
		resp, err := impatient.Do(req)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, resp.Status)
		}
		_ = resp.Body.Close()
	}
}

// Replay implements Captures.
func (f *fake) Replay(_ context.Context, ask api.ReplayAsk) (api.RulesDiff, error) {
	if ask.Calls[0].Facts["odd"] != "" {
		return api.RulesDiff{}, errors.New("reading the facts of call 1: this software knows others")
	}
	return api.RulesDiff{Recorded: len(ask.Calls)}, nil
}

// TestCaptureIsBounded: by calls, by time, by the reader; and says why it ended, and what
// the reader missed.
func TestCaptureIsBounded(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	c := client.Captures{Client: r.client(api.RoleRead)}
	count := func(ask client.CaptureAsk, enough int) (int, api.CaptureEnd, error) {
		n := 0
		end, err := c.Capture(t.Context(), ask, func(k api.Captured) error {
			if k.Facts["country_code"] != "DE" || k.To != "emea" {
				t.Errorf("%+v", k)
			}
			if n++; n == enough {
				return errors.New("enough")
			}
			return nil
		})
		return n, end, err
	}
	if n, end, err := count(client.CaptureAsk{Recent: true, For: time.Minute, Most: 7}, -1); n != 7 || err != nil || end != (api.CaptureEnd{Calls: 7, Missed: 2, Why: "calls"}) {
		t.Errorf("%d, %+v, %v", n, end, err)
	}
	if n, end, err := count(client.CaptureAsk{For: time.Second, Most: 100_000}, -1); n == 0 || err != nil || end.Why != "time" || end.Calls != n {
		t.Errorf("%d, %+v, %v", n, end, err)
	}
	if n, _, err := count(client.CaptureAsk{For: time.Minute, Most: 100}, 2); n != 2 || err == nil || err.Error() != "enough" {
		t.Errorf("%d, %v", n, err)
	}
	for path, says := range map[string]string{
		"/v1/capture?seconds=3601": "seconds is 3601: write 3600 or less.", "/v1/capture?most=0": "most is 0: write 1 or more.", "/v1/capture?seconds=-1": "seconds is -1",
	} {
		if a := r.ask("GET", path, "", as(api.RoleRead)).want(t, 400); !strings.Contains(a.text, says) {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	d, err := c.Replay(t.Context(), api.ReplayAsk{Calls: []api.Captured{{Call: "h.x", Facts: map[string]string{}}}})
	if err != nil || d.Recorded != 1 || d.Moves == nil {
		t.Errorf("%+v, %v", d, err)
	}
	for body, want := range map[string]int{
		`{"calls":[]}`: 422, `{"calls":[{"call":"x","at":"2026-11-29T09:30:00Z","facts":{"odd":"1"}}]}`: 422,
		`{"text":"bad: 1","calls":[{"call":"x","at":"2026-11-29T09:30:00Z","facts":{}}]}`: 422,
		`{"calls":[{"call":"x","at":"2026-11-29T09:30:00Z","facts":{"a":1}}]}`:            422,
	} {
		r.ask("POST", "/v1/rules/replay", body, as(api.RoleRead)).want(t, want)
	}
}
