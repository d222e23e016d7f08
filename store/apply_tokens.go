package store

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

// Bounds of a token's record: the doors check what people write more strictly.
const (
	maxTokenName  = 64
	maxTokenRoles = 8
	maxTokenText  = 300 // of a role, of who made it, of what it was used for
)

// tokenActs are the acts about tokens of the admin doors: they touch nothing else.
type tokenActs struct{ *pen }

// grant puts a new token's record in, and drops those of tokens that ended
// long ago.
func (a tokenActs) grant(act ownership.GrantToken) error {
	t := act.Token
	t.MadeAt, t.UsedFor, t.UsedAt = a.at, "", time.Time{}
	kept := slices.DeleteFunc(slices.Clone(a.st.tokens), func(old ownership.DoorToken) bool { return old.Stale(a.at) })
	if err := a.mayGrant(&t, kept); err != nil {
		return fmt.Errorf("making the token %q: %w", t.Name, err)
	}
	for _, old := range a.st.tokens {
		if old.Stale(a.at) {
			a.drop(old.Name)
		}
	}
	a.put(t)
	text := fmt.Sprintf("%s (%s) by %s", t.Name, strings.Join(t.Roles, ", "), t.MadeBy)
	if t.Once {
		text += ", for one use"
	}
	a.emit(history.Event{Kind: history.TokenMade, Text: text})
	return nil
}

func (a tokenActs) mayGrant(t *ownership.DoorToken, others []ownership.DoorToken) error {
	long := len(t.MadeBy) > maxTokenText || slices.ContainsFunc(t.Roles, func(r string) bool { return len(r) > maxTokenText })
	switch {
	case a.st.format < ownership.FormatTokens:
		return fmt.Errorf("the region writes command format %d, tokens need %d: %w", a.st.format, ownership.FormatTokens, ownership.ErrConflict)
	case t.Name == "" || len(t.Name) > maxTokenName:
		return fmt.Errorf("a token's name has 1 to %d bytes: %w", maxTokenName, ownership.ErrConflict)
	case t.Hash == [sha256.Size]byte{}:
		return fmt.Errorf("it has no hash: %w", ownership.ErrConflict)
	case len(t.Roles) == 0 || len(t.Roles) > maxTokenRoles || long:
		return fmt.Errorf("a token has 1 to %d roles, and no text longer than %d bytes: %w", maxTokenRoles, maxTokenText, ownership.ErrConflict)
	case t.Once && t.Expires.IsZero():
		return fmt.Errorf("a token for one use must expire: %w", ownership.ErrConflict)
	case t.Ended(a.at):
		return fmt.Errorf("it would have expired already: %w", ownership.ErrConflict)
	case len(others) >= ownership.MaxDoorTokens:
		return fmt.Errorf("the region holds %d tokens; revoke one first: %w", len(others), ownership.ErrConflict)
	}
	for _, o := range others {
		if o.Name == t.Name {
			return fmt.Errorf("there is one of that name; revoke it first: %w", ownership.ErrConflict)
		}
		if o.Hash == t.Hash {
			return fmt.Errorf("the token %q has the same secret: %w", o.Name, ownership.ErrConflict)
		}
	}
	return nil
}

func (a tokenActs) revoke(act ownership.RevokeToken) error {
	i, found := a.st.findToken(act.Name)
	if !found {
		return fmt.Errorf("revoking the token %q: %w", act.Name, ownership.ErrUnknown)
	}
	name := a.st.tokens[i].Name
	a.drop(name)
	a.emit(history.Event{Kind: history.TokenRevoked, Text: name})
	return nil
}

// use binds a token for one use, or ends it. Every node reaches the same
// verdict from the log, so of two uses at two nodes only one gets through.
func (a tokenActs) use(act ownership.UseToken) error {
	i, found := a.st.findToken(act.Name)
	if !found || a.st.tokens[i].Hash != act.Hash {
		return fmt.Errorf("using the token %q: %w", act.Name, ownership.ErrUnknown)
	}
	t := a.st.tokens[i]
	var err error
	switch {
	case !t.Once:
		return nil // it may be used as often as one likes
	case !t.UsedAt.IsZero():
		err = fmt.Errorf("it was used at %s: %w", t.UsedAt.Format(time.RFC3339), ownership.ErrConflict)
	case t.Ended(a.at):
		err = fmt.Errorf("it expired at %s: %w", t.Expires.Format(time.RFC3339), ownership.ErrConflict)
	case t.UsedFor != "" && t.UsedFor != act.For:
		err = fmt.Errorf("it was used for something else: %w", ownership.ErrConflict)
	case act.For == "" || len(act.For) > maxTokenText:
		err = fmt.Errorf("what it is used for has 1 to %d bytes: %w", maxTokenText, ownership.ErrConflict)
	}
	if err != nil {
		return fmt.Errorf("using the token %q: %w", act.Name, err)
	}
	if t.UsedFor == act.For && !act.Done {
		return nil // the same use, tried again
	}
	t.UsedFor = act.For
	if act.Done {
		t.UsedAt = a.at
		a.emit(history.Event{Kind: history.TokenUsed, Text: t.Name + " for " + t.UsedFor})
	}
	a.put(t)
	return nil
}

func (a tokenActs) put(t ownership.DoorToken) {
	a.forgetSum(t.Name)
	key, value := record.SealToken(&t)
	a.st.sum += record.Sum(record.KindToken, key, value)
	a.b.tokens[t.Name] = value
	a.st.setToken(t)
}

func (a tokenActs) drop(name string) {
	a.forgetSum(name)
	a.b.tokens[name] = nil
	i, _ := a.st.findToken(name)
	a.st.tokens = slices.Delete(slices.Clone(a.st.tokens), i, i+1)
}

// forgetSum takes the share of a record that is about to change out of the
// table's sum.
func (a tokenActs) forgetSum(name string) {
	if i, found := a.st.findToken(name); found {
		key, value := record.SealToken(&a.st.tokens[i])
		a.st.sum -= record.Sum(record.KindToken, key, value)
	}
}

func (s *state) findToken(name string) (int, bool) {
	return slices.BinarySearchFunc(s.tokens, name, func(t ownership.DoorToken, name string) int { return cmp.Compare(t.Name, name) })
}

func (s *state) setToken(t ownership.DoorToken) {
	list := slices.Clone(s.tokens)
	if i, found := s.findToken(t.Name); found {
		list[i] = t
	} else {
		list = slices.Insert(list, i, t)
	}
	s.tokens = list
}

// DoorTokens returns the records of the admin doors' tokens, by name, ended ones
// too. The slice must not be changed.
func (t *Table) DoorTokens() []ownership.DoorToken {
	return look(t, func(r *reading) []ownership.DoorToken { return r.t.st.tokens })
}
