package ownership

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// FormatRules is the first command format in which the region's table holds the
// versions of its rules.
const FormatRules uint32 = 4

// Bounds of the rules in a table.
const (
	RulesKept    = 50        // versions; the oldest go first
	MaxRulesText = 256 << 10 // bytes of one version's text
	MaxRulesNote = 300       // bytes of its note, and of who set it
)

// Rules is one version of what operators write about calls. The table takes its text
// for text: what it means, and whether it means anything, the nodes find out.
type Rules struct {
	Number uint64    `json:"number"` // one more than that of the version it was made from; 0: none was ever set
	Digest string    `json:"digest"` // SHA-256 of the text, hex
	Text   string    `json:"-"`
	Origin Region    `json:"origin,omitempty"` // where it was set
	By     string    `json:"by,omitempty"`     // who set it there: the name of an admin token
	At     time.Time `json:"at,omitzero"`      // and when
	Note   string    `json:"note,omitempty"`   // what the operator said about it
}

// RulesDigest is the digest of a text.
func RulesDigest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Newer reports whether the version goes before another, wherever the two meet: the
// higher number does, and of one number the greater digest, so that regions that were
// changed at once come to one of the two changes without talking about it.
func (r Rules) Newer(than Rules) bool {
	if r.Number != than.Number {
		return r.Number > than.Number
	}
	return r.Digest > than.Digest
}

// SetRules makes a version the region's newest. One that is set here is refused with
// ErrConflict unless the newest has the number Expect, which is one less than its own:
// of two operators who started from one version, the second hears of the first. One
// that is Taken from another region is refused with ErrConflict unless it is Newer.
type SetRules struct {
	At     time.Time
	Rules  Rules // without At where it is set here: that is the act's
	Expect uint64
	Taken  bool
}

// TellRules puts into the history that somebody's rules differ from the region's for
// longer than a change takes to travel, or agree again. It changes nothing else.
type TellRules struct {
	At    time.Time
	Text  string // at most MaxRulesNote bytes; the rest is cut off
	Agree bool
}

func (SetRules) act()  {}
func (TellRules) act() {}
