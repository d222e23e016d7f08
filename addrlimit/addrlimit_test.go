package addrlimit

import (
	"sync"
	"testing"
	"time"
)

func TestKey(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80":               "192.0.2.1",
		"[::ffff:192.0.2.1]:80":      "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:443": "2001:db8:1:2::",
		"[fe80::1%eth0]:1":           "fe80::",
		"@":                          "invalid IP",
		"nonsense":                   "invalid IP",
	} {
		if got := Key(remote).String(); got != want {
			t.Errorf("%s counts as %s, want %s", remote, got, want)
		}
	}
}

func TestConnsOfAnAddress(t *testing.T) {
	c, us, them := NewConns(2), Key("192.0.2.1:1"), Key("192.0.2.2:1")
	for i, want := range []bool{true, true, false} {
		if got := c.Enter(us); got != want {
			t.Errorf("connection %d of an address may come in: %v, want %v", i+1, got, want)
		}
	}
	if !c.Enter(them) {
		t.Error("another address is refused")
	}
	c.Leave(us)
	if !c.Enter(us) {
		t.Error("a place that was given back is not given again")
	}
	c.Leave(us)
	c.Leave(us)
	c.Leave(them)
	if n := c.Len(); n != 0 {
		t.Errorf("%d addresses are remembered without a connection", n)
	}
}

func TestConnsInParallel(t *testing.T) {
	c, us := NewConns(8), Key("192.0.2.1:1")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if !c.Enter(us) {
					t.Error("one of eight is refused")
					return
				}
				c.Leave(us)
			}
		})
	}
	wg.Wait()
	if n := c.Len(); n != 0 {
		t.Errorf("%d addresses are left", n)
	}
}

func TestBudgetsAreOfTheirKeys(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	b := NewBudgets[string](Budget{Rate: 1, Burst: 2}, 10)
	if b.Spent("a", at) || b.Len() != 0 {
		t.Error("asking for a budget makes one")
	}
	for range 2 {
		if !b.Of("a", at).AllowN(at, 1) {
			t.Error("a budget is smaller than its burst")
		}
	}
	if !b.Spent("a", at) || b.Of("a", at).AllowN(at, 1) {
		t.Error("a budget has no end")
	}
	if b.Of("b", at).TokensAt(at) != 2 {
		t.Error("another key pays for the first one")
	}
	if b.Spent("a", at.Add(time.Second)) {
		t.Error("a budget does not fill again")
	}
}

// TestBudgetsAreBounded: with all places taken a new key has none, until others are
// whole again; and the places are not walked through for each one who asks.
func TestBudgetsAreBounded(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	b := NewBudgets[int](Budget{Rate: 10, Burst: 1}, 3)
	for k := range 3 {
		b.Of(k, at).AllowN(at, 1)
	}
	if b.Of(3, at) != nil || b.Len() != 3 {
		t.Error("there are more places than were asked for")
	}
	soon := at.Add(sweepEvery - 1) // all are whole by now
	if b.Of(3, soon) != nil {
		t.Error("the places are looked through again at once")
	}
	b.Of(0, soon).AllowN(soon, 1)
	later := at.Add(sweepEvery)
	if b.Of(3, later) == nil {
		t.Error("a place whose budget is whole is not given again")
	}
	if b.Len() != 2 || b.Of(0, later).TokensAt(later) >= 1 {
		t.Error("a budget that is in use lost its place")
	}
}
