package store

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"tandem/ownership"
	"tandem/store/record"
	"tandem/store/snapfile"
	"tandem/store/tablepb"
)

// Today is what a region keeps of its table when a snapshot takes its place.
type Today struct {
	// Tokens of the admin doors, in place of the snapshot's: among those may be some that
	// were taken back since. TheirTokens: the snapshot's stay.
	Tokens      []ownership.DoorToken
	TheirTokens bool
	// Ledger, as Table.Ledger gives it; nil: the snapshot's stays. What happened since, who restored it among it, must
	// not be forgotten by restoring.
	Ledger *Ledger
	// Rules, as Table.Rules gives them. They stand in place of the snapshot's unless its
	// newest are newer: a restore is about calls, and must not send them by rules that
	// were replaced since, out of the region where the law wants them.
	Rules []ownership.Rules
	// Deposits, as Table.Deposits gives them; none: the snapshot's stay. A certificate of
	// before may be over or revoked.
	Deposits []ownership.Deposit
	// Rollouts, as Table.Rollouts gives them, in place of the snapshot's: what was halted
	// since must not get calls again by a restore.
	Rollouts []ownership.Rollout
}

// With copies a snapshot that Inspect has taken, with what today keeps. A snapshot of a
// command format from before there were tokens gets none.
func (today Today) With(from io.Reader, to io.Writer) (_ SnapshotInfo, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("copying a snapshot with the tokens and rules of today: %w", err)
		}
	}()
	var w *snapfile.Writer
	begin := func(head *tablepb.SnapshotHead) error {
		if today.Ledger != nil && today.Ledger.Size() > 0 { // every node of today reads it
			head.Format = max(head.GetFormat(), ownership.FormatLedger)
		}
		if len(today.Deposits) > 0 {
			head.Format = max(head.GetFormat(), ownership.FormatDeposits)
		}
		if len(today.Rollouts) > 0 {
			head.Format = max(head.GetFormat(), ownership.FormatRollouts)
		}
		w = snapfile.NewWriter(to, head)
		return nil
	}
	var without uint64
	var theirs []ownership.Rules
	info, m, err := readSnapshot(from, begin, func(kind byte, key, value []byte) error {
		switch {
		case kind == record.KindToken && !today.TheirTokens:
			without += record.Sum(record.KindToken, key, value)
			return nil
		case kind == record.KindLedger && today.Ledger != nil:
			without += record.Sum(record.KindLedger, key, value)
			return nil
		case kind == record.KindDeposit && len(today.Deposits) > 0:
			without += record.Sum(record.KindDeposit, key, value)
			return nil
		case kind == record.KindRules:
			v, err := record.ReadRules(key, value)
			theirs = append(theirs, v)
			without += record.Sum(record.KindRules, key, value)
			return err
		}
		return w.Record(kind, key, value)
	})
	if err != nil {
		return SnapshotInfo{}, err
	}
	m.Sum -= without
	put := func(kind byte, key, value []byte) {
		m.Sum += record.Sum(kind, key, value)
		_ = w.Record(kind, key, value) // End tells
	}
	if !today.TheirTokens {
		tokens := slices.Clone(today.Tokens)
		if info.Format < ownership.FormatTokens {
			tokens = nil
		}
		slices.SortFunc(tokens, func(a, b ownership.DoorToken) int { return strings.Compare(a.Name, b.Name) })
		for i := range tokens {
			key, value := record.SealToken(&tokens[i])
			put(record.KindToken, key, value)
		}
		info.DoorTokens, info.Tokens = notesOf(tokens), len(tokens)
	}
	rules := today.newest(theirs)
	for i := range rules {
		key, value := record.SealRules(&rules[i])
		put(record.KindRules, key, value)
	}
	if today.Ledger != nil {
		if err := today.enterLedger(put, m); err != nil {
			return SnapshotInfo{}, err
		}
		info.Ledger, info.Format = today.Ledger.Size(), m.GetFormat()
	}
	for i := range today.Deposits {
		m.Format = max(m.GetFormat(), ownership.FormatDeposits)
		key, value := record.SealDeposit(&today.Deposits[i])
		put(record.KindDeposit, key, value)
	}
	if n := len(today.Deposits); n > 0 {
		info.Deposits, info.Format = n, m.GetFormat()
	}
	if len(today.Rollouts) > 0 {
		m.Rollouts = rolloutsOut(today.Rollouts)
		m.Format = max(m.GetFormat(), ownership.FormatRollouts)
		info.Format = m.GetFormat()
	}
	_ = w.Record(snapfile.KindMeta, metaKey, record.Seal(metaKey, m))
	if info.Bytes, err = w.End(); err != nil {
		return SnapshotInfo{}, err
	}
	info.Hash, info.Rules = fmt.Sprintf("%016x", m.GetSum()), len(rules)
	return info, nil
}

// enterLedger puts the ledger of today in, and how long it is kept.
func (today Today) enterLedger(put func(kind byte, key, value []byte), m *tablepb.Meta) error {
	if keep := today.Ledger.Keep(); keep.Valid() {
		m.KeepDays, m.KeepEndedDays = int64(keep.Days), int64(keep.EndedDays)
	}
	m.Refused = today.Ledger.refused.out()
	if today.Ledger.Size() > 0 {
		m.Format = max(m.GetFormat(), ownership.FormatLedger)
	}
	return today.Ledger.records(func(key, value []byte) error {
		put(record.KindLedger, key, value)
		return nil
	})
}

// newest gives the history whose last version is the newer one.
func (today Today) newest(theirs []ownership.Rules) []ownership.Rules {
	mine := today.Rules
	if len(mine) == 0 || len(theirs) > 0 && theirs[len(theirs)-1].Newer(mine[len(mine)-1]) {
		return theirs
	}
	return mine
}
