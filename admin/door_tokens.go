package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/ownership"
)

// The tokens of the file stand on one node; those made here stand in the
// region's table, as hashes, and open the doors of all of its nodes.

// SecretPrefix starts every token that Tandem makes, so that scanners of source
// code find one that was left lying about.
const SecretPrefix = "tandem_"

// doorTokens are the tokens of the admin doors.
type doorTokens struct{ *Door }

// tokenRoutes puts the door's own tokens on the door.
func (d doorTokens) tokenRoutes() {
	huma.Register(d.api, d.operation("list-tokens", http.MethodGet, "/v1/tokens", api.RoleOperate, "Names, roles and ends of the region's tokens and of this node's file; never the tokens"),
		func(ctx context.Context, in *struct{ Asking }) (*answer[api.List[api.TokenInfo]], error) {
			return freshly(ctx, d.Door, in.Asking, func() (api.List[api.TokenInfo], error) { return list(d.auth.list()), nil })
		})

	made := d.change("make-token", http.MethodPost, "/v1/tokens", api.RoleOperate, "Make a token that opens the doors of all nodes of the region; its secret is told this once")
	made.DefaultStatus = http.StatusCreated
	made.Errors = append(made.Errors, http.StatusUnprocessableEntity)
	huma.Register(d.api, made, d.makeToken)

	huma.Register(d.api, d.noContent(d.change("revoke-token", http.MethodDelete, "/v1/tokens/{name}", api.RoleOperate, "Take a token of the region back")),
		func(ctx context.Context, in *struct {
			Name string `path:"name" maxLength:"64"`
		}) (*empty, error) {
			return d.act(ctx, func(ctx context.Context) error {
				err := d.tokenAct(ctx, ownership.RevokeToken{At: d.now(), Name: in.Name})
				if errors.Is(err, ownership.ErrUnknown) && d.auth.inFile(in.Name) {
					return fmt.Errorf("the token %q stands in this node's tokens file; take it out there: %w", in.Name, ownership.ErrConflict)
				}
				return err
			})
		})
}

// tokenAct has the region apply an act about a token, and returns once the
// table here knows of it: what the caller is told holds at this door already.
func (d *Door) tokenAct(ctx context.Context, act ownership.Act) error {
	out, err := d.deps.Cluster.Do(ctx, act)
	if err == nil {
		err = out.Err
	}
	if err != nil {
		return err
	}
	return d.deps.Cluster.ReadBarrier(ctx)
}

func (d doorTokens) makeToken(ctx context.Context, in *struct{ Body api.TokenAsk }) (*reply[api.TokenMade], error) {
	ask := in.Body
	roles := ownership.Words[string](ask.Roles)
	note(ctx, ask.Name+": "+strings.Join(roles, ", "))
	switch {
	case slices.ContainsFunc(ask.Roles, func(r api.Role) bool { return !slices.Contains(allRoles, r) }):
		return nil, huma.Error422UnprocessableEntity("A role is one of read, operate, bot, join.")
	case ask.Once && !slices.Equal(ask.Roles, []api.Role{api.RoleJoin}):
		return nil, huma.Error422UnprocessableEntity("A token for one use has the role join and no other: the join is its use.")
	case ask.Once && ask.Expires.IsZero():
		return nil, huma.Error422UnprocessableEntity("A token for one use must expire.")
	case !ask.Expires.IsZero() && !d.now().Before(ask.Expires):
		return nil, huma.Error422UnprocessableEntity("The token would have expired already.")
	case d.auth.inFile(ask.Name):
		return nil, huma.Error409Conflict("A token of that name stands in this node's tokens file.")
	case d.deps.Table.Format() < ownership.FormatTokens:
		return nil, huma.Error409Conflict("Not every node of the region knows tokens yet: upgrade all of them first.")
	}
	secret := SecretPrefix + rand.Text()
	t := ownership.DoorToken{
		Name: ask.Name, Hash: sha256.Sum256([]byte(secret)), Roles: roles, Once: ask.Once,
		MadeBy: caller(ctx).Name, Expires: ask.Expires.UTC(),
	}
	if ask.Expires.IsZero() {
		t.Expires = time.Time{}
	}
	at := d.now()
	if _, err := d.act(ctx, func(ctx context.Context) error {
		return d.tokenAct(ctx, ownership.GrantToken{At: at, Token: t})
	}); err != nil {
		return nil, err
	}
	t.MadeAt = at.UTC()
	return &reply[api.TokenMade]{api.TokenMade{TokenInfo: tokenInfo(t, api.OriginRegion, at), Token: secret}}, nil
}

