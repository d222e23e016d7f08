package faultrig

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"tandem/faultrig/claims"
	"tandem/faultrig/fleet"
	"tandem/ownership"
)

// probeEvery is how often a recovery is asked for; it is the error of the
// measured times.
const probeEvery = 20 * time.Millisecond

var probes atomic.Uint64

// fresh returns a call id that nobody has used.
func (s *Stage) fresh() ownership.CallID {
	return ownership.CallID(fmt.Sprintf("%016x%016x", s.opt.Seed^uint64(time.Now().UnixNano()), probes.Add(1)))
}

// ClaimsResume measures from the fault to the first new call that any of the
// given nodes places; every probe is a call of its own, posted after the fault.
func (s *Stage) ClaimsResume(ctx context.Context, fault time.Time, limit time.Duration, at ...*fleet.Node) error {
	took, err := s.resume(ctx, fault, at...)
	if err != nil {
		return err
	}
	s.Recovered("claims", took, limit)
	return nil
}

func (s *Stage) resume(ctx context.Context, fault time.Time, at ...*fleet.Node) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 25*time.Second)
	defer cancel()
	first := make(chan time.Time, 1)
	under := make(chan struct{}, 64)
	for i := 0; ; i++ {
		n := at[i%len(at)]
		select {
		case under <- struct{}{}:
			go func() {
				defer func() { <-under }()
				id := s.fresh()
				out, err := s.Load.Claim(n, id)
				if err == nil && out.Said == claims.SaidOwner {
					s.Load.Keep(id, out)
					select {
					case first <- time.Now():
					default:
					}
				}
			}()
		default: // all hang: no use in more
		}
		select {
		case t := <-first:
			return t.Sub(fault), nil
		case <-time.After(probeEvery):
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for claims to resume: not within 25s after the fault")
		}
	}
}
