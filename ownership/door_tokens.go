package ownership

import (
	"crypto/sha256"
	"time"
)

// FormatTokens is the first command format that knows the tokens of the admin
// doors. A region whose table still has an older one is raised to it by
// SetFormat before its first token is made; software that cannot read it then
// no longer fits into the region.
const FormatTokens uint32 = 2

// MaxDoorTokens bounds the tokens that a region holds: each attempt at a door
// compares with all of them.
const MaxDoorTokens = 1000

// TokensKept is how long the record of a token that has ended, by its time or by
// its use, stands in the table: so long can be seen what became of it.
const TokensKept = 7 * 24 * time.Hour

// DoorToken is the record of one token of the region's admin doors. The token
// itself is known to nobody but its bearer.
type DoorToken struct {
	Name    string            `json:"name"`
	Hash    [sha256.Size]byte `json:"-"` // SHA-256 of the token
	Roles   []string          `json:"roles"`
	Once    bool              `json:"once,omitempty"` // it ends with its first use
	MadeBy  string            `json:"made_by"`        // name of the token that asked for it
	MadeAt  time.Time         `json:"made_at"`
	Expires time.Time         `json:"expires,omitzero"` // zero: never; a token for one use always expires
	UsedFor string            `json:"used_for,omitempty"`
	UsedAt  time.Time         `json:"used_at,omitzero"` // when the use it was for was done; zero: it was not
}

// Ended reports whether the token opens nothing any more at that moment.
func (t DoorToken) Ended(at time.Time) bool {
	return !t.UsedAt.IsZero() || !t.Expires.IsZero() && !at.Before(t.Expires)
}

// endedBy is the moment at which it ended; false: it has not, at that moment.
func (t DoorToken) endedBy(at time.Time) (time.Time, bool) {
	switch {
	case !t.UsedAt.IsZero():
		return t.UsedAt, true
	case t.Ended(at):
		return t.Expires, true
	}
	return time.Time{}, false
}

// Stale reports whether the record of an ended token need not be kept longer.
func (t DoorToken) Stale(at time.Time) bool {
	end, ended := t.endedBy(at)
	return ended && at.Sub(end) > TokensKept
}

// GrantToken puts the record of a new token into the table. A name or a token
// that is already there is refused.
type GrantToken struct {
	At    time.Time
	Token DoorToken // MadeAt is At, UsedFor and UsedAt are empty
}

// RevokeToken takes a token's record out of the table.
type RevokeToken struct {
	At   time.Time
	Name string
}

// UseToken binds a token for one use to what it is used for; with Done it ends.
// Once it is bound it can be used for nothing else, but the same use may be
// tried again until it is done. Hash guards against a namesake made meanwhile.
type UseToken struct {
	At   time.Time
	Name string
	Hash [sha256.Size]byte
	For  string
	Done bool
}

func (a GrantToken) at() time.Time  { return a.At }
func (a RevokeToken) at() time.Time { return a.At }
func (a UseToken) at() time.Time    { return a.At }

func (a GrantToken) from(t time.Time) Act  { a.At = t; return a }
func (a RevokeToken) from(t time.Time) Act { a.At = t; return a }
func (a UseToken) from(t time.Time) Act    { a.At = t; return a }
