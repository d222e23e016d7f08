// Package doubles finds calls that two regions claimed, as happens when the cloud posts
// a call to both before either could know of the other's claim, or while they are cut
// off from each other, and settles whose each is: the cloud has accepted the answer of
// one. Each region gives up its own claim alone, and both use one rule, so that in the
// end one of them has the call.
package doubles

import (
	"time"

	"tandem/ownership"
)

// Claim is what settles whose a call is, of one region.
type Claim struct {
	Region     ownership.Region    `json:"region"`
	State      ownership.CallState `json:"state"`
	AnsweredAt time.Time           `json:"answered_at,omitzero"`
}

// yields reports whether the region of own gives its claim up to a live one of another.
// A region whose answer the cloud has not taken yields to one whose it has; where it has
// taken nobody's yet, none does. Both have answered only where a bot took a message of
// the other's for its own: then the earlier answer counts, and at one time the lesser name.
func yields(own, other Claim) bool {
	has := func(c Claim) bool { return c.State == ownership.CallAnswered || c.State == ownership.CallOrphaned }
	switch {
	case !has(other):
		return false
	case !has(own):
		return true
	case !own.AnsweredAt.Equal(other.AnsweredAt):
		return other.AnsweredAt.Before(own.AnsweredAt)
	default:
		return other.Region < own.Region
	}
}
