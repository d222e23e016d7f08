package token

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"tandem/spelling"
)

// When a source fetches.
const (
	refreshEvery   = time.Hour        // calling samples: 2 h
	askEvery       = time.Minute      // at most, for unknown keys
	firstBackoff   = time.Second      // while no set serves: none has ever arrived, or it is too old
	firstBackoffTo = time.Minute      //
	laterBackoff   = time.Minute      // while an old set serves
	laterBackoffTo = 10 * time.Minute //
	never          = math.MaxInt64
)

// source keeps the key set of one metadata URL. One goroutine (run) does all
// fetching, so there is never more than one fetch in flight; everybody else
// reads set, or asks.
type source struct {
	url     string
	address *url.URL
	fetch   *fetcher
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics

	set     atomic.Pointer[keySet] // nil until the first set has arrived
	failing atomic.Bool            // the last fetch failed
	dueNano atomic.Int64           // next as Unix nanoseconds, for nudge; never while fetching
	kick    chan struct{}          // wakes run; holds one
	changed func()                 // called when a key has left the set
	tried   func()                 // called after every fetch

	mu       sync.Mutex
	next     time.Time     // when the next fetch is due
	notFrom  time.Time     // asking before this time does not fetch
	round    chan struct{} // closed when the fetch in flight, or promised, has ended
	begun    bool          // the fetch of round is in flight
	stopped  bool          // run has ended
	absent   absent        // key ids that were looked for in vain
	failures int           // in a row
	toldAt   time.Time     // when the log last said so
	problem  string        // text of the last failure
	keysURL  *url.URL      // jwks_uri as last read; only run touches it
}

// newSource makes a source that is due at once.
func newSource(raw string, f *fetcher, c Config, m *metrics) (*source, error) {
	u, err := spelling.URL(raw)
	if err != nil {
		return nil, err
	}
	s := &source{
		url: raw, address: u, fetch: f, now: c.Now, log: c.Logger.With("url", raw), metrics: m,
		kick: make(chan struct{}, 1), next: c.Now(),
	}
	s.dueNano.Store(never)
	m.expect(raw)
	return s, nil
}

// run fetches whenever a fetch is due, until ctx ends.
func (s *source) run(ctx context.Context) {
	defer s.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.kick:
		}
		if s.begin() {
			err := s.refresh(ctx)
			if ctx.Err() != nil {
				return
			}
			s.finish(err)
			s.tried()
		}
		// A kick that came meanwhile may have moved the time; begin looks again.
		timer.Reset(s.untilNext())
	}
}

// begin tells whether a fetch is due now, and if so marks it as in flight.
func (s *source) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.round == nil && now.Before(s.next) {
		return false
	}
	if s.round == nil {
		s.round = make(chan struct{})
	}
	s.begun = true
	s.absent.look()
	if s.serves(now) {
		// The first set and its retries do not use up the minute: a rotation
		// just after a start must be noticed at once.
		s.notFrom = now.Add(askEvery)
	}
	s.dueNano.Store(never)
	return true
}

// refresh reads metadata and keys and puts the new set in place. Metadata that
// cannot be read is no reason to stop while an earlier jwks_uri is known.
func (s *source) refresh(ctx context.Context) error {
	keysURL, err := s.fetch.discover(ctx, s.address)
	switch {
	case err == nil:
		s.keysURL = keysURL
	case s.keysURL == nil || ctx.Err() != nil:
		return err
	default:
		s.log.WarnContext(ctx, "metadata cannot be read, the key address known from before is used", "err", err)
	}
	body, err := s.fetch.get(ctx, s.keysURL)
	if err != nil {
		return err
	}
	before := s.set.Load()
	set, err := readKeySet(body, s, before, s.now())
	if err != nil {
		return err
	}
	s.set.Store(set)
	s.announce(ctx, before, set)
	return nil
}

func (s *source) announce(ctx context.Context, before, set *keySet) {
	added, removed := set.count, 0
	if before != nil {
		added, removed = missing(set, before), missing(before, set)
	}
	if removed > 0 {
		s.changed()
	}
	if added > 0 || removed > 0 {
		s.log.InfoContext(ctx, "key set changed", "keys", set.count, "added", added, "removed", removed)
	}
	if before == nil && len(set.why) > 0 || before != nil && !maps.Equal(before.why, set.why) {
		s.log.WarnContext(ctx, "keys of the key set are ignored", "reasons", set.why)
	}
	s.metrics.keySet(s.url, set)
}

