package record

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/tablepb"
)

// SealToken writes the record of a token of the admin doors.
func SealToken(t *ownership.DoorToken) (key, value []byte) {
	var w timeWriter // times came in by a command, so they fit
	key = []byte(t.Name)
	return key, Seal(key, tokenOut(t, &w))
}

// ReadToken reads a token's record. The error is ErrDamaged.
func ReadToken(key, value []byte) (ownership.DoorToken, error) {
	var m tablepb.DoorToken
	if err := unsealInto(key, value, &m); err != nil {
		return ownership.DoorToken{}, err
	}
	var r reader
	t := r.token(&m)
	if r.bad != nil || t.Name != string(key) {
		return t, files.Damage("the record of token %q is not right: %w", key, r.bad)
	}
	return t, nil
}

func tokenOut(t *ownership.DoorToken, w *timeWriter) *tablepb.DoorToken {
	return &tablepb.DoorToken{
		Name: t.Name, Hash: t.Hash[:], Roles: t.Roles, Once: t.Once, MadeBy: t.MadeBy,
		MadeAt: w.ns(t.MadeAt), Expires: w.ns(t.Expires), UsedFor: t.UsedFor, UsedAt: w.ns(t.UsedAt),
	}
}

func (r *reader) token(m *tablepb.DoorToken) ownership.DoorToken {
	known(r, m)
	return ownership.DoorToken{
		Name: m.GetName(), Hash: r.hash(m.GetHash()), Roles: slices.Clone(m.GetRoles()), Once: m.GetOnce(), MadeBy: m.GetMadeBy(),
		MadeAt: Time(m.GetMadeAt()), Expires: Time(m.GetExpires()), UsedFor: m.GetUsedFor(), UsedAt: Time(m.GetUsedAt()),
	}
}

// hash reads a SHA-256; none stands for the zero hash, which no token has.
func (r *reader) hash(b []byte) (h [sha256.Size]byte) {
	switch len(b) {
	case len(h):
		return [sha256.Size]byte(b)
	case 0:
	default:
		if r.bad == nil {
			r.bad = fmt.Errorf("%w: a hash has %d bytes", ErrBadCommand, len(b))
		}
	}
	return h
}
