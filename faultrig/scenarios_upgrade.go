package faultrig

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// older is this software as it was one command format ago: it neither reads nor
// writes the newest one.
func older() Plant {
	return Plant{Name: "older", What: "knows command format 1 only", Edits: []Edit{{
		File: "store/record/command.go",
		Old:  "const CommandFormat uint32 = ownership.FormatTokens\n",
		New:  "const CommandFormat uint32 = ownership.FormatTokens - 1\n",
	}}}
}

// Lines of the product's log and of its refusal.
const (
	formatRaised = "the region writes a newer command format"
	formatTooNew = "this software reads up to 1; upgrade it"
)

// mixedVersions upgrades a region of older nodes one by one under calls. The
// region writes the newer format when the last one reads it, and not before; an
// older node is then refused by its own data, in words, and loses nothing.
func mixedVersions(ctx context.Context, s *Stage) error {
	pause(ctx, 2*time.Second)
	for i, n := range s.Nodes {
		if s.logged(formatRaised) {
			s.Break("the newer command format was written while %d of %d nodes could not read it", len(s.Nodes)-i, len(s.Nodes))
		}
		n.binary = s.Binary
		if err := s.restart(ctx, n); err != nil {
			return err
		}
		pause(ctx, time.Second) // calls under mixed versions
	}
	if !until(ctx, healWithin, 100*time.Millisecond, func() bool { return s.logged(formatRaised) }) {
		s.Break("every node reads the newer command format, and it is not written")
	}
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	back := s.Others(leader)[0]
	if err := back.Stop(15 * time.Second); err != nil {
		s.Break("%v", err)
	}
	ends := len(back.Exits())
	back.binary = s.older
	if err := back.Start(); err != nil {
		return err
	}
	if !until(ctx, healWithin, 100*time.Millisecond, func() bool { return len(back.Exits()) > ends }) {
		s.Break("an older node runs on data of the newer format")
	}
	if said := tail(back.LogFile); !strings.Contains(said, formatTooNew) {
		s.Break("an older node met data of the newer format and did not say so: %s", said)
	}
	back.Kill()
	back.binary = s.Binary
	return s.bringBack(ctx, back)
}

// logged reports whether any node has written a line with these words.
func (s *Stage) logged(words string) bool {
	for _, n := range s.Nodes {
		if text, err := os.ReadFile(n.LogFile); err == nil && strings.Contains(string(text), words) {
			return true
		}
	}
	return false
}

// buildOlder makes the program that the nodes of the fleet begin with.
func (f *Fleet) buildOlder() error {
	plant := older()
	var err error
	if f.older, err = Build(f.ctx, f.Dir, &plant); err != nil {
		return fmt.Errorf("building the older program: %w", err)
	}
	return nil
}