func missing(a, b *keySet) int {
	n := 0
	for _, list := range a.keys {
		for _, k := range list {
			if !b.has(k) {
				n++
			}
		}
	}
	return n
}

// finish books the end of a fetch and says when the next one is due.
func (s *source) finish(err error) {
	s.metrics.fetched(s.url, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := refreshEvery
	if err == nil {
		if s.failures > 0 {
			s.log.Info("keys are fetched again", "failures", s.failures)
		}
		s.failures, s.problem = 0, ""
	} else {
		s.failures++
		s.problem = err.Error()
		now := s.now()
		serving := s.serves(now)
		wait = backoff(s.failures, serving)
		if serving {
			tooOld := s.set.Load().at.Add(MaxKeyAge + time.Second)
			wait = min(wait, tooOld.Sub(now)) // from then on it is urgent
		} else {
			s.notFrom = now.Add(firstBackoff)
		}
		s.tell(err, wait, now)
	}
	s.failing.Store(err != nil)
	s.absent.looked(err == nil)
	// Up to a tenth more, so that nodes started together do not fetch together.
	s.setNext(s.now().Add(wait + rand.N(wait/10)))
	close(s.round)
	s.round, s.begun = nil, false
}

// reminder is how often a failure that goes on is told again: where notifications wait for
// keys, a fetch is tried each second.
const reminder = time.Minute

// tell says that keys cannot be fetched when that begins, and then once in a while; the
// caller holds mu.
func (s *source) tell(err error, wait time.Duration, now time.Time) {
	level := slog.LevelDebug
	if s.failures == 1 || now.Sub(s.toldAt) >= reminder {
		level, s.toldAt = slog.LevelWarn, now
	}
	s.log.Log(context.Background(), level, "keys cannot be fetched", "err", err, "failures", s.failures, "next_attempt_in", wait)
}

// serves tells whether there is a set that is not too old.
func (s *source) serves(now time.Time) bool {
	set := s.set.Load()
	return set != nil && set.fresh(now)
}

// backoff returns the pause after n failures in a row: urgent while no set serves,
// patient while an old one does.
func backoff(n int, serving bool) time.Duration {
	from, to := firstBackoff, firstBackoffTo
	if serving {
		from, to = laterBackoff, laterBackoffTo
	}
	return min(from<<min(n-1, 10), to)
}

// asked is what a source says of a key that its set lacks.
type asked struct {
	// round is closed when the fetch which may bring the key has ended; nil: none
	// may happen now. It then waits for the end of the minute, or of a second where
	// no set serves: a call that rings at a node which started before its keys
	// could be had has 5 s to live.
	round <-chan struct{}
	// settles tells whether that fetch begins after the question, so that a key
	// which it does not bring does not exist; one in flight may have read a set of
	// before.
	settles bool
	// absent says that such a fetch has been, and did not bring the key.
	absent bool
}

// ask says that a token named a key which is not in the set, or that no set
// serves. A key that is known to be absent makes the keys be fetched again like any
// other, so that one which comes late is refused for a minute, not for an hour.
func (s *source) ask(id string) asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := asked{absent: s.absent.ask(id)}
	if s.round != nil || s.stopped {
		a.round, a.settles = s.round, s.round != nil && !s.begun
		return a
	}
	now := s.now()
	if now.Before(s.notFrom) {
		if s.notFrom.Before(s.next) {
			s.setNext(s.notFrom)
			s.wake()
		}
		return a
	}
	s.round = make(chan struct{})
	s.setNext(now)
	s.wake()
	a.round, a.settles = s.round, true
	return a
}

// nudge wakes run when a fetch is due by the clock of the configuration. The
// timer of run does the same for a clock that runs with it; after a pause of
// the whole machine, or with a test's clock, only nudge knows.
func (s *source) nudge(now time.Time) {
	if now.UnixNano() >= s.dueNano.Load() {
		s.wake()
	}
}

// wake makes run look at the time.
func (s *source) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// setNext moves the next fetch; the caller holds mu.
func (s *source) setNext(at time.Time) {
	s.next = at
	s.dueNano.Store(at.UnixNano())
}

func (s *source) untilNext() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.round != nil {
		return 0
	}
	return max(0, s.next.Sub(s.now()))
}

// stop frees those who wait for a fetch that will not happen. From now on an
// unknown key is in doubt: another node may know it.
func (s *source) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.failing.Store(true)
	if s.round != nil {
		close(s.round)
		s.round = nil
	}
}
