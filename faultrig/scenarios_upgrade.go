package faultrig

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"tandem/faultrig/fleet"
	"tandem/ownership"
)

// Lines of the product's log and of its refusal, see plant.Older.
var (
	formatRaised = regexp.MustCompile(fmt.Sprintf(`the region writes a newer command format.* to=%d\n`, ownership.FormatLedger))
	formatTooNew = fmt.Sprintf("this software reads up to %d; upgrade it", ownership.FormatLedger-1) // see plant.Older
)

// mixedVersions upgrades a region of older nodes one by one under calls. The
// region writes the newer format when the last one reads it, and not before; an
// older node is then refused by its own data, in words, and loses nothing.
func mixedVersions(ctx context.Context, s *Stage) error {
	fleet.Pause(ctx, 2*time.Second)
	for i, n := range s.Nodes {
		if s.logged(formatRaised) {
			s.Break("the newer command format was written while %d of %d nodes could not read it", len(s.Nodes)-i, len(s.Nodes))
		}
		n.Binary = s.Binary
		if err := s.restart(ctx, n); err != nil {
			return err
		}
		fleet.Pause(ctx, time.Second) // calls under mixed versions
	}
	if !fleet.Until(ctx, fleet.HealWithin, 100*time.Millisecond, func() bool { return s.logged(formatRaised) }) {
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
	back.Binary = s.Older
	if err := back.Start(); err != nil {
		return err
	}
	if !fleet.Until(ctx, fleet.HealWithin, 100*time.Millisecond, func() bool { return len(back.Exits()) > ends }) {
		s.Break("an older node runs on data of the newer format")
	}
	if said := tail(back.LogFile); !strings.Contains(said, formatTooNew) {
		s.Break("an older node met data of the newer format and did not say so: %s", said)
	}
	back.Kill()
	back.Binary = s.Binary
	return s.bringBack(ctx, back)
}

// logged reports whether any node has written a line like that.
func (s *Stage) logged(line *regexp.Regexp) bool {
	for _, n := range s.Nodes {
		if text, err := os.ReadFile(n.LogFile); err == nil && line.Match(text) {
			return true
		}
	}
	return false
}
