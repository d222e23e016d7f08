package faultrig

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/faultrig/fleet"
	"tandem/ledger"
	"tandem/ownership"
	"tandem/ownership/history"
)

// Lines of the product's log and of its refusal, see plant.Older.
var (
	formatRaised = regexp.MustCompile(fmt.Sprintf(`the region writes a newer command format.* to=%d\n`, ownership.FormatRollouts))
	formatTooNew = fmt.Sprintf("this software reads up to %d; upgrade it", ownership.FormatRollouts-1) // see plant.Older
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
		if i == 0 { // the newer one is killed, and the older ones take its partitions over
			n.Kill()
			fleet.Pause(ctx, silentWithin)
			if err := s.bringBack(ctx, n); err != nil {
				return err
			}
		}
		fleet.Pause(ctx, time.Second) // calls under mixed versions
		if i < len(s.Nodes)-1 {
			if err := s.nothingNew(ctx, n); err != nil {
				return err
			}
		}
	}
	if !fleet.Until(ctx, fleet.HealWithin, 100*time.Millisecond, func() bool { return s.logged(formatRaised) }) {
		s.Break("every node reads the newer command format, and it is not written")
	}
	if err := s.ledgerBegins(ctx); err != nil {
		return err
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

// silentWithin is when a node that was killed is silent for its region, and its partitions are with others.
const silentWithin = 5 * time.Second

// keptFor is how long the scenario wants the ledger kept.
var keptFor = ownership.Keep{Days: 30, EndedDays: 30}

// nothingNew: while one node reads the older format only, nobody writes what it does not
// know: no entry of the ledger, no event of a kind that it does not tell.
func (s *Stage) nothingNew(ctx context.Context, n *fleet.Node) error {
	if err := n.API.SetLedgerKeep(ctx, keptFor); err == nil || !strings.Contains(err.Error(), "409") {
		s.Break("with an older node in the region, how long the ledger is kept: %v", err)
	}
	var head api.LedgerHead
	if err := fleet.Insist(ctx, func() (err error) { head, err = n.API.LedgerHead(ctx); return err }); err != nil {
		return err
	}
	if head.Size > 0 || head.Keep != (ownership.Keep{}) {
		s.Break("with an older node in the region the ledger of %s has %d entries, kept for %+v", n.ID, head.Size, head.Keep)
	}
	moved := 0
	if err := n.API.Events(ctx, 0, false, func(e history.Event) error {
		switch e.Kind {
		case history.Silent:
			s.Break("an event that an older node does not know was written: %+v", e)
		case history.Moved:
			moved++
		}
		return nil
	}); err != nil {
		return err
	}
	if moved == 0 {
		s.Break("no partition has moved, so nothing is shown")
	}
	return nil
}

// ledgerBegins: every node reads the newer format, and what happens from now on is entered.
func (s *Stage) ledgerBegins(ctx context.Context) error {
	if err := fleet.Insist(ctx, func() error { return s.Nodes[0].API.SetLedgerKeep(ctx, keptFor) }); err != nil {
		return err
	}
	kinds := map[ledger.Kind]int{}
	begun := fleet.Until(ctx, fleet.HealWithin, 200*time.Millisecond, func() bool {
		clear(kinds)
		page, err := s.Nodes[len(s.Nodes)-1].API.Ledger(ctx, ledger.Filter{}, 0, 1000, false)
		for _, e := range page.Items {
			kinds[e.Kind]++
		}
		return err == nil && kinds[ledger.Ended] > 0 && kinds[ledger.Change] > 0
	})
	if !begun {
		s.Break("every node reads the newer command format, and the ledger has %v", kinds)
	}
	s.Note("the ledger began: %v", kinds)
	return nil
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
