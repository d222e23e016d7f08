package token

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// State is what became of one check.
type State string

// The states of a check.
const (
	Pass    State = "pass"
	Fail    State = "fail"
	Skipped State = "skipped" // an earlier failure left nothing to check
)

// Check is one step of an Explanation.
type Check struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Code  Code   `json:"code,omitempty"`  // of a failed check
	Value string `json:"value,omitempty"` // what the token says, shortened; never a signature
	Note  string `json:"note,omitempty"`
}

// Explanation is the account of one token, check by check. It holds no
// signature and no part of the token in its encoded form, so it may be shown
// and pasted. Status, Code and Reason are those of the first failed check: what
// Verify would answer now, without asking for new keys.
type Explanation struct {
	Accepted bool      `json:"accepted"`
	Status   int       `json:"status"` // 200 when accepted
	Code     Code      `json:"code,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Profile  string    `json:"profile,omitempty"`
	App      string    `json:"app,omitempty"`
	KeyID    string    `json:"keyId,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	Checks   []Check   `json:"checks"`
	Hints    []string  `json:"hints,omitempty"`
}

// Explain judges a token given as text, with or without "Bearer " before it,
// through the checks of Verify. It has no side effects: it fetches nothing,
// remembers nothing and counts nothing.
func (v *Verifier) Explain(ctx context.Context, raw string) Explanation {
	raw = strings.TrimSpace(raw)
	if len(raw) > 7 && strings.EqualFold(raw[:7], "bearer ") {
		raw = strings.TrimLeft(raw[7:], " ")
	}
	j := &judgement{ctx: ctx, v: v, now: v.now(), raw: raw}
	e := Explanation{Accepted: true, Status: 200}
	for i := range checks {
		e.add(j, &checks[i])
	}
	e.Profile = j.profileName()
	if j.app != nil {
		e.App = j.app.id
	}
	if j.verified {
		e.KeyID = j.keys[0].id
	}
	if j.claims != nil && j.claims.Exp.set {
		e.Expires = j.claims.Exp.t.UTC()
	}
	e.Hints = j.hints(e.Code)
	return e
}

// add runs one check and books it.
func (e *Explanation) add(j *judgement, c *check) {
	step := Check{Name: c.name, State: Skipped}
	if c.can == nil || c.can(j) {
		step.State, step.Code = Pass, c.run(j)
		if c.show != nil {
			step.Value = plain(c.show(j))
		}
	}
	if step.Code != "" {
		step.State, step.Note = Fail, reasons[step.Code]
	}
	if step.Code != "" && e.Accepted {
		r := refuse(step.Code, "")
		e.Accepted, e.Status, e.Code, e.Reason = false, r.Status, r.Code, r.Reason
	}
	e.Checks = append(e.Checks, step)
}

