package token

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// judged counts the tokens by verdict whose key nobody knows: 401 or 503, but never
// accepted.
type judged map[Code]map[string]bool

func (n judged) by(t *testing.T, v *Verifier, raw string) {
	t.Helper()
	_, err := verify(v, raw)
	code := codeOf(t, err)
	if code != CodeUnknownKey && code != CodeKeysInDoubt {
		t.Fatalf("the verdict on an unknown key is %q", code)
	}
	if n[code] == nil {
		n[code] = map[string]bool{}
	}
	n[code][raw] = true
}

// TestF40_B24_UnknownKeyFlood keeps a flood of unknown keys up for five
// minutes, with good traffic between.
func TestF40_B24_UnknownKeyFlood(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		before, began, all := c.fetched(), time.Now(), judged{}
		junk := make([]string, 100)
		for minute := range 5 {
			for i := range junk {
				h := fmt.Appendf(nil, `{"alg":"RS256","kid":"junk-%d-%d"}`, minute, i)
				junk[i] = b64(h) + "." + b64([]byte(jsonText(realClaims(time.Now())))) + ".AAAA"
			}
			a := tokenA()
			for range 10 {
				for _, raw := range junk {
					all.by(t, v, raw)
				}
				want(t, v, a, good)
				pass(6 * time.Second)
			}
		}
		minutes := int(time.Since(began) / time.Minute)
		if n := c.fetched() - before; n < 1 || n > minutes+1 {
			t.Errorf("%d minutes of flood caused %d fetches, wanted one a minute at most", minutes, n)
		}
		// Only of the one that has made the set be fetched it is known that there is no
		// such key: the others come again within the minute.
		if n := len(all[CodeUnknownKey]); n < 1 || n > minutes+1 {
			t.Errorf("%d unknown keys are refused for good, wanted one for each fetch at most", n)
		}
	})
}

// TestF40_B24_FloodOnAnInjectedClock does the same by Config.Now alone, while
// the timers of the machine stand still: 10,000 ids, one instant, one fetch.
func TestF40_B24_FloodOnAnInjectedClock(t *testing.T) {
	k := newClock()
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	cfg := c.config()
	cfg.Now = k.Now
	v := ready(t, start(t, cfg))
	before, all := c.fetched(), judged{}
	for i := range 10_000 {
		h := b64(fmt.Appendf(nil, `{"alg":"RS256","kid":"junk-%d"}`, i))
		all.by(t, v, h+"."+b64([]byte(jsonText(realClaims(k.Now()))))+".AAAA")
	}
	if n := len(all[CodeUnknownKey]); n != 1 {
		t.Errorf("%d unknown keys are refused for good, wanted the one that was looked for", n)
	}
	if n := c.fetched() - before; n != 1 {
		t.Errorf("10,000 unknown keys at one instant caused %d fetches, wanted 1", n)
	}
	want(t, v, goodToken(k.Now(), "a", keyA(), 0), good)
}

// TestF40_JunkDoesNotHideARotation uses the minute up with junk, then rotates: no
// token of the new key is refused for good, and the key is there when the minute
// is over, without a further token.
func TestF40_JunkDoesNotHideARotation(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		want(t, v, goodToken(time.Now(), "junk", keyC(), 0), CodeUnknownKey)
		c.publish(jwk("a", keyA()), jwk("b", keyB()))
		before := c.fetched()
		for range 59 {
			pass(time.Second)
			want(t, v, tokenB(), CodeKeysInDoubt) // the calling service repeats
		}
		pass(time.Second)
		if n := v.Status()[0].Keys; n != 2 {
			t.Errorf("after the minute there are %d keys, wanted 2", n)
		}
		want(t, v, tokenB(), good)
		if n := c.fetched() - before; n != 1 {
			t.Errorf("learning the key took %d fetches, wanted 1", n)
		}
	})
}

