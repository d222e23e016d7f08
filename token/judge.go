package token

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"time"
)

// Waiting for keys inside a request.
const (
	// askWait is how long a token with an unknown key waits for a fetch: the
	// answer to an incoming call is due 5 to 15 s after its first notification.
	askWait = 2 * time.Second
	// maxWaiting bounds the requests that wait; others are told to come again.
	maxWaiting = 512
)

// judge runs all checks on a token that is not in the cache.
func (v *Verifier) judge(ctx context.Context, raw string, sum [sha256.Size]byte, now time.Time) (Claims, error) {
	j := &judgement{ctx: ctx, v: v, now: now, raw: raw}
	for i := range checks {
		code := checks[i].run(j)
		switch code {
		case CodeUnknownKey, CodeKeysNotLoaded, CodeKeysTooOld:
			code = j.askForKey(ctx, code)
		case CodeBadSignature:
			j.doubtKeys()
		}
		if code != "" {
			return v.refused(code, j.profileName())
		}
	}
	c := j.result()
	v.cache.put(sum, j.verdict(c))
	j.app.profile.accepted.Inc()
	return c, nil
}

// result is what the token says, once all checks have passed.
func (j *judgement) result() Claims {
	return Claims{
		App:     j.app.id,
		Tenant:  strings.ToLower(j.claims.Tid.s),
		Issuer:  j.claims.Iss.s,
		Profile: j.app.profile.Name,
		Expires: j.claims.Exp.t,
		KeyID:   j.keys[0].id,
	}
}

// verdict is the result with what must still hold when the token comes again.
func (j *judgement) verdict(c Claims) *verdict {
	d := &verdict{claims: c, app: j.app, key: j.keys[0], notAfter: j.claims.Exp.t.Add(j.v.skew)}
	if j.claims.Nbf.set {
		d.notBefore = j.claims.Nbf.t.Add(-j.v.skew)
	}
	return d
}

// profileName names the profile of the token's app, if it names an app.
func (j *judgement) profileName() string {
	if j.app == nil {
		return ""
	}
	return j.app.profile.Name
}

func (v *Verifier) refused(c Code, profile string) (Claims, error) {
	v.metrics.verdicts.WithLabelValues(profile, string(c)).Inc()
	return Claims{}, refuse(c, profile)
}

// askForKey has the sources look for a key that the token names and no set
// lists, or for a set that serves. It waits when a fetch is under way, then judges
// the key again. A key is junk (401) when every source was read after it was asked
// for, by this token or by one before, and none lists it. As long as an endpoint
// does not answer, or may not be asked again yet, the key may be new: that is our
// trouble (503), not the caller's. The calling service repeats after 503 only, so
// junk of others can put a new key off by a minute, but not have its tokens refused
// for good.
func (j *judgement) askForKey(ctx context.Context, code Code) Code {
	id, sources := j.header.Kid.s, j.sources()
	if code != CodeUnknownKey {
		id = "" // no set serves: of the key nothing is known
	}
	doubt := false
	var rounds []<-chan struct{}
	for _, s := range sources {
		a := s.ask(id)
		if a.round != nil && !a.absent {
			rounds = append(rounds, a.round)
		}
		doubt = doubt || !a.settles && !a.absent
	}
	if len(rounds) > 0 {
		if !j.v.wait(ctx, rounds) {
			return CodeKeysInDoubt
		}
		code = checkKey(j)
	}
	if code != CodeUnknownKey {
		return code
	}
	for _, s := range sources {
		doubt = doubt || s.failing.Load()
	}
	if doubt {
		return CodeKeysInDoubt
	}
	return CodeUnknownKey
}

// doubtKeys has the sources of the token's key look whether it was replaced by
// another of the same id. Nobody waits for it: a key id that is used again is
// rare, a bad signature is not.
func (j *judgement) doubtKeys() {
	for _, k := range j.keys {
		k.source.ask("")
	}
}

// wait waits for all rounds, for askWait at most; it tells whether all ended.
func (v *Verifier) wait(ctx context.Context, rounds []<-chan struct{}) bool {
	if v.waiting.Add(1) > maxWaiting {
		v.waiting.Add(-1)
		return false
	}
	defer v.waiting.Add(-1)
	patience := time.NewTimer(askWait)
	defer patience.Stop()
	for _, round := range rounds {
		select {
		case <-round:
		case <-patience.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// sources are those whose keys may verify the token: of the pairs that list its issuer. Of
// an issuer that is not taken Explain looks at all.
func (j *judgement) sources() []*source {
	if all := j.app.profile.issuedBy(j.claims); len(all) > 0 {
		return all
	}
	return j.app.profile.sources
}

// issuedBy returns the sources of the pairs that take the token's issuer; none: it is not
// taken.
func (p *profile) issuedBy(c *claimSet) (all []*source) {
	for _, pair := range p.of {
		if slices.ContainsFunc(pair.issuers, func(i string) bool {
			if !strings.Contains(i, tenantMark) {
				return i == c.Iss.s
			}
			return c.Tid.s != "" && c.Tid.s != tenantMark && c.Iss.s == strings.ReplaceAll(i, tenantMark, c.Tid.s)
		}) {
			all = append(all, pair.sources...)
		}
	}
	return all
}

// find looks a key id up in all sets of sources.
func find(sources []*source, id string, now time.Time) ([]*key, Code) {
	var found []*key
	code := CodeKeysNotLoaded
	for _, s := range sources {
		set := s.set.Load()
		switch {
		case set == nil:
		case !set.fresh(now):
			if code == CodeKeysNotLoaded {
				code = CodeKeysTooOld
			}
		case len(set.keys[id]) > 0:
			found = append(found, set.keys[id]...)
		case set.ignored[id] != "":
			code = CodeKeyUnusable
		case code != CodeKeyUnusable:
			code = CodeUnknownKey
		}
	}
	if len(found) > 0 {
		return found, ""
	}
	return nil, code
}
