package token

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// judgement is one token on its way through the checks. What a check finds out
// is there for the checks after it.
type judgement struct {
	ctx context.Context
	v   *Verifier
	now time.Time
	raw string

	headPart, bodyPart, sigPart string
	header                      *header
	headerErr                   error
	claims                      *claimSet
	claimsErr                   error
	app                         *app
	keys                        []*key // candidates by key id, then the one that fits
	verified                    bool   // the signature matches keys[0]
}

// check is one step of the judgement. Verify stops at the first that fails;
// Explain runs all that have what they need.
type check struct {
	name string
	can  func(*judgement) bool   // whether the earlier steps left enough; nil: always
	run  func(*judgement) Code   // empty: passed
	show func(*judgement) string // what Explain may print of the token; nil: nothing
}

// checks is the whole judgement in order: cheap before dear, and nothing that
// the configuration decides (tenants) before the signature is known to be good.
var checks = []check{
	{name: "size", run: checkSize, show: showSize},
	{name: "bytes", run: checkBytes},
	{name: "parts", run: checkParts},
	{name: "header", can: hasParts, run: checkHeader, show: showHeader},
	{name: "alg", can: hasHeader, run: checkAlg, show: func(j *judgement) string { return j.header.Alg.s }},
	{name: "typ", can: hasHeader, run: checkTyp, show: func(j *judgement) string { return j.header.Typ.s }},
	{name: "crit, zip, b64", can: hasHeader, run: checkExtensions},
	{name: "kid", can: hasHeader, run: checkKid, show: func(j *judgement) string { return j.header.Kid.s }},
	{name: "claims", can: hasParts, run: checkClaims, show: showClaims},
	{name: "aud", can: hasClaims, run: checkAud, show: func(j *judgement) string { return strings.Join(j.claims.Aud, ", ") }},
	{name: "iss", can: hasApp, run: checkIss, show: func(j *judgement) string { return j.claims.Iss.s }},
	{name: "lifetime", can: hasClaims, run: checkLifetime, show: showLifetime},
	{name: "exp", can: hasClaims, run: checkExp, show: func(j *judgement) string { return j.claims.Exp.String() }},
	{name: "nbf, iat", can: hasClaims, run: checkNotYet, show: func(j *judgement) string { return j.claims.Nbf.String() }},
	{name: "tid", can: hasClaims, run: checkTid, show: func(j *judgement) string { return j.claims.Tid.s }},
	{name: "key", can: canFindKey, run: checkKey, show: showKey},
	{name: "signature", can: hasKeys, run: checkSignature},
	{name: "tenant", can: hasApp, run: checkTenant},
	{name: "azp, appid", can: hasApp, run: checkCaller, show: showCaller},
}

func hasParts(j *judgement) bool   { return j.headPart != "" }
func hasHeader(j *judgement) bool  { return j.header != nil }
func hasClaims(j *judgement) bool  { return j.claims != nil }
func hasApp(j *judgement) bool     { return j.app != nil }
func canFindKey(j *judgement) bool { return j.app != nil && j.header != nil }
func hasKeys(j *judgement) bool    { return len(j.keys) > 0 }

func checkSize(j *judgement) Code {
	if len(j.raw) > MaxTokenBytes {
		return CodeTooLarge
	}
	return ""
}

func checkBytes(j *judgement) Code {
	if !isTokenText(j.raw[:min(len(j.raw), MaxTokenBytes)]) {
		return CodeBadCredentials
	}
	return ""
}

func checkParts(j *judgement) Code {
	if len(j.raw) > MaxTokenBytes {
		return CodeTooLarge
	}
	head, body, sig, ok := splitThree(j.raw)
	if !ok {
		return CodeNotThreeParts
	}
	j.headPart, j.bodyPart, j.sigPart = head, body, sig
	return ""
}

func checkHeader(j *judgement) Code {
	h := new(header)
	if j.headerErr = readObject(j.headPart, h); j.headerErr != nil {
		return CodeBadHeader
	}
	j.header = h
	return ""
}

// checkAlg pins the one algorithm of the calling service's tokens (RFC 8725
// 3.1). What the metadata advertises does not matter.
func checkAlg(j *judgement) Code {
	if j.header.Alg.s != jwt.SigningMethodRS256.Alg() {
		return CodeBadAlgorithm
	}
	return ""
}

// checkTyp lets access tokens through (RFC 8725 3.11, RFC 9068 2.1). A media
// type may lack its "application/" and case does not matter (RFC 7515 4.1.9).
func checkTyp(j *judgement) Code {
	if !j.header.Typ.set {
		return ""
	}
	switch strings.TrimPrefix(strings.ToLower(j.header.Typ.s), "application/") {
	case "jwt", "at+jwt":
		return ""
	}
	return CodeBadType
}

