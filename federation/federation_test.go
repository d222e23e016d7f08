package federation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"tandem/ownership"
)

// distant stands for the network and the regions behind it.
type distant struct {
	mu     sync.Mutex
	answer func(*http.Request) (*http.Response, error)
	stream func(*http.Request) (*http.Response, error)
	asked  atomic.Int64
}

func (d *distant) RoundTrip(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	f, stream := d.answer, d.stream
	d.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/stream") { // older software has none
		if stream == nil {
			return says(404, "")(r)
		}
		return stream(r)
	}
	d.asked.Add(1)
	return f(r)
}

func (d *distant) now(f func(*http.Request) (*http.Response, error)) {
	d.mu.Lock()
	d.answer = f
	d.mu.Unlock()
}

func says(status int, body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

func refuses(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

func hangs(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func summary(live int, healthy bool) func(*http.Request) (*http.Response, error) {
	return says(200, fmt.Sprintf(`{"region":"amer","nodes":3,"live":%d,"capacity":150,"table_version":77,"healthy":%v,"more":[1]}`, live, healthy))
}

var amer = Region{Name: "amer", URL: "https://amer.example", AdminURL: "https://amer-admin.example/", Token: "canary-token"}

// world starts following one region in the bubble of a synctest.
func world(t *testing.T, d *distant, change ...func(*Config)) *Regions {
	t.Helper()
	cfg := Config{Self: "emea", Regions: []Region{amer}, Transport: d}
	for _, f := range change {
		f(&cfg)
	}
	w, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	synctest.Wait()
	return w
}

// after lets time pass until just after the question of that second.
func after(d time.Duration) {
	time.Sleep(d) // the bubble's time: no test waits
	synctest.Wait()
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &distant{answer: summary(40, true)}
		start := time.Now()
		w := world(t, d)
		want := Summary{Name: "amer", URL: "https://amer.example", Healthy: true, AsOf: start, Nodes: 3, Live: 40, Capacity: 150, TableVersion: 77,
			RTT: 1, Doors: []Door{{URL: "https://amer-admin.example", Answered: true, RTT: 1}}}
		if diff := cmp.Diff([]Summary{want}, w.Regions()); diff != "" {
			t.Error(diff)
		}
		d.now(summary(41, true))
		after(time.Second)
		if got := w.Regions()[0]; got.Live != 41 || !got.AsOf.Equal(start.Add(time.Second)) {
			t.Errorf("a second later it is %+v", got)
		}
		if n := d.asked.Load(); n != 2 {
			t.Errorf("it was asked %d times in a second, want 2", n)
		}
	})
}

func TestQuestion(t *testing.T) {
	tests := []struct {
		name       string
		region     Region
		method, to string
		auth       string
	}{
		{"admin door", amer, "GET", "https://amer-admin.example/v1/summary", "Bearer canary-token"},
		{"admin door without a token", Region{Name: "amer", URL: amer.URL, AdminURL: "https://a.example"}, "GET", "https://a.example/v1/summary", ""},
		{"public door", Region{Name: "amer", URL: "https://amer.example/base", Token: "canary-token"}, "HEAD", "https://amer.example/base", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got *http.Request
				d := &distant{answer: func(r *http.Request) (*http.Response, error) { got = r; return refuses(r) }}
				world(t, d, func(c *Config) { c.Regions = []Region{tt.region} })
				if got.Method != tt.method || got.URL.String() != tt.to || got.Header.Get("Authorization") != tt.auth {
					t.Errorf("asked %s %s with %q", got.Method, got.URL, got.Header.Get("Authorization"))
				}
			})
		})
	}
}

func TestF22_DownAfterThreeMissesUpAfterOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &distant{answer: summary(40, true)}
		w := world(t, d)
		lastAnswer := time.Now()
		d.now(refuses)
		for i, healthy := range []bool{true, true, false, false} {
			after(time.Second)
			got := w.Regions()[0]
			if w.Healthy("amer") != healthy || got.Healthy != healthy {
				t.Errorf("after %d misses healthy is %v", i+1, got.Healthy)
			}
			if !got.Partial || got.Live != 40 || !got.AsOf.Equal(lastAnswer) || !strings.Contains(got.Error, "connection refused") {
				t.Errorf("after %d misses it is %+v, want the old figures, marked", i+1, got)
			}
		}
		d.now(summary(1, true))
		after(time.Second)
		if got := w.Regions()[0]; !got.Healthy || got.Partial || got.Error != "" || got.Live != 1 {
			t.Errorf("after one answer it is %+v", got)
		}
		d.now(refuses)
		after(2 * time.Second)
		if !w.Healthy("amer") {
			t.Error("an answer did not reset the count of misses")
		}
	})
}

func TestF23_HangingRegionIsDownAndBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &distant{answer: summary(40, true)}
		w := world(t, d)
		d.now(hangs)
		after(1500 * time.Millisecond) // in the middle of the first question that hangs
		before := time.Now()
		if !w.Healthy("amer") || len(w.Regions()) != 1 || time.Since(before) != 0 {
			t.Error("a reader waited for the region")
		}
		after(2600 * time.Millisecond) // 4.1 s after it fell silent
		if w.Healthy("amer") {
			t.Error("it is still healthy 4.1 s after it fell silent")
		}
	})
}

func TestUnseenRegionIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world(t, &distant{answer: hangs})
		got := w.Regions()[0]
		if w.Healthy("amer") || !got.Partial || !got.AsOf.IsZero() || got.Error == "" {
			t.Errorf("before its first answer it is %+v", got)
		}
	})
}

func TestAnswers(t *testing.T) {
	public := Region{Name: "amer", URL: "https://amer.example"}
	tests := []struct {
		name    string
		region  Region
		answer  func(*http.Request) (*http.Response, error)
		healthy bool
		partial bool
		live    int
		problem string
	}{
		{"a summary", amer, summary(7, true), true, false, 7, ""},
		{"it cannot place calls", amer, summary(7, false), false, false, 7, "can place no calls"},
		{"another region's door", amer, says(200, `{"region":"apac","healthy":true}`), false, true, 0, `that of region "apac"`},
		{"health missing", amer, says(200, `{"region":"amer","live":7}`), false, true, 0, "does not say"},
		{"negative figures", amer, says(200, `{"region":"amer","live":-7,"healthy":true}`), false, true, 0, "negative"},
		{"HTML", amer, says(200, `<html>`), false, true, 0, "reading its summary"},
		{"empty", amer, says(200, ``), false, true, 0, "reading its summary"},
		{"too long", amer, says(200, `{"region":"amer","healthy":true,"live":7,"x":"`+strings.Repeat("x", maxAnswer)+`"}`), false, true, 0, "longer than 524288 bytes"},
		{"wrong token: alive", amer, says(401, ``), true, true, 0, "answers 401"},
		{"older version: alive", amer, says(404, ``), true, true, 0, "answers 404"},
		{"B112 redirect: alive, not followed", amer, says(302, ``), true, true, 0, "answers 302"},
		{"balancer without nodes", amer, says(503, ``), false, true, 0, "answers 503"},
		{"public door speaks", public, says(404, ``), true, true, 0, "no admin_url"},
		{"public door fails, and yet speaks", public, says(500, ``), true, true, 0, "no admin_url"},
		{"public balancer without nodes", public, says(502, ``), false, true, 0, "answers 502"},
		{"public door silent", public, refuses, false, true, 0, "connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &distant{answer: tt.answer}
				w := world(t, d, func(c *Config) { c.Regions = []Region{tt.region} })
				got := w.Regions()[0]
				if got.Healthy != tt.healthy || got.Partial != tt.partial || got.Live != tt.live {
					t.Errorf("it is %+v", got)
				}
				if (tt.problem == "") != (got.Error == "") || !strings.Contains(got.Error, tt.problem) {
					t.Errorf("the error is %q, want %q in it", got.Error, tt.problem)
				}
				if d.asked.Load() != 1 {
					t.Errorf("it was asked %d times", d.asked.Load())
				}
			})
		})
	}
}

func TestI10_TokenStaysSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d := &distant{answer: refuses}
		w := world(t, d, func(c *Config) { c.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
		for _, answer := range []func(*http.Request) (*http.Response, error){summary(1, true), says(401, "canary-token"), says(200, "canary-token"), hangs, refuses} {
			d.now(answer)
			after(4 * time.Second)
			if text := fmt.Sprintf("%+v", w.Regions()); strings.Contains(text, "canary") {
				t.Errorf("the token is in %s", text)
			}
		}
		w.Close()
		if log.Len() == 0 || strings.Contains(log.String(), "canary") {
			t.Errorf("the log is empty or holds the token: %s", log.String())
		}
	})
}

