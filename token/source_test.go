package token

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs a test in a synctest bubble, where time.Now and all timers belong
// to the test, with a cloud that needs no network and a Verifier that has loaded
// key "a".
func bubble(t *testing.T, f func(t *testing.T, c *cloud, v *Verifier)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{keys: []obj{jwk("a", keyA())}}
		v := start(t, c.config())
		synctest.Wait()
		f(t, c, v)
	})
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func tokenA() string { return goodToken(time.Now(), "a", keyA(), 0) }
func tokenB() string { return goodToken(time.Now(), "b", keyB(), 0) }

func TestF38_NeverLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{keys: []obj{jwk("a", keyA())}}
		c.answers(down)
		v := start(t, c.config())
		synctest.Wait()
		want(t, v, tokenA(), CodeKeysNotLoaded)
		want(t, v, "junk", CodeNotThreeParts)
		if err := v.Ready(); err == nil {
			t.Error("Ready gives nil although no keys were ever loaded")
		}
		pass(10 * time.Minute)
		want(t, v, tokenA(), CodeKeysNotLoaded)
		c.answers(nil)
		pass(firstBackoffTo * 12 / 10)
		want(t, v, tokenA(), good)
		if err := v.Ready(); err != nil {
			t.Errorf("Ready gives %v after the keys were loaded", err)
		}
	})
}

// TestF38_NeverLoadedIsAskedFor: a node that started before its keys could be had
// does not make the first call wait for the end of its back-off, and no flood
// makes it fetch more than once a second.
func TestF38_NeverLoadedIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{keys: []obj{jwk("a", keyA())}}
		var fetches atomic.Int64
		c.answers(func(w http.ResponseWriter, r *http.Request) bool {
			fetches.Add(1)
			return down(w, r)
		})
		v := start(t, c.config())
		pass(10 * time.Minute)
		before := fetches.Load()
		for range 100 { // ten seconds of ten tokens a second
			want(t, v, tokenA(), CodeKeysNotLoaded)
			pass(100 * time.Millisecond)
		}
		if n := fetches.Load() - before; n < 5 || n > 11 {
			t.Errorf("%d fetches in ten seconds of asking, want about ten", n)
		}
		pass(10 * time.Minute)
		c.answers(nil)
		want(t, v, tokenA(), good)
	})
}

// TestF38_Outage24h takes the endpoint away for longer than a day. When it is back,
// so is the next token.
func TestF38_Outage24h(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		loaded := v.Status()[0].LoadedAt
		c.answers(down)
		for time.Since(loaded) < 24*time.Hour {
			want(t, v, tokenA(), good)
			if err := v.Ready(); err != nil {
				t.Fatalf("Ready gives %v after %s of outage", err, time.Since(loaded))
			}
			pass(20 * time.Minute)
		}
		kept := tokenA()
		pass(time.Minute)
		want(t, v, kept, CodeKeysTooOld)
		want(t, v, tokenA(), CodeKeysTooOld)
		want(t, v, tokenB(), CodeKeysTooOld)
		if err := v.Ready(); err == nil {
			t.Error("Ready gives nil although the keys are too old")
		}
		st := v.Status()[0]
		if st.Usable || st.Problem == "" || st.Failures == 0 || st.ServesTo.After(time.Now()) {
			t.Errorf("the status says %+v", st)
		}
		c.answers(nil)
		pass(firstBackoff)
		want(t, v, tokenA(), good)
	})
}

// TestF38_ReadyAgainWithoutTraffic: a node that is not ready gets no token that
// could ask, so it finds its endpoint again by itself.
func TestF38_ReadyAgainWithoutTraffic(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		c.answers(down)
		pass(MaxKeyAge + time.Second)
		if err := v.Ready(); err == nil {
			t.Error("Ready gives nil although the keys are too old")
		}
		pass(30 * time.Second) // the last attempt before may have put the next one off by ten minutes
		c.answers(nil)
		pass(firstBackoffTo * 12 / 10)
		if err := v.Ready(); err != nil {
			t.Errorf("Ready gives %v after the endpoint came back", err)
		}
	})
}

