package acme

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"tandem/ownership"
)

const (
	prefix = "acme/"                // of what certmagic keeps
	locked = "acme-lock/"           // of its locks
	look   = 100 * time.Millisecond // how often the table is looked at by who waits
)

// storage is certmagic's storage in the region's table. Reads are this node's own table's,
// without a question to anybody; who writes waits until that has it.
type storage struct {
	cfg  Config
	end  context.Context // of the node: nothing is tried any longer
	mu   sync.Mutex
	held map[string]*lock // by name
	mark string           // of this process, in its locks: the node's name and what no other process has
}

func newStorage(end context.Context, c Config) *storage {
	return &storage{cfg: c, end: end, held: map[string]*lock{}, mark: c.Node + "\n" + rand.Text()}
}

var _ certmagic.Storage = (*storage)(nil)

// deposit looks for one in this node's table.
func (s *storage) deposit(name string) (ownership.Deposit, bool) {
	all := s.cfg.Table.Deposits()
	i, found := ownership.FindDeposit(all, name)
	if !found {
		return ownership.Deposit{}, false
	}
	return all[i], true
}

// put changes a deposit, and returns once this node's table has it. What the region
// cannot decide now is tried again until ctx ends. The error is ownership.ErrConflict when
// something else is there than was expected.
func (s *storage) put(ctx context.Context, act ownership.SetDeposit) error {
	wanted := ownership.Deposit{Value: act.Value}.Digest()
	if err := s.insist(ctx, func() error {
		err := s.cfg.Do(ctx, act)
		if errors.Is(err, ownership.ErrConflict) && wanted != "" {
			// Of an act that was tried twice the second one finds the first.
			if d, _ := s.deposit(act.Name); d.Digest() == wanted {
				return nil
			}
		}
		return err
	}); err != nil {
		return err
	}
	return s.until(ctx, func() bool {
		d, _ := s.deposit(act.Name)
		return d.Digest() == wanted || act.Expect != ownership.AnyDeposit && d.Digest() != act.Expect
	})
}

// insist tries what the region may not be able to decide now.
func (s *storage) insist(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil || errors.Is(err, ownership.ErrConflict) {
			return err
		}
		if waited := s.wait(ctx, time.Second); waited != nil {
			return err
		}
	}
}

// until waits for something of this node's table.
func (s *storage) until(ctx context.Context, true func() bool) error {
	for !true() {
		if err := s.wait(ctx, look); err != nil {
			return err
		}
	}
	return nil
}

func (s *storage) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.end.Done():
		return s.end.Err()
	}
}

// Store implements certmagic.Storage.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	return s.write(ctx, key, value, "")
}

// write seals a value and deposits it, and tells the history the text.
func (s *storage) write(ctx context.Context, key string, value []byte, text string) error {
	name := prefix + key
	sealed, err := seal(s.cfg.Keys(), name, value)
	if err != nil {
		return fmt.Errorf("depositing %s: %w", key, err)
	}
	return s.put(ctx, ownership.SetDeposit{Name: name, Value: sealed, Expect: ownership.AnyDeposit, Text: text})
}

// challengeWait is how long the token of a challenge is waited for: the authority may ask
// this node a moment before its table has what another one deposited.
const challengeWait = time.Second

// Load implements certmagic.Storage. What no present key opens is not there: it is ordered
// anew.
func (s *storage) Load(ctx context.Context, key string) ([]byte, error) {
	if strings.Contains(key, "/challenge_tokens/") {
		bounded, cancel := context.WithTimeout(ctx, challengeWait)
		defer cancel()
		_ = s.until(bounded, func() bool { return s.Exists(ctx, key) }) // then it is told as what is not there
	}
	d, found := s.deposit(prefix + key)
	if !found {
		return nil, fmt.Errorf("reading %s: %w", key, fs.ErrNotExist)
	}
	value, err := unseal(s.cfg.Keys(), d.Name, d.Value)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w: %w", key, err, fs.ErrNotExist)
	}
	return value, nil
}

// Delete implements certmagic.Storage.
func (s *storage) Delete(ctx context.Context, key string) error {
	return s.remove(ctx, key, "")
}

// remove takes a key and all below it out, and tells the history the text.
func (s *storage) remove(ctx context.Context, key, text string) error {
	for _, d := range s.below(key) {
		if err := s.put(ctx, ownership.SetDeposit{Name: d.Name, Expect: ownership.AnyDeposit, Text: text}); err != nil {
			return fmt.Errorf("taking %s out: %w", key, err)
		}
	}
	return nil
}

// below returns the deposit of a key, and those of the keys below it.
func (s *storage) below(key string) []ownership.Deposit {
	var out []ownership.Deposit
	for _, d := range s.cfg.Table.Deposits() {
		name, ours := strings.CutPrefix(d.Name, prefix)
		if ours && (key == "" || name == key || strings.HasPrefix(name, strings.TrimSuffix(key, "/")+"/")) {
			out = append(out, d)
		}
	}
	return out
}

// Exists implements certmagic.Storage.
func (s *storage) Exists(_ context.Context, key string) bool {
	return slices.ContainsFunc(s.below(key), func(d ownership.Deposit) bool {
		_, err := unseal(s.cfg.Keys(), d.Name, d.Value)
		return err == nil
	})
}

