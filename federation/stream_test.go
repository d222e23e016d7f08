package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

// station is a region whose doors tell of it by streams, until they are cut off.
type station struct {
	mu     sync.Mutex
	now    string // what a door that is asked says, and a stream first
	off    func(*http.Request) (*http.Response, error)
	lost   string                    // a host that refuses
	well   string                    // the only host that says that it is well; empty: all say now
	lines  map[*io.PipeWriter]string // by stream: its host
	polled map[string]int            // full summaries that were asked for, by host
	probed map[string]int
}

func newStation() *station {
	return &station{now: fullSummary, lines: map[*io.PipeWriter]string{}, polled: map[string]int{}, probed: map[string]int{}}
}

func (s *station) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Host == s.lost {
		return refuses(r)
	}
	if off := s.off; off != nil {
		s.mu.Unlock()
		defer s.mu.Lock()
		return off(r)
	}
	now := s.now
	if s.well != "" && r.URL.Host != s.well {
		now = `{"region":"amer","table_version":79,"healthy":false}`
	}
	switch r.URL.Path {
	case streamPath:
		in, out := io.Pipe()
		s.lines[out] = r.URL.Host
		context.AfterFunc(r.Context(), func() { in.CloseWithError(r.Context().Err()) })
		go s.write(out, "summary", now)
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: in, Request: r}, nil
	case summaryPath:
		s.polled[r.URL.Host]++
		return says(200, now)(r)
	case "/livez":
		s.probed[r.URL.Host]++
	}
	return says(200, "")(r)
}

func (s *station) write(to *io.PipeWriter, name, data string) {
	if _, err := fmt.Fprintf(to, "event: %s\ndata: %s\n\n", name, strings.ReplaceAll(data, "\n", "")); err != nil {
		s.mu.Lock()
		delete(s.lines, to)
		s.mu.Unlock()
	}
}

// tell says it on every stream.
func (s *station) tell(name, data string) {
	s.mu.Lock()
	lines := make([]*io.PipeWriter, 0, len(s.lines))
	for out := range s.lines {
		lines = append(lines, out)
	}
	s.mu.Unlock()
	for _, out := range lines {
		s.write(out, name, data)
	}
}

// beat is told twice a second, as the doors do, for as long.
func (s *station) beat(long time.Duration, version int) {
	for range long / (500 * time.Millisecond) {
		s.tell("figures", fmt.Sprintf(`{"region":"amer","live":4,"capacity":150,"nodes":2,"room":9,"table_version":%d,"healthy":true,"apps":[{"id":"app-1","room":9,"healthy":true}]}`, version))
		time.Sleep(500 * time.Millisecond)
	}
	synctest.Wait()
}

// cut ends what the doors say: their connections break, or nothing passes any more.
func (s *station) cut(how func(*http.Request) (*http.Response, error), broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = how
	for out := range s.lines {
		if broken {
			out.CloseWithError(io.ErrUnexpectedEOF)
		}
	}
	clear(s.lines)
}