// TestF38_TooOldIsAskedFor: while the keys are too old, tokens make the source
// fetch once a second at most.
func TestF38_TooOldIsAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		var fetches atomic.Int64
		c.answers(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == metaPath {
				fetches.Add(1)
			}
			return down(w, r)
		})
		pass(MaxKeyAge + 10*time.Minute)
		before := fetches.Load()
		for range 100 { // ten seconds of ten tokens a second
			want(t, v, tokenA(), CodeKeysTooOld)
			pass(100 * time.Millisecond)
		}
		if n := fetches.Load() - before; n < 5 || n > 11 {
			t.Errorf("%d fetches in ten seconds of asking, want about ten", n)
		}
		c.publish(jwk("b", keyB()))
		c.answers(nil)
		pass(firstBackoff)
		want(t, v, tokenB(), good)
	})
}

// TestF38_CachedTokenEndsWithItsKeys keeps one token alive past the cap.
func TestF38_CachedTokenEndsWithItsKeys(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		c.answers(down)
		long := mint(realHeader("a"), realClaims(time.Now()).with(obj{"exp": time.Now().Add(24 * time.Hour).Unix()}), keyA())
		want(t, v, long, good)
		pass(24 * time.Hour)
		want(t, v, long, good)
		pass(time.Second)
		want(t, v, long, CodeKeysTooOld)
	})
}

// TestF38_BackOff counts the attempts of a day of outage.
func TestF38_BackOff(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, _ *Verifier) {
		c.answers(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == keysPath {
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}
			return false
		})
		before := c.fetched()
		pass(24 * time.Hour)
		if n := c.fetched() - before; n < 100 || n > 160 {
			t.Errorf("a day of outage saw %d attempts, wanted one in about ten minutes", n)
		}
	})
}

// TestF38_Slow has an endpoint that answers after 30 s: known keys do not wait,
// an unknown one waits for two seconds, and nobody holds a place for longer.
func TestF38_Slow(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		c.answers(slow(30 * time.Second))
		began := time.Now()
		var both sync.WaitGroup
		both.Go(func() { want(t, v, tokenB(), CodeKeysInDoubt) })
		both.Go(func() {
			want(t, v, tokenA(), good)
			if d := time.Since(began); d != 0 {
				t.Errorf("a known key waited %s for the fetch", d)
			}
		})
		both.Wait()
		if d := time.Since(began); d != askWait {
			t.Errorf("an unknown key waited %s, wanted %s", d, askWait)
		}
		pass(2 * fetchTimeout) // metadata, then the keys at the known address
		if st := v.Status()[0]; st.Problem == "" {
			t.Error("a fetch of 30 s counts as a success")
		}
	})
}

// TestF38_MetadataDown loses the metadata only: the known jwks_uri serves on.
func TestF38_MetadataDown(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		c.answers(func(w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == metaPath && down(w, r)
		})
		c.publish(jwk("b", keyB()))
		pass(refreshEvery * 12 / 10)
		want(t, v, tokenB(), good)
	})
}

func TestF39_RotationWithOverlap(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		c.publish(jwk("a", keyA()), jwk("b", keyB()))
		before := c.fetched()
		want(t, v, tokenB(), good) // the first token with the new key brings it
		want(t, v, tokenA(), good)
		want(t, v, tokenB(), good)
		if n := c.fetched() - before; n != 1 {
			t.Errorf("the rotation took %d fetches, wanted 1", n)
		}
	})
}

func TestF39_SuddenRotation(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		old := tokenA()
		want(t, v, old, good)
		c.publish(jwk("b", keyB()))
		want(t, v, tokenB(), good)
		want(t, v, old, CodeKeysInDoubt) // although it was in the cache
		if n := v.cache.size(); n != 1 {
			t.Errorf("the cache holds %d verdicts, wanted the one of key b", n)
		}
		pass(askEvery)
		pass(askEvery)
		want(t, v, tokenA(), CodeUnknownKey)
	})
}

func TestF39_WithdrawnKeyIsRefusedAfterTheInterval(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		c.publish(jwk("a", keyA()), jwk("b", keyB()))
		pass(refreshEvery * 12 / 10)
		want(t, v, tokenB(), good)
		c.publish(jwk("a", keyA()))
		pass(refreshEvery * 12 / 10)
		want(t, v, tokenB(), CodeUnknownKey)
		want(t, v, tokenA(), good)
	})
}