func TestSelfAndUnknownRegions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &distant{answer: summary(1, true)}
		w := world(t, d, func(c *Config) {
			c.Regions = append(c.Regions, Region{Name: "emea", URL: "https://emea.example"})
		})
		if !w.Healthy("emea") || w.Healthy("mars") || len(w.Regions()) != 1 || d.asked.Load() != 1 {
			t.Error("this region was followed, or is down, or an unknown one is up")
		}
		for r, want := range map[ownership.Region]string{"emea": "https://emea.example", "amer": "https://amer.example", "mars": ""} {
			if got, ok := w.URL(r); got != want || ok != (want != "") {
				t.Errorf("the URL of %s is %q, %v", r, got, ok)
			}
		}
	})
	w, err := Start(t.Context(), Config{Self: "emea"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, ok := w.URL("emea"); ok || len(w.Regions()) != 0 {
		t.Error("a world without other regions knows some")
	}
}

func TestCloseEndsAQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world(t, &distant{answer: hangs})
		before := time.Now()
		w.Close()
		if time.Since(before) != 0 {
			t.Errorf("Close waited %s for a region", time.Since(before))
		}
		if got := w.Regions()[0].Error; got != "it was not asked yet" {
			t.Errorf("the end of our own question was held against the region: %s", got)
		}
	})
}

func TestCloseWaitsForTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Bool
		w := world(t, &distant{answer: func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			time.Sleep(50 * time.Millisecond) // the bubble's time: a transport that ends slowly
			ended.Store(true)
			return nil, r.Context().Err()
		}})
		w.Close()
		if !ended.Load() {
			t.Error("Close came back while a question was under way")
		}
	})
}

func TestEndOfContextEndsFollowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := &distant{answer: summary(1, true)}
		w, err := Start(ctx, Config{Self: "emea", Regions: []Region{amer}, Transport: d})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		after(time.Minute)
		if d.asked.Load() != 1 {
			t.Errorf("it was asked %d times", d.asked.Load())
		}
		w.Close()
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewPedanticRegistry()
		d := &distant{answer: summary(1, true)}
		world(t, d, func(c *Config) { c.Metrics = reg })
		d.now(refuses)
		after(3 * time.Second)
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		want := map[string]float64{
			"tandem_federation_region_up amer":          0,
			"tandem_federation_rtt_seconds amer":        0, // no door answers
			"tandem_federation_age_seconds amer":        3,
			"tandem_federation_looks_total amer missed": 3,
			"tandem_federation_looks_total amer ready":  1,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if _, err := Start(t.Context(), Config{Self: "emea", Metrics: reg}); err == nil {
			t.Error("metrics were registered twice")
		}
	})
}

func TestStartRefuses(t *testing.T) {
	tests := []struct {
		name    string
		regions []Region
		want    string
	}{
		{"no name", []Region{{URL: "https://x.example"}}, `reading region "": it has no name`},
		{"all", []Region{{Name: "all", URL: "https://x.example"}}, `reading region "all": its name means all regions`},
		{"twice", []Region{{Name: "a", URL: "https://x.example"}, {Name: "a", URL: "https://y.example"}}, `reading region "a": it is listed twice`},
		{"no URL", []Region{{Name: "a"}}, "its url is not https"},
		{"B99 file", []Region{{Name: "a", URL: "file:///etc/passwd"}}, "its url is not https"},
		{"B99 javascript", []Region{{Name: "a", URL: "javascript:alert(1)"}}, "its url is not https"},
		{"B97 line break", []Region{{Name: "a", URL: "https://x.example/\r\nX: y"}}, "its url is no URL"},
		{"B97 user name", []Region{{Name: "a", URL: "https://canary@x.example"}}, "its url holds more than scheme, host, port and path"},
		{"query", []Region{{Name: "a", URL: "https://x.example?a=b"}}, "its url holds more than scheme"},
		{"fragment", []Region{{Name: "a", URL: "https://x.example#a"}}, "its url holds more than scheme"},
		{"admin URL", []Region{{Name: "a", URL: "https://x.example", AdminURL: "x.example:8470"}}, "its admin_url "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Start(t.Context(), Config{Self: "emea", Regions: tt.regions})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
