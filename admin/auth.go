package admin

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tandem/addrlimit"
	"tandem/admin/api"
	"tandem/doorway"
	"tandem/ownership"
	"tandem/pass"
	"tandem/spelling"
)

// Limits of failed attempts: each address may fail failBurst times at once and
// once every failEvery afterwards; at most failPlaces addresses are remembered.
const (
	failBurst  = 10
	failEvery  = time.Second
	failPlaces = 4096

	lookUps  = 4               // of unknown tokens at the leader, at one time
	lookUpIn = 2 * time.Second // with the waiting for one of these
)

// allRoles are the roles that a token can have.
var allRoles = []api.Role{api.RoleRead, api.RoleOperate, api.RoleBot, api.RoleJoin}

// anyRole is asked for where any token will do.
const anyRole api.Role = "any"

// visitor is a caller who was let in.
type visitor struct {
	api.Whoami
	hash [sha256.Size]byte // of the token; of a pass: of the region that it is from
	pass string            // it came with a pass of another region's node
}

// bearerOf is whoever shows a token.
func bearerOf(t ownership.DoorToken) visitor {
	return visitor{Whoami: api.Whoami{Name: t.Name, Roles: rolesOf(t), Expires: t.Expires, Once: t.Once}, hash: t.Hash}
}

// guard decides who a caller is.
type guard struct {
	file  string // empty: open to loopback
	self  api.Identity
	keys  func() [][]byte // of passes; nil: none is taken
	now   func() time.Time
	table Table // the region's tokens stand beside the file's

	mu     sync.RWMutex
	tokens []ownership.DoorToken // of the file

	barrier func(context.Context) error // see Cluster.ReadBarrier
	lookUps chan struct{}               // one entry for each look-up under way

	fails *addrlimit.Budgets[netip.Addr]
	crowd *rate.Limiter // of those for whom fails has no place
}

func newGuard(cfg Config, deps Deps, now func() time.Time) *guard {
	each := addrlimit.Budget{Rate: rate.Every(failEvery), Burst: failBurst}
	return &guard{
		file: cfg.TokensFile, self: cfg.Identity, keys: deps.PassKeys, table: deps.Table, barrier: deps.Cluster.ReadBarrier, lookUps: make(chan struct{}, lookUps), now: now,
		fails: addrlimit.NewBudgets[netip.Addr](each, failPlaces), crowd: each.Fresh(),
	}
}

// reload reads the tokens file; on an error the old tokens stay.
func (g *guard) reload() error {
	if g.file == "" {
		return nil
	}
	tokens, err := loadTokens(g.file)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.tokens = tokens
	g.mu.Unlock()
	return nil
}

// open reports whether no tokens are set up.
func (g *guard) open() bool { return g.file == "" }

// refusal is why a caller may not pass.
type refusal struct {
	status int
	text   string // says nothing about which tokens exist
}

// The refusals. An expired token and an unknown one look the same.
var (
	refusedToken  = &refusal{http.StatusUnauthorized, "This needs a bearer token of this door in the Authorization header."}
	refusedPass   = &refusal{http.StatusUnauthorized, "No handle key of this region has signed this pass: handle_keys_file must be the same in every region."}
	refusedRole   = &refusal{http.StatusForbidden, "The token's roles do not allow this."}
	refusedPace   = &refusal{http.StatusTooManyRequests, "Too many failed attempts from this address."}
	refusedBehind = &refusal{http.StatusServiceUnavailable, "Whether the region knows this token cannot be told right now."}
	refusedStray  = &refusal{http.StatusForbidden, "This node is in no region yet, so it knows the tokens of its own file only. With a token that the region made, ask a node of the region to take this one in, or name its file in cluster.join_token_file."}
	refusedSpent  = &refusal{http.StatusForbidden, "The token was for one use and was used, or has expired."}
	refusedPlace  = &refusal{http.StatusForbidden, "Without tokens this door answers only to loopback names."}
)

// identify says who sent the request, by its Authorization header; of one that a page of
// the console sends it is whoever was let in to the page a moment ago.
func (g *guard) identify(r *http.Request) (visitor, *refusal) {
	if who, ok := r.Context().Value(pageReader{}).(visitor); ok {
		return who, nil
	}
	return g.enter(r, bearer(r.Header.Get("Authorization")))
}

// unreadable stands for what cannot be a token of this door: it is a failed
// attempt, and no hash of a file can be its.
const unreadable = "\x00"

// enter says who sent the request, given the secret that came with it: in a header,
// a cookie or a form.
func (g *guard) enter(r *http.Request, secret string) (visitor, *refusal) {
	who, refused := g.judge(r, secret)
	if refused == nil {
		doorway.Of(r.Context()).Known()
	}
	return who, refused
}

func (g *guard) judge(r *http.Request, secret string) (visitor, *refusal) {
	if g.open() {
		// A web page whose name was pointed at 127.0.0.1 must not get in.
		if !spelling.Loopback(r.Host) {
			return visitor{}, refusedPlace
		}
		if pass.Is(secret) {
			return g.byPass(r, secret)
		}
		return visitor{Whoami: api.Whoami{Name: "loopback", Roles: allRoles, Open: true}}, nil
	}
	if secret == "" {
		return visitor{}, refusedToken // nothing was tried, so nothing is counted
	}
	if pass.Is(secret) {
		return g.byPass(r, secret)
	}
	if !plausible(secret) {
		secret = unreadable
	}
	return g.try(r.Context(), r.RemoteAddr, secret)
}