// TestF39_KeyIDUsedAgain puts another key behind a known id.
func TestF39_KeyIDUsedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		old := tokenA()
		want(t, v, old, good)
		c.publish(jwk("a", keyC()))
		again := goodToken(time.Now(), "a", keyC(), 0)
		want(t, v, again, CodeBadSignature) // makes the source look
		synctest.Wait()
		want(t, v, again, good)
		want(t, v, old, CodeBadSignature)
	})
}

// TestF39_OneIDTwoKeys has a set that lists two keys under one id.
func TestF39_OneIDTwoKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{keys: []obj{jwk("a", keyA()), jwk("a", keyB())}}
		v := start(t, c.config())
		synctest.Wait()
		want(t, v, tokenA(), good)
		want(t, v, goodToken(time.Now(), "a", keyB(), 0), good)
		want(t, v, goodToken(time.Now(), "a", keyC(), 0), CodeBadSignature)
	})
}

// TestF38_UnknownKeyDuringAnOutage is refused with 503: the key may be new.
func TestF38_UnknownKeyDuringAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		c.answers(down)
		want(t, v, tokenB(), CodeKeysInDoubt)
		want(t, v, tokenB(), CodeKeysInDoubt)
		want(t, v, tokenA(), good)
		c.publish(jwk("a", keyA()), jwk("b", keyB()))
		c.answers(nil)
		pass(askEvery * 12 / 10)
		want(t, v, tokenB(), good)
	})
}

// TestCloseFreesWaiters closes in the middle of a fetch.
func TestCloseFreesWaiters(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		ended := false
		c.answers(func(_ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			time.Sleep(time.Second) // an endpoint that lets go slowly
			ended = true
			return false
		})
		began := time.Now()
		var waiter sync.WaitGroup
		waiter.Go(func() { want(t, v, tokenB(), CodeKeysInDoubt) })
		synctest.Wait()
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		if !ended {
			t.Error("Close came back before the fetch had ended")
		}
		waiter.Wait()
		want(t, v, tokenB(), CodeKeysInDoubt)
		want(t, v, tokenA(), good)
		if d := time.Since(began); d != time.Second {
			t.Errorf("the waiter was let go after %s, wanted the end of the fetch", d)
		}
	})
}

// TestNudge moves only the injected clock by two hours: the next token makes
// the source notice, as after a machine was suspended.
func TestNudge(t *testing.T) {
	k := newClock()
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	cfg := c.config()
	cfg.Now = k.Now
	v := ready(t, start(t, cfg))
	c.publish(jwk("b", keyB()))
	again(t, v, k)
	want(t, v, goodToken(k.Now(), "b", keyB(), 0), good)
}

// TestContextOfNew ends right after New: fetching goes on until Close.
func TestContextOfNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{keys: []obj{jwk("a", keyA())}}
		ctx, cancel := context.WithCancel(context.Background())
		v, err := New(ctx, c.config(), []App{{ID: ourApp, Profile: "public"}})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		cancel()
		synctest.Wait()
		want(t, v, tokenA(), good)
	})
}

// TestCloseIsQuiet closes during a fetch: that is no failure to tell anyone.
func TestCloseIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log := &cloud{}, &locked{}
		c.answers(slow(time.Hour))
		cfg := c.config()
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		v := start(t, cfg)
		synctest.Wait()
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		if log.String() != "" {
			t.Errorf("Close logs %q", log.String())
		}
	})
}

// TestUnknownKeyMindsTheContext lets the caller go away while it waits.
func TestUnknownKeyMindsTheContext(t *testing.T) {
	bubble(t, func(t *testing.T, c *cloud, v *Verifier) {
		c.answers(slow(time.Hour))
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		_, err := v.Verify(ctx, http.Header{"Authorization": {"Bearer " + tokenB()}})
		if d := time.Since(began); codeOf(t, err) != CodeKeysInDoubt || d != 300*time.Millisecond {
			t.Errorf("after %s the answer is %v, wanted doubt after 300 ms", d, err)
		}
	})
}