func stationWorld(t *testing.T, s *station, doors ...string) *Regions {
	t.Helper()
	w, err := Start(t.Context(), Config{Self: "emea", Transport: s, Regions: []Region{{Name: "amer", URL: amer.URL, AdminURLs: doors}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	synctest.Wait()
	return w
}

// TestAStreamIsListenedTo at three doors at most; what they tell is known at once, and
// nobody is asked for a summary any more.
func TestAStreamIsListenedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation()
		w := stationWorld(t, s, "https://a.example", "https://b.example", "https://c.example", "https://d.example", "https://e.example")
		defer s.cut(nil, true)
		s.beat(20*time.Second, 78)
		if len(s.lines) != maxStreams {
			t.Errorf("%d streams are open", len(s.lines))
		}
		for host, n := range s.polled {
			if n != 1 {
				t.Errorf("%s was asked for %d summaries", host, n)
			}
			if p := s.probed[host]; p < 3 || p > 5 {
				t.Errorf("%s was asked %d times in 20 s whether it lives", host, p)
			}
		}
		before := time.Now()
		s.tell("figures", `{"region":"amer","live":5,"nodes":2,"capacity":150,"table_version":80,"healthy":true,"apps":[{"id":"app-1","room":0,"healthy":true}]}`)
		synctest.Wait()
		got := w.Regions()[0]
		if got.Live != 5 || !got.AsOf.Equal(before) || got.RTT == 0 || got.Partial || got.Error != "" || len(got.Doors) != 5 {
			t.Errorf("it is %+v", got)
		}
		if n, ok := w.Owner("amer", 3); !ok || n.ID != "amer-1" {
			t.Errorf("figures took the partitions away: %+v, %v", n, ok)
		}
		if p := w.Look("amer", "app-1"); p.Up || p.Room != 0 {
			t.Errorf("for a call of a full app it is %+v", p)
		}
		s.tell("figures", `{"region":"amer","table_version":80,"healthy":true,"room":40}`)
		synctest.Wait()
		if p := w.Look("amer", "app-1"); !p.Up || p.Room != 40 {
			t.Errorf("after figures without apps it is %+v", p)
		}
		s.tell("summary", `{"region":"amer","table_version":81,"healthy":true,"nodes_list":[{"id":"amer-7"}],"partitions":{"amer-7":[[3,5]]}}`)
		synctest.Wait()
		if n, _ := w.Owner("amer", 3); n.ID != "amer-7" || len(w.Nodes("amer")) != 1 {
			t.Errorf("after another summary partition 3 is %+v's", n)
		}
	})
}

// TestTheStreamsWordCounts: a region that says that it can place no calls is down three
// seconds later, whatever a door without a stream said before.
func TestTheStreamsWordCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation()
		w := stationWorld(t, s, "https://a.example", "https://b.example", "https://c.example", "https://d.example")
		defer s.cut(nil, true)
		s.beat(time.Second, 78)
		s.mu.Lock()
		s.now = `{"region":"amer","table_version":79,"healthy":false}`
		s.mu.Unlock()
		for range 7 {
			s.tell("figures", s.now)
			time.Sleep(500 * time.Millisecond) // of the bubble
		}
		synctest.Wait()
		if got := w.Regions()[0]; got.Healthy || !strings.Contains(got.Error, "can place no calls") {
			t.Errorf("it is %+v", got)
		}
		if n := len(s.lines); n != maxStreams {
			t.Errorf("%d doors are listened to", n)
		}
		s.tell("figures", `{"region":"amer","table_version":80,"healthy":true}`)
		synctest.Wait()
		if !w.Healthy("amer") {
			t.Error("its first good word does not count")
		}
	})
}

// TestF22_DownWithinThreeSeconds of its last word, however it fell silent; up at the
// first good one. Nobody waits meanwhile.
func TestF22_DownWithinThreeSeconds(t *testing.T) {
	for name, how := range map[string]struct {
		off    func(*http.Request) (*http.Response, error)
		broken bool
	}{"killed": {refuses, true}, "cut off": {hangs, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStation()
				w := stationWorld(t, s, "https://a.example", "https://b.example")
				s.beat(3*time.Second, 78)
				s.cut(how.off, how.broken)
				time.Sleep(400 * time.Millisecond) // of the bubble: well before anybody could be sure
				if synctest.Wait(); !w.Healthy("amer") {
					t.Error("down after 0.4 s")
				}
				time.Sleep(2600 * time.Millisecond) // of the bubble
				synctest.Wait()
				if got := w.Regions()[0]; got.Healthy || got.Doors[0].Answered || !strings.Contains(got.Error, "none of its 2 doors answered") {
					t.Errorf("3 s after its last word it is %+v", got)
				}
				s.mu.Lock()
				s.off = nil
				s.mu.Unlock()
				after(time.Second)
				if !w.Healthy("amer") {
					t.Error("down after the first good word")
				}
				s.cut(nil, true)
			})
		})
	}
}