// List implements certmagic.Storage.
func (s *storage) List(_ context.Context, path string, recursive bool) ([]string, error) {
	var keys []string
	path = strings.TrimSuffix(path, "/")
	for _, d := range s.below(path) {
		key := strings.TrimPrefix(d.Name, prefix)
		rest, isBelow := strings.CutPrefix(key, path+"/")
		if path == "" {
			rest, isBelow = key, true
		}
		if !isBelow {
			continue
		}
		if first, _, deeper := strings.Cut(rest, "/"); deeper && !recursive {
			key = strings.TrimSuffix(key, rest) + first
		}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("listing %s: %w", path, fs.ErrNotExist)
	}
	return keys, nil
}

// Stat implements certmagic.Storage.
func (s *storage) Stat(_ context.Context, key string) (certmagic.KeyInfo, error) {
	if d, found := s.deposit(prefix + key); found {
		return certmagic.KeyInfo{Key: key, Modified: d.At, Size: int64(len(d.Value)), IsTerminal: true}, nil
	}
	if len(s.below(key)) > 0 {
		return certmagic.KeyInfo{Key: key}, nil
	}
	return certmagic.KeyInfo{}, fmt.Errorf("looking for %s: %w", key, fs.ErrNotExist)
}

// lock is one that this node holds.
type lock struct {
	value []byte // deposited last; under storage.mu
	end   context.CancelFunc
	done  chan struct{}
}

// Lock implements certmagic.Locker. A lock is a deposit that its holder renews. One that
// stays as it is for Pace.Stale, by the clock of who waits, is taken over: its holder died,
// or cannot reach its region. No clocks are compared. One of an earlier process of this
// node is free at once: a node has one process. Whoever has the lock has all that its
// former holder deposited, for that stands in the log before it.
func (s *storage) Lock(ctx context.Context, name string) error {
	name = locked + name
	var seen []byte
	since := time.Now()
	for {
		d, _ := s.deposit(name)
		if !bytes.Equal(d.Value, seen) {
			seen, since = d.Value, time.Now()
		}
		if len(d.Value) == 0 || s.outlived(name, d) || time.Since(since) > s.cfg.Pace.Stale {
			switch taken, err := s.take(ctx, name, d); {
			case err != nil:
				return fmt.Errorf("taking the lock %s: %w", name, err)
			case taken:
				return nil
			}
		}
		if err := s.wait(ctx, look); err != nil {
			return fmt.Errorf("waiting for the lock %s: %w", name, err)
		}
	}
}

// outlived reports whether a lock is of an earlier process of this node.
func (s *storage) outlived(name string, d ownership.Deposit) bool {
	mark, err := unseal(s.cfg.Keys(), name, d.Value)
	node, _, _ := strings.Cut(string(mark), "\n")
	return err == nil && node == s.cfg.Node && string(mark) != s.mark
}

// take puts this node's mark in the place of what is there.
func (s *storage) take(ctx context.Context, name string, present ownership.Deposit) (bool, error) {
	mark, err := seal(s.cfg.Keys(), name, []byte(s.mark)) // each time other bytes
	if err != nil {
		return false, err
	}
	err = s.put(ctx, ownership.SetDeposit{Name: name, Value: mark, Expect: present.Digest()})
	if errors.Is(err, ownership.ErrConflict) {
		return false, nil // another one was first
	}
	if err != nil {
		return false, err
	}
	if d, _ := s.deposit(name); !bytes.Equal(d.Value, mark) {
		return false, nil
	}
	renewing, end := context.WithCancel(s.end)
	l := &lock{value: mark, end: end, done: make(chan struct{})}
	s.mu.Lock()
	s.held[name] = l
	s.mu.Unlock()
	go s.renew(renewing, name, l)
	return true, nil
}

// renew gives signs of life for as long as a lock is held.
func (s *storage) renew(ctx context.Context, name string, l *lock) {
	defer close(l.done)
	tick := time.NewTicker(s.cfg.Pace.Stale / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		mark, err := seal(s.cfg.Keys(), name, []byte(s.mark))
		if err == nil {
			err = s.put(ctx, ownership.SetDeposit{Name: name, Value: mark, Expect: ownership.Deposit{Value: l.value}.Digest()})
		}
		switch {
		case err == nil:
			s.mu.Lock()
			l.value = mark
			s.mu.Unlock()
		case errors.Is(err, ownership.ErrConflict):
			s.cfg.Logger.Warn("another node took over the order of a certificate", "lock", name)
			return
		}
	}
}

// releaseWithin bounds how long a lock is tried to be given back; then it goes stale.
const releaseWithin = 2 * time.Second

// Unlock implements certmagic.Locker.
func (s *storage) Unlock(ctx context.Context, name string) error {
	name = locked + name
	s.mu.Lock()
	l := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	if l == nil {
		return nil // given back by release
	}
	l.end()
	<-l.done
	ctx, cancel := context.WithTimeout(ctx, releaseWithin)
	defer cancel()
	err := s.cfg.Do(ctx, ownership.SetDeposit{Name: name, Expect: ownership.Deposit{Value: l.value}.Digest()})
	if errors.Is(err, ownership.ErrConflict) {
		return nil // another node took it over
	}
	return err
}

// release gives back what this node holds.
func (s *storage) release() {
	s.mu.Lock()
	var names []string
	for name := range s.held {
		names = append(names, strings.TrimPrefix(name, locked))
	}
	s.mu.Unlock()
	for _, name := range names {
		if err := s.Unlock(context.Background(), name); err != nil {
			s.cfg.Logger.Warn("a lock is not given back; another node takes it over once it is stale", "lock", name, "err", err)
		}
	}
}
