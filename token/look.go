package token

import (
	"context"
	"net/http"
)

// Look judges a request's token as Verify would, and leaves no trace: the token is
// neither remembered nor counted, and no keys are fetched because of it. Of an
// unknown key only a fetch could tell whether it is new, so it is in doubt.
func (v *Verifier) Look(ctx context.Context, h http.Header) (Claims, error) {
	raw, code := bearer(h)
	if code == "" && len(raw) > MaxTokenBytes {
		code = CodeTooLarge
	}
	if code != "" {
		return Claims{}, refuse(code, "")
	}
	j := &judgement{v: v, ctx: ctx, now: v.now(), raw: raw}
	for i := range checks {
		code := checks[i].run(j)
		if code == CodeUnknownKey {
			code = CodeKeysInDoubt
		}
		if code != "" {
			return Claims{}, refuse(code, j.profileName())
		}
	}
	return j.result(), nil
}