// TestF40_AFetchUnderWayDoesNotHideARotation rotates while a fetch that junk has
// caused is reading the set of before: what it does not bring may still exist.
func TestF40_AFetchUnderWayDoesNotHideARotation(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		c.answers(slow(500 * time.Millisecond)) // metadata and keys: one second
		var junk sync.WaitGroup
		junk.Go(func() { want(t, v, goodToken(time.Now(), "junk", keyC(), 0), CodeUnknownKey) })
		pass(700 * time.Millisecond)
		c.publish(jwk("a", keyA()), jwk("b", keyB()))
		want(t, v, tokenB(), CodeKeysInDoubt)
		junk.Wait()
		pass(askEvery)
		want(t, v, tokenB(), good)
	})
}

// TestJunkIsRefusedForGood once the set was fetched after it was first
// asked for; while none may be, it is in doubt.
func TestJunkIsRefusedForGood(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		n := 0
		junk := func(id string) string { n++; return goodToken(time.Now(), id, keyC(), n) }
		want(t, v, junk("junk"), CodeUnknownKey)
		before := c.fetched()
		want(t, v, junk("other"), CodeKeysInDoubt)
		for range 30 {
			pass(time.Second)
			want(t, v, junk("junk"), CodeUnknownKey)
			want(t, v, junk("other"), CodeKeysInDoubt)
		}
		pass(askEvery)
		for range 30 {
			pass(time.Second)
			want(t, v, junk("junk"), CodeUnknownKey)
			want(t, v, junk("other"), CodeUnknownKey)
		}
		if n := c.fetched() - before; n > 2 {
			t.Errorf("two minutes of junk caused %d fetches, wanted one a minute at most", n)
		}
	})
}

// TestD9_AnAbsentKeyThatComesIsTaken: being refused makes nobody's key absent for
// longer than the minute in which no fetch may begin.
func TestD9_AnAbsentKeyThatComesIsTaken(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		want(t, v, tokenB(), CodeUnknownKey)
		c.publish(jwk("a", keyA()), jwk("b", keyB()))
		want(t, v, tokenB(), CodeUnknownKey)
		pass(askEvery)
		want(t, v, tokenB(), good)
	})
}

// TestD9_AFetchThatFailsSettlesNothing.
func TestD9_AFetchThatFailsSettlesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		c.answers(down)
		want(t, v, tokenB(), CodeKeysInDoubt)
		pass(2 * askEvery)
		want(t, v, tokenB(), CodeKeysInDoubt)
	})
}

// TestD9_WhatIsAbsentIsRememberedInBounds.
func TestD9_WhatIsAbsentIsRememberedInBounds(t *testing.T) {
	var a absent
	for gen := range 4 {
		for i := range 2 * maxAbsent {
			a.ask(fmt.Sprint(gen, "-", i))
		}
		a.look()
		a.looked(true)
	}
	kept := len(a.asked) + len(a.sought)
	for _, gen := range a.settled {
		kept += len(gen)
	}
	if kept != 2*maxAbsent {
		t.Errorf("%d ids are remembered, want those of two fetches, %d each", kept, maxAbsent)
	}
}

// TestF40_RotationJustAfterTheStart must not wait for a minute: the first load
// does not count.
func TestF40_RotationJustAfterTheStart(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		c.publish(jwk("b", keyB()))
		want(t, v, tokenB(), good)
	})
}

// TestF40_SingleFlight lets a thousand unknown keys meet a slow endpoint.
func TestF40_SingleFlight(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		c.publish(jwk("a", keyA()), jwk("b", keyB()))
		c.answers(slow(500 * time.Millisecond)) // metadata and keys: one second
		before := c.fetched()
		codes := make([]Code, 1000)
		var all sync.WaitGroup
		for i := range codes {
			all.Go(func() {
				_, err := verify(v, goodToken(time.Now(), "b", keyB(), 0))
				codes[i] = codeOf(t, err)
			})
		}
		all.Wait()
		served, sent := 0, 0
		for _, code := range codes {
			switch code {
			case good:
				served++
			case CodeKeysInDoubt:
				sent++
			default:
				t.Errorf("the verdict is %q", code)
			}
		}
		if served != maxWaiting || sent != len(codes)-maxWaiting {
			t.Errorf("%d were served and %d sent away, wanted %d to wait", served, sent, maxWaiting)
		}
		if n := c.fetched() - before; n != 1 {
			t.Errorf("%d fetches, wanted 1", n)
		}
	})
}