// TestAHalfAnswer: a door that is cut off is named, the region stays what it is, and
// another door is listened to in its place.
func TestAHalfAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation()
		w := stationWorld(t, s, "https://a.example", "https://b.example", "https://c.example", "https://d.example")
		s.beat(2*time.Second, 78)
		var lost string
		s.mu.Lock()
		for out, host := range s.lines {
			lost = host
			delete(s.lines, out)
			out.CloseWithError(io.ErrUnexpectedEOF)
			break
		}
		s.lost = lost
		s.mu.Unlock()
		for range 10 {
			s.beat(time.Second, 79)
			if got := w.Regions()[0]; !got.Healthy || got.Partial {
				t.Fatalf("with one door of four lost it is %+v", got)
			}
		}
		got := w.Regions()[0]
		streams := 0
		for _, d := range got.Doors {
			if d.Streaming {
				streams++
			}
			if d.Answered != (d.URL != "https://"+lost) || (d.Error == "") != d.Answered {
				t.Errorf("%s is lost, and %+v", lost, d)
			}
		}
		if streams != maxStreams || !strings.Contains(got.Error, "1 of its 4 doors did not answer") {
			t.Errorf("%d doors are listened to; %s", streams, got.Error)
		}
		s.cut(nil, true)
	})
}

// TestO28_BotsDecide: a region is up for an app whose bots are well and have room.
func TestO28_BotsDecide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &distant{answer: says(200, fullSummary)}
		w := world(t, d)
		for app, want := range map[ownership.AppID]Prospect{"app-1": {true, 9, 1}, "app-2": {false, 0, 1}, "unheard of": {false, 0, 1}} {
			if got := w.Look("amer", app); got != want {
				t.Errorf("for %s it is %+v", app, got)
			}
		}
		if !w.Look("emea", "app-2").Up || w.Look("mars", "app-1").Up {
			t.Error("this region is down, or an unknown one up")
		}
		d.now(says(200, `{"region":"amer","healthy":true,"room":40}`))
		after(time.Second)
		if got := w.Look("amer", "app-2"); !got.Up || got.Room != 40 {
			t.Errorf("a region that tells no apps is %+v", got)
		}
	})
}

func FuzzReadEvents(f *testing.F) {
	f.Add("event: summary\ndata: {}\n\n")
	f.Add(":\n\ndata: a\ndata: b\r\n\r\nid: 3\n\n")
	f.Add("data: " + strings.Repeat("x", 9000) + "\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		const limit = 8000
		err := readEvents(strings.NewReader(text), limit, func(_ string, data []byte) error {
			if len(data) > limit {
				t.Errorf("an event of %d bytes", len(data))
			}
			return nil
		})
		if err == nil || !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "longer than") {
			t.Errorf("it ended with %v", err)
		}
	})
}

// TestAWellDoorIsListenedTo where those of before are cut off from their region: one that
// was not listened to is asked, and the region stays up.
func TestAWellDoorIsListenedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation()
		w := stationWorld(t, s, "https://a.example", "https://b.example", "https://c.example", "https://d.example")
		defer s.cut(nil, true)
		s.beat(20*time.Second, 78) // what the fourth said is long past
		for range 20 {
			s.mu.Lock()
			lines := map[*io.PipeWriter]string{}
			for out, host := range s.lines {
				lines[out] = host
			}
			first := len(lines) == maxStreams && s.well == ""
			if first {
				for _, host := range []string{"a.example", "b.example", "c.example", "d.example"} {
					heard := false
					for _, h := range lines {
						heard = heard || h == host
					}
					if !heard {
						s.well = host
					}
				}
			}
			s.mu.Unlock()
			for out, host := range lines {
				s.write(out, "figures", fmt.Sprintf(`{"region":"amer","table_version":79,"healthy":%v}`, host == s.well))
			}
			time.Sleep(500 * time.Millisecond) // of the bubble
			synctest.Wait()
			if !w.Healthy("amer") {
				t.Fatalf("it is %+v", w.Regions()[0])
			}
		}
		for _, d := range w.Regions()[0].Doors {
			if d.URL == "https://"+s.well && !d.Streaming {
				t.Errorf("the well door is not listened to: %+v", d)
			}
		}
	})
}
