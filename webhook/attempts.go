package webhook

import (
	"hash/maphash"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"tandem/addrlimit"
)

// Attempts bounds how often one and the same bad token is judged. Zero values mean
// the defaults; a rate counts failures in a second.
//
// Nothing else of failed verification is bounded: nobody guesses a signature, and a
// bound on addresses, or on all, is one that a flood could turn against the cloud.
// What keeps a flood from the processor is that signatures are checked in turns (see
// token.WithSender). A token that is not judged is not refused for good (401) but
// for now (503): the cloud repeats after 5xx only.
type Attempts struct {
	Token      float64 // default 0.1
	TokenBurst int     // default 5
}

// places bounds the tokens that are remembered.
const places = 4096

// attempts remembers tokens that failed.
type attempts struct {
	now    func() time.Time
	seed   maphash.Seed
	tokens *addrlimit.Budgets[uint64]
}

func newAttempts(cfg Attempts, now func() time.Time) *attempts {
	if cfg.Token <= 0 {
		cfg.Token = 0.1
	}
	setDefault(&cfg.TokenBurst, 5)
	each := addrlimit.Budget{Rate: rate.Limit(cfg.Token), Burst: cfg.TokenBurst}
	return &attempts{now: now, seed: maphash.MakeSeed(), tokens: addrlimit.NewBudgets[uint64](each, places)}
}

// spent reports whether a request's token has failed too often to be judged now. With
// none remembered, no token is hashed.
func (a *attempts) spent(header http.Header) bool {
	if a.tokens.Len() == 0 || len(header["Authorization"]) == 0 {
		return false
	}
	return a.tokens.Spent(a.key(header), a.now())
}

// key tells tokens apart; two that fall together share a budget.
func (a *attempts) key(header http.Header) uint64 {
	var h maphash.Hash
	h.SetSeed(a.seed)
	for _, v := range header["Authorization"] {
		h.WriteString(v) //nolint:errcheck // it never fails
	}
	return h.Sum64()
}

// failed counts a request whose token was refused for good. Where no place is free,
// no new token is remembered.
func (a *attempts) failed(header http.Header) {
	if len(header["Authorization"]) == 0 {
		return
	}
	at := a.now()
	if l := a.tokens.Of(a.key(header), at); l != nil {
		l.AllowN(at, 1)
	}
}
