package faultrig

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/faultrig/fleet"
	"tandem/faultrig/plant"
	"tandem/ledger"
	"tandem/ownership"
	"tandem/ownership/history"
)

// Lines of the product's log and of its refusal.
var (
	tablesDiffer = regexp.MustCompile(`its table differs from `)
	formatTooNew = fmt.Sprintf("this software reads up to %d; upgrade it", ownership.FormatRollouts-1)
)

func formatRaised(to uint32) *regexp.Regexp {
	return regexp.MustCompile(fmt.Sprintf(`the region writes a newer command format.* to=%d\n`, to))
}

// mixedVersions upgrades a region of older nodes one by one under calls, by one format and by
// another. The region writes the newer format when the last node reads it, and not before, and what
// begins with it begins then; all tables are the same throughout. An older node is then refused by its
// own data, in words, and loses nothing.
func mixedVersions(ctx context.Context, s *Stage) error {
	defer func() {
		if s.logged(tablesDiffer) {
			s.Break("I7: under mixed versions two nodes had different tables at one entry of the log")
		}
	}()
	fleet.Pause(ctx, 2*time.Second)
	formats := append(plant.OlderFormats(), ownership.FormatRollouts)
	for i, program := range append(s.Older[1:], s.Binary) {
		if err := s.upgrade(ctx, program, formats[i], formats[i+1]); err != nil {
			return err
		}
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
	back.Binary = s.Older[len(s.Older)-1]
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

// upgrade takes all nodes from a program of one format to one of another.
func (s *Stage) upgrade(ctx context.Context, program string, from, to uint32) error {
	for i, n := range s.Nodes {
		if s.logged(formatRaised(to)) {
			s.Break("command format %d was written while %d of %d nodes could not read it", to, len(s.Nodes)-i, len(s.Nodes))
		}
		n.Binary = program
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
			if err := s.nothingNew(ctx, n, from); err != nil {
				return err
			}
		}
	}
	if !fleet.Until(ctx, fleet.HealWithin, 100*time.Millisecond, func() bool { return s.logged(formatRaised(to)) }) {
		s.Break("every node reads command format %d, and it is not written", to)
	}
	if to >= ownership.FormatRollouts {
		return s.rolloutsBegin(ctx)
	}
	return s.ledgerBegins(ctx)
}

// newVersion is a rule for a version of a bot that nobody runs.
var newVersion = api.RolloutAsk{RolloutOf: api.RolloutOf{App: fleet.CallsApp, Version: "2.5.0"}, Percent: 1}

// rolloutsBegin: every node reads rules for versions of bots, and each has the same ones.
func (s *Stage) rolloutsBegin(ctx context.Context) error {
	if err := fleet.Insist(ctx, func() error { return s.Nodes[0].API.Rollouts().Set(ctx, newVersion) }); err != nil {
		return err
	}
	for _, n := range s.Nodes {
		if !fleet.Until(ctx, fleet.HealWithin, 100*time.Millisecond, func() bool { return s.ruled(ctx, n) }) {
			s.Break("every node reads rules for versions of bots, and %s knows none", n.ID)
		}
	}
	return nil
}

func (s *Stage) ruled(ctx context.Context, n *fleet.Node) bool {
	list, err := n.API.Rollouts().List(ctx)
	return err == nil && slices.ContainsFunc(list, func(v api.BotVersion) bool { return v.Rule != nil })
}

// silentWithin is when a node that was killed is silent for its region, and its partitions are with others.
const silentWithin = 5 * time.Second

// keptFor is how long the scenario wants the ledger kept.
var keptFor = ownership.Keep{Days: 30, EndedDays: 30}

// nothingNew: while one node reads an older format only, nobody writes what it does not
// know: no rule for a version of a bot, no entry of the ledger, no event of a kind that it does not tell.
func (s *Stage) nothingNew(ctx context.Context, n *fleet.Node, format uint32) error {
	if err := n.API.Rollouts().Set(ctx, newVersion); err == nil || !strings.Contains(err.Error(), "upgrade all of them first") {
		s.Break("with an older node in the region, a rule for a version of a bot: %v", err)
	}
	if s.ruled(ctx, n) {
		s.Break("with an older node in the region %s has a rule for a version of a bot", n.ID)
	}
	if format >= ownership.FormatLedger {
		return nil
	}
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
