package bot

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// reporter is a bot in this process that says how it is.
type reporter struct {
	fakeBot
	mu     sync.Mutex
	report Report
	err    error
	hang   bool
}

func (r *reporter) Health(ctx context.Context) (Report, error) {
	r.mu.Lock()
	hang, report, err := r.hang, r.report, r.err
	r.mu.Unlock()
	if hang {
		<-ctx.Done()
		return Report{}, ctx.Err()
	}
	return report, err
}

func (r *reporter) set(report Report, err error, hang bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report, r.err, r.hang = report, err, hang
}

func TestHealthHysteresis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reporter{err: errors.New("still loading")}
		s := newStand(t, AnswerByBot, func(c *Config) { c.Apps[0].Bot = r })
		expect := func(when string, want bool) {
			t.Helper()
			synctest.Wait()
			if got, _, _ := Worst(s.Health()); got != want {
				t.Errorf("%s: healthy is %t, want %t", when, got, want)
			}
		}
		time.Sleep(500 * time.Millisecond) // between two checks from here on
		expect("before its first success", false)
		r.set(Report{}, nil, false)
		time.Sleep(time.Second)
		expect("after its first success ever", true)
		r.set(Report{}, errors.New("hiccup"), false)
		time.Sleep(time.Second)
		r.set(Report{}, nil, false)
		expect("after one failure", true)
		time.Sleep(time.Second)
		r.set(Report{}, nil, true)
		time.Sleep(4 * time.Second)
		expect("when it hangs", false)
		r.set(Report{}, nil, false)
		time.Sleep(time.Second)
		expect("after one success of a sick bot", false)
		time.Sleep(time.Second)
		expect("after two", true)
	})
}

func TestHealthFirstSuccessCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, AnswerByBot, func(c *Config) { c.Apps[0].Bot = &reporter{report: Report{Load: .4, Capacity: 50}} })
		synctest.Wait()
		if healthy, load, room := Worst(s.Health()); !healthy || load != .4 || room != 50 {
			t.Errorf("%t %v %d, want true 0.4 50", healthy, load, room)
		}
	})
}

func TestHealthTheWorstAppCounts(t *testing.T) {
	tests := []struct {
		name    string
		a, b    Report
		err     error
		healthy bool
		load    float64
		room    int
	}{
		{"both well", Report{Load: .2, Capacity: 50}, Report{Load: .7, Capacity: 20}, nil, true, .7, 20},
		{"one says nothing", Report{}, Report{Load: .7, Capacity: 20}, nil, true, .7, 20},
		{"one drains", Report{Load: .2}, Report{Draining: true}, nil, false, .2, 0},
		{"one is sick", Report{Load: .2}, Report{}, errors.New("sick"), false, .2, 0},
		{"nonsense", Report{Load: math.NaN(), Capacity: -5}, Report{Load: 70}, nil, true, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, AnswerByBot, func(c *Config) {
					c.Apps[0].Bot = &reporter{report: tt.a}
					c.Apps = append(c.Apps, App{ID: "second", Answer: AnswerByBot, Timeout: usualTimeout, Bot: &reporter{report: tt.b, err: tt.err}})
				})
				synctest.Wait()
				if healthy, load, room := Worst(s.Health()); healthy != tt.healthy || load != tt.load || room != tt.room {
					t.Errorf("%t %v %d, want %t %v %d", healthy, load, room, tt.healthy, tt.load, tt.room)
				}
			})
		})
	}
}

func TestNewRefusesBadConfig(t *testing.T) {
	good := App{ID: appID, Timeout: usualTimeout, Answer: AnswerByRouter, AnswerWith: answerWith, Bot: &fakeBot{}, Graph: &fakeGraph{}}
	for name, change := range map[string]func(*App){
		"no id":          func(a *App) { a.ID = "" },
		"no timeout":     func(a *App) { a.Timeout = 0 },
		"no answer":      func(a *App) { a.Answer = "" },
		"no bot":         func(a *App) { a.Bot = nil },
		"unknown answer": func(a *App) { a.Answer = "nobody" },
		"no credentials": func(a *App) { a.Graph = nil },
		"no answer_with": func(a *App) { a.AnswerWith = nil },
		"list to answer": func(a *App) { a.AnswerWith = []byte(`[1]`) },
	} {
		a := good
		change(&a)
		if _, err := New(Config{Apps: []App{a}}, &fakeLedger{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{Apps: []App{good, good}}, &fakeLedger{}); err == nil {
		t.Error("an app listed twice: accepted")
	}
	if _, err := New(Config{Apps: []App{good}}, nil); err == nil {
		t.Error("no ledger: accepted")
	}
}