// useToken says in the table that the caller's token for one use is used to
// bring in the node at an address, first before and then after it is done. Of
// two nodes that one token is shown for, the table lets one pass. Other tokens
// are not asked.
func (d doorTokens) useToken(ctx context.Context, address string, done bool) error {
	who := caller(ctx)
	if !who.Once {
		return nil
	}
	out, err := d.deps.Cluster.Do(ctx, ownership.UseToken{At: d.now(), Name: who.Name, Hash: who.hash, For: address, Done: done})
	if err != nil {
		return err
	}
	return out.Err
}

// errNoJoinToken says that it is no token of this region, it has ended, or its roles are others.
var errNoJoinToken = fmt.Errorf("%w: the token it shows is not one of this region with the role join, or has ended", ownership.ErrUninvited)

// LetIn says whose token it is that a node shows which asks to be taken in; done: it
// is in, which is the use of a token for one. The error is ErrUninvited for what
// lets nobody in, ErrConflict for one that was used for another node, or ErrNoLeader.
func (d *Door) LetIn(ctx context.Context, secret string, node ownership.NodeID, done bool) (by string, err error) {
	if !plausible(secret) {
		return "", errNoJoinToken
	}
	who, refused := d.auth.known(sha256.Sum256([]byte(secret)), d.now())
	if refused != nil || !who.may(api.RoleJoin) {
		return "", errNoJoinToken
	}
	if err := (doorTokens{d}).useToken(withCaller(ctx, who), string(node), done); err != nil {
		if errors.Is(err, ownership.ErrConflict) {
			err = fmt.Errorf("%w: %w", errNoJoinToken, err)
		}
		return "", err
	}
	return who.Name, nil
}

// ofRegion returns the bearer of a token of the region. A token for one use says that
// it has ended: only its bearer hears it.
func (g *guard) ofRegion(sum [sha256.Size]byte, now time.Time) (visitor, *refusal) {
	t, ok := findToken(g.table.DoorTokens(), sum)
	switch {
	case !ok, t.Ended(now) && !t.Once:
		return visitor{}, refusedToken
	case t.Ended(now):
		return visitor{}, refusedSpent
	}
	return bearerOf(t), nil
}

// list returns all tokens without their hashes, those of the file first.
func (g *guard) list() []api.TokenInfo {
	now := g.now()
	g.mu.RLock()
	out := make([]api.TokenInfo, 0, len(g.tokens))
	for _, t := range g.tokens {
		out = append(out, tokenInfo(t, api.OriginFile, now))
	}
	g.mu.RUnlock()
	for _, t := range g.table.DoorTokens() {
		out = append(out, tokenInfo(t, api.OriginRegion, now))
	}
	return out
}

// inFile reports whether the tokens file has an entry of that name.
func (g *guard) inFile(name string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return slices.ContainsFunc(g.tokens, func(t ownership.DoorToken) bool { return t.Name == name })
}

func tokenInfo(t ownership.DoorToken, origin string, now time.Time) api.TokenInfo {
	return api.TokenInfo{
		Name: t.Name, Roles: rolesOf(t), Origin: origin, Once: t.Once, Expires: t.Expires,
		Expired: !t.Expires.IsZero() && !now.Before(t.Expires),
		MadeBy:  t.MadeBy, MadeAt: t.MadeAt, UsedFor: t.UsedFor, UsedAt: t.UsedAt,
	}
}

func rolesOf(t ownership.DoorToken) []api.Role {
	return orEmpty(ownership.Words[api.Role](t.Roles))
}