// String returns the explanation as lines for a terminal.
func (e Explanation) String() string {
	var b strings.Builder
	if e.Accepted {
		fmt.Fprintf(&b, "accepted: app %s, profile %s, key %s\n", e.App, e.Profile, plain(e.KeyID))
	} else {
		fmt.Fprintf(&b, "refused with %d %s: %s\n", e.Status, e.Code, e.Reason)
	}
	for _, c := range e.Checks {
		line := fmt.Sprintf("  %-7s  %-14s  %s", c.State, c.Name, c.Value)
		if c.Note != "" {
			line += "  (" + c.Note + ")"
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	for _, h := range e.Hints {
		b.WriteString("hint: " + h + "\n")
	}
	return b.String()
}

// hints says what usually lies behind a refusal.
func (j *judgement) hints(code Code) []string {
	switch code {
	case CodeWrongAudience:
		return j.audienceHints()
	case CodeWrongIssuer:
		return j.issuerHints()
	case CodeUnknownKey, CodeKeyUnusable, CodeKeysNotLoaded, CodeKeysTooOld:
		return j.keyHints()
	case CodeNoTenant:
		return []string{"bot message tokens share the issuer but name no tenant; this does not look like a token of the calling service"}
	case CodeExpired, CodeNotYetValid:
		return []string{"this node's clock says " + j.now.UTC().Format(time.RFC3339) + ", and " + j.v.skew.String() + " of difference are forgiven; check the clock"}
	}
	return nil
}

// audienceHints knows the audiences that people mix up.
func (j *judgement) audienceHints() []string {
	var list []string
	for _, aud := range j.claims.Aud {
		bare := strings.TrimPrefix(strings.ToLower(strings.Trim(aud, " /")), "api://")
		switch {
		case aud == "https://api.botframework.com":
			list = append(list, "this is the audience of the meeting token inside a notification (meetingInfo.token), not of the token in the Authorization header")
		case aud != bare && j.v.apps[bare] != nil:
			list = append(list, "the audience differs from app "+bare+" only in case, spaces, slash or api:// prefix; the profile's audiences can list such a form")
		}
	}
	if len(j.claims.Aud) > 1 {
		list = append(list, "every audience of a list must mean the same app")
	}
	return append(list, "configured apps: "+strings.Join(j.v.appIDs(), ", "))
}

// issuerHints names the profiles that would take the issuer.
func (j *judgement) issuerHints() []string {
	iss := j.claims.Iss.s
	var list []string
	for _, p := range append(BuiltinProfiles(), j.v.specs()...) {
		if slices.ContainsFunc(p.pairs(), func(q Pair) bool { return slices.Contains(q.Issuers, iss) }) && p.Name != j.profileName() {
			list = append(list, "profile "+p.Name+" lists this issuer, but the app uses profile "+j.profileName())
		}
	}
	if other := strings.TrimSuffix(iss, "/"); other != iss && slices.Contains(j.app.profile.Issuers, other) {
		list = append(list, "the issuer differs only by its trailing slash; the profile's issuers can list both forms")
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// keyHints says where the key is, and where not.
func (j *judgement) keyHints() []string {
	var list []string
	id := j.header.Kid.s
	for _, p := range j.v.profiles {
		for _, s := range p.sources {
			set := s.set.Load()
			switch {
			case set != nil && len(set.keys[id]) > 0 && p == j.app.profile:
				list = append(list, "the key is in the set of "+s.url+", which is not the one of the token's issuer")
			case set == nil:
				list = append(list, "profile "+p.Name+": "+s.url+" has not given any keys yet")
			case len(set.keys[id]) > 0:
				list = append(list, "the key is in the set of profile "+p.Name+" ("+s.url+"), but the app uses profile "+j.profileName())
			case set.ignored[id] != "":
				list = append(list, "profile "+p.Name+": "+s.url+" lists the key, ignored as "+set.ignored[id])
			default:
				list = append(list, "profile "+p.Name+": the key is not among the "+strconv.Itoa(set.count)+" of "+s.url+", fetched "+set.at.UTC().Format(time.RFC3339))
			}
		}
	}
	return list
}

func (v *Verifier) appIDs() []string {
	var ids []string
	for _, a := range v.apps {
		ids = append(ids, a.id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (v *Verifier) specs() []Profile {
	var list []Profile
	for _, p := range v.profiles {
		list = append(list, p.Profile)
	}
	return list
}

func showSize(j *judgement) string { return strconv.Itoa(len(j.raw)) + " bytes" }

// showHeader shows why the header cannot be read, or what else it says.
func showHeader(j *judgement) string {
	if j.headerErr != nil {
		return j.headerErr.Error()
	}
	if j.header.Cty.set {
		return "cty " + j.header.Cty.s
	}
	return ""
}

func showClaims(j *judgement) string {
	if j.claimsErr != nil {
		return j.claimsErr.Error()
	}
	return ""
}

func showLifetime(j *judgement) string {
	if !j.claims.Nbf.set || !j.claims.Exp.set {
		return ""
	}
	return j.claims.Exp.t.Sub(j.claims.Nbf.t).String()
}

func showKey(j *judgement) string {
	if len(j.keys) == 0 {
		return ""
	}
	k := j.keys[0]
	return fmt.Sprintf("RSA %d bits from %s", k.public.N.BitLen(), k.source.url)
}

// String returns the time, or "absent".
func (i instant) String() string {
	if !i.set {
		return "absent"
	}
	return i.t.UTC().Format(time.RFC3339)
}

// plain makes text of a token fit for a terminal and a log: short, and quoted
// as soon as it holds anything but printable ASCII.
func plain(s string) string {
	s = safe(s)
	if strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return strconv.QuoteToASCII(s)
	}
	return s
}