// checkExtensions refuses what changes the meaning of the token: nothing in
// crit is understood here (RFC 7515 4.1.11), and zip and b64 have no place in
// an access token.
func checkExtensions(j *judgement) Code {
	if j.header.Crit || j.header.Zip || j.header.B64 {
		return CodeUnsupportedJOSE
	}
	return ""
}

func checkKid(j *judgement) Code {
	if !usableKeyID(j.header.Kid.s) {
		return CodeBadKeyID
	}
	return ""
}

func checkClaims(j *judgement) Code {
	c := new(claimSet)
	if j.claimsErr = readObject(j.bodyPart, c); j.claimsErr != nil {
		return CodeBadClaims
	}
	j.claims = c
	return ""
}

// checkAud finds the app. A list must name one app of ours and nobody else,
// since a token for two is a token that the other one could replay here.
func checkAud(j *judgement) Code {
	var found *app
	for _, a := range j.claims.Aud {
		one := j.v.apps[a]
		if one == nil || found != nil && one != found {
			return CodeWrongAudience
		}
		found = one
	}
	if found == nil {
		return CodeWrongAudience
	}
	j.app = found
	return ""
}

func checkIss(j *judgement) Code {
	if len(j.app.profile.issuedBy(j.claims)) == 0 {
		return CodeWrongIssuer
	}
	return ""
}

// checkLifetime demands exp and bounds the span it ends: from nbf, or from now
// where nbf is missing.
func checkLifetime(j *judgement) Code {
	c := j.claims
	from := j.now
	if c.Nbf.set {
		from = c.Nbf.t
	}
	switch {
	case !c.Exp.set,
		c.Nbf.set && !c.Nbf.t.Before(c.Exp.t),
		c.Exp.t.Sub(from) > MaxLifetime:
		return CodeBadLifetime
	}
	return ""
}

func checkExp(j *judgement) Code {
	if j.claims.Exp.set && !j.now.Before(j.claims.Exp.t.Add(j.v.skew)) {
		return CodeExpired
	}
	return ""
}

func checkNotYet(j *judgement) Code {
	for _, i := range []instant{j.claims.Nbf, j.claims.Iat} {
		if i.set && j.now.Before(i.t.Add(-j.v.skew)) {
			return CodeNotYetValid
		}
	}
	return ""
}

// checkTid demands a tenant, as the calling samples do. Tenant ids are GUIDs;
// letters, digits, dots and dashes are taken, since they reach keys and logs.
func checkTid(j *judgement) Code {
	const longest = 64
	t := j.claims.Tid.s
	if t == "" || len(t) > longest || strings.Contains(t, "_") || !isTokenText(t) {
		return CodeNoTenant
	}
	return ""
}

func checkKey(j *judgement) Code {
	keys, code := find(j.sources(), j.header.Kid.s, j.now)
	j.keys = keys
	return code
}

// checkSignature does the dear part, in its sender's turn. The bytes that are
// verified are the bytes that were read.
func checkSignature(j *judgement) Code {
	sig, err := base64url.DecodeString(j.sigPart)
	if err != nil {
		return CodeBadSignature
	}
	if !j.v.turns.take(j.ctx, sender{SenderOf(j.ctx), j.app.id}) {
		return CodeNoTurn
	}
	defer j.v.turns.done()
	signed := j.raw[:len(j.headPart)+1+len(j.bodyPart)]
	for _, k := range j.keys {
		if jwt.SigningMethodRS256.Verify(signed, sig, k.public) == nil {
			j.keys, j.verified = []*key{k}, true
			return ""
		}
	}
	return CodeBadSignature
}

func checkTenant(j *judgement) Code {
	if len(j.app.tenants) > 0 && !j.app.tenants[strings.ToLower(j.claims.Tid.s)] {
		return CodeTenantNotAllowed
	}
	return ""
}

// checkCaller demands, where the profile lists callers, that the application which got the
// token is one of them: azp in tokens of version 2, appid in those of version 1
// (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference).
func checkCaller(j *judgement) Code {
	list := j.app.profile.Callers
	if len(list) == 0 {
		return ""
	}
	named := 0
	for _, id := range []text{j.claims.Azp, j.claims.AppID} {
		if !id.set {
			continue
		}
		if !slices.ContainsFunc(list, func(c string) bool { return strings.EqualFold(c, id.s) }) {
			return CodeCallerNotAllowed
		}
		named++
	}
	if named == 0 {
		return CodeCallerNotAllowed
	}
	return ""
}

func showCaller(j *judgement) string {
	return cmp.Or(j.claims.Azp.s, j.claims.AppID.s)
}