// byPass lets in whom another region's node lets in, to read. Whoever holds a key of the
// deployment can say that of anybody, so a pass never lets anybody change anything.
func (g *guard) byPass(r *http.Request, secret string) (visitor, *refusal) {
	p, err := g.readPass(secret)
	if err != nil {
		if !g.limiter(r.RemoteAddr).AllowN(g.now(), 1) {
			return visitor{}, refusedPace
		}
		return visitor{}, refusedPass
	}
	if err := p.Check(g.self.Deployment, string(g.self.Region), r.Method, r.URL.Path, g.now()); err != nil {
		return visitor{}, &refusal{http.StatusUnauthorized, "This pass does not open this door: " + err.Error() + "."}
	}
	return visitor{
		Whoami: api.Whoami{Name: p.Name(), Roles: []api.Role{api.RoleRead}, Expires: p.Expires},
		hash:   sha256.Sum256([]byte("pass of " + p.From)), pass: secret,
	}, nil
}

func (g *guard) readPass(secret string) (pass.Pass, error) {
	if g.keys == nil {
		return pass.Pass{}, pass.ErrForged
	}
	return pass.Read(g.keys(), secret)
}

// try judges one secret and counts a failure against the caller's address. A good
// token passes whatever others do at its address: nobody guesses 130 random bits, and
// what else a file may hold is its writer's choice. A bad one is looked for at the
// leader, for it may have been made a moment ago at another node; that, and the
// answers beyond, is what failures use up.
func (g *guard) try(ctx context.Context, from, secret string) (visitor, *refusal) {
	now, sum := g.now(), sha256.Sum256([]byte(secret))
	who, refused := g.known(sum, now)
	if refused == nil {
		return who, nil
	}
	limit := g.limiter(from)
	if !limit.AllowN(now, 1) {
		return visitor{}, refusedPace
	}
	if refused != refusedToken || secret == unreadable {
		return visitor{}, refused
	}
	if len(g.table.Nodes()) == 0 {
		return visitor{}, refusedStray
	}
	if !g.catchUp(ctx) {
		return visitor{}, refusedBehind
	}
	if who, again := g.known(sum, g.now()); again == nil {
		limit.AllowN(now, -1) // it was no failure
		return who, nil
	}
	return visitor{}, refusedToken
}

// known returns the bearer of a token that this node knows.
func (g *guard) known(sum [sha256.Size]byte, now time.Time) (visitor, *refusal) {
	who, refused := g.ofRegion(sum, now)
	if refused == nil {
		return who, nil
	}
	if who, ok := g.ofFile(sum, now); ok {
		return who, nil
	}
	return visitor{}, refused
}

// catchUp makes sure that this node's table has what the leader's has; false: nobody
// can tell now. Few ask at a time, however many addresses show bad tokens.
func (g *guard) catchUp(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, lookUpIn)
	defer cancel()
	select {
	case g.lookUps <- struct{}{}:
		defer func() { <-g.lookUps }()
	case <-ctx.Done():
		return false
	}
	return g.barrier(ctx) == nil
}

// ofFile returns the bearer of a token of the file that has not expired.
func (g *guard) ofFile(sum [sha256.Size]byte, now time.Time) (visitor, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	t, ok := findToken(g.tokens, sum)
	if !ok || t.Ended(now) {
		return visitor{}, false
	}
	return bearerOf(t), true
}

// still reports whether a caller that was let in before has the role now. It counts no
// failure. A pass is good for a minute, and what it opened for as long as its key is one.
func (g *guard) still(who visitor, role api.Role) bool {
	switch {
	case who.pass != "":
		_, err := g.readPass(who.pass)
		return err == nil && who.may(role)
	case g.open():
		return true
	}
	who, _ = g.known(who.hash, g.now())
	return who.may(role)
}

// limiter returns the failure budget of an address. Where no place is free, everybody
// new shares one.
func (g *guard) limiter(remote string) *rate.Limiter {
	if l := g.fails.Of(addrlimit.Key(remote), g.now()); l != nil {
		return l
	}
	return g.crowd
}

// may reports whether the caller has the role; operate includes read.
func (v visitor) may(role api.Role) bool {
	switch {
	case slices.Contains(v.Roles, role):
		return true
	case role == api.RoleRead:
		return slices.Contains(v.Roles, api.RoleOperate)
	default:
		return role == anyRole && len(v.Roles) > 0
	}
}

// pageReader is in the context of what the console asks the door: only this process can
// put it there.
type pageReader struct{}

type callerKey struct{}

func withCaller(ctx context.Context, v visitor) context.Context {
	return context.WithValue(ctx, callerKey{}, v)
}

// caller returns who was admitted; the zero visitor on open paths.
func caller(ctx context.Context) visitor {
	v, _ := ctx.Value(callerKey{}).(visitor)
	return v
}
