package token

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// KeyStatus is the state of one metadata URL, for a verbose readiness page.
type KeyStatus struct {
	Profile  string    `json:"profile"`
	URL      string    `json:"url"`
	Keys     int       `json:"keys"`               // usable keys
	Ignored  int       `json:"ignored"`            // keys that may not verify tokens
	LoadedAt time.Time `json:"loadedAt,omitzero"`  // last successful fetch
	ServesTo time.Time `json:"servesTo,omitzero"`  // when the set becomes too old
	NextAt   time.Time `json:"nextAt"`             // next fetch
	Usable   bool      `json:"usable"`             // there is a set, not too old
	Problem  string    `json:"problem,omitempty"`  // why the last fetch failed
	Failures int       `json:"failures,omitempty"` // failures in a row
}

// Ready returns nil when every profile in use has a key set that is not too old,
// and otherwise an error that names the first profile without.
func (v *Verifier) Ready() error {
	now := v.now()
	for _, p := range v.profiles {
		if code := p.usable(now); code != "" {
			return fmt.Errorf("checking the keys of token profile %s: %w", p.Name, refuse(code, p.Name))
		}
	}
	return nil
}

// WaitReady waits until Ready gives nil; when ctx ends or the Verifier is
// closed before, it gives what Ready says then.
func (v *Verifier) WaitReady(ctx context.Context) error {
	for {
		attempt := v.attempts.next() // before Ready, so that no attempt slips between
		err := v.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-attempt:
		case <-v.closed:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// bell wakes everybody who waits for something to happen once more.
type bell struct {
	mu   sync.Mutex
	ring chan struct{}
}

func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ring == nil {
		b.ring = make(chan struct{})
	}
	return b.ring
}

func (b *bell) strike() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ring != nil {
		close(b.ring)
		b.ring = nil
	}
}

// Status returns the state of every metadata URL in use.
func (v *Verifier) Status() []KeyStatus {
	now := v.now()
	var list []KeyStatus
	for _, p := range v.profiles {
		for _, s := range p.sources {
			st := s.status(now)
			st.Profile = p.Name
			list = append(list, st)
		}
	}
	return list
}

// usable returns no code when the profile has at least one key set to judge by.
func (p *profile) usable(now time.Time) Code {
	if _, code := find(p.sources, "", now); code != CodeUnknownKey {
		return code
	}
	return ""
}

func (s *source) status(now time.Time) KeyStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := KeyStatus{URL: s.url, NextAt: s.next, Problem: s.problem, Failures: s.failures}
	if set := s.set.Load(); set != nil {
		st.Keys, st.LoadedAt, st.ServesTo, st.Usable = set.count, set.at, set.at.Add(MaxKeyAge), set.fresh(now)
		for _, n := range set.why {
			st.Ignored += n
		}
	}
	return st
}
