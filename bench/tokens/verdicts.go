package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tandem/graphsim"
	"tandem/token"
)

// verdicts judges every sample and prints how many came out as wanted.
func verdicts(ctx context.Context, cloud *graphsim.Cloud, v *token.Verifier, verbose bool) error {
	m := &maker{cloud: cloud}
	all := samples(m)
	if m.err != nil {
		return fmt.Errorf("making the samples: %w", m.err)
	}
	good, wrong, doubted := 0, 0, 0
	for _, s := range all {
		status, code := judge(ctx, v, s.header)
		if s.status == http.StatusOK {
			good++
		}
		verdict := "ok"
		switch {
		case status == s.status:
		case s.status == http.StatusUnauthorized && code == token.CodeKeysInDoubt:
			doubted++ // the set was fetched for another unknown key, this minute
		default:
			verdict = "WRONG"
			wrong++
		}
		if verbose || verdict != "ok" {
			fmt.Printf("%-6s %-60s wanted %d, is %d %s\n", verdict, s.name, s.status, status, code)
		}
	}
	fmt.Printf("verdicts      %d tokens, %d good and %d bad: %d as wanted (%d with 503 for 401, of unknown keys), %d not\n", len(all), good, len(all)-good, len(all)-wrong, doubted, wrong)
	switch {
	case len(all) < 100:
		return fmt.Errorf("only %d tokens were judged, 100 were promised", len(all))
	case wrong > 0:
		return fmt.Errorf("%d verdicts are not the wanted ones", wrong)
	}
	return nil
}

// judge returns the status of the public door's answer, 200 standing for a token
// that passes, and the refusal's code.
func judge(ctx context.Context, v *token.Verifier, h http.Header) (int, token.Code) {
	_, err := v.Verify(ctx, h)
	if err == nil {
		return http.StatusOK, ""
	}
	if no := (*token.Refusal)(nil); errors.As(err, &no) {
		return no.Status, no.Code
	}
	return http.StatusInternalServerError, ""
}

// sample is one request's header and the wanted status.
type sample struct {
	name   string
	status int
	header http.Header
}

// maker makes tokens and keeps the first failure.
type maker struct {
	cloud *graphsim.Cloud
	err   error
}

// mint returns a token as the issuer would make it.
func (m *maker) mint(o graphsim.TokenOptions) string {
	raw, err := m.cloud.Mint(o)
	if err != nil && m.err == nil {
		m.err = err
	}
	return raw
}

func (m *maker) good() string { return m.mint(graphsim.TokenOptions{}) }

// bearer puts a token where it belongs.
func bearer(raw string) http.Header { return http.Header{"Authorization": {"Bearer " + raw}} }

// samples returns all of them, the good ones first. Their numbers are those of
// SECURITY.md.
func samples(m *maker) []sample {
	var all []sample
	add := func(status int, name string, h http.Header) { all = append(all, sample{name, status, h}) }
	passes := func(name string, o graphsim.TokenOptions) { add(http.StatusOK, name, bearer(m.mint(o))) }
	fails := func(name string, o graphsim.TokenOptions) {
		add(http.StatusUnauthorized, name, bearer(m.mint(o)))
	}
	headers(m, add)
	claims := func(kv ...any) graphsim.TokenOptions { return graphsim.TokenOptions{Claims: members(kv)} }
	header := func(kv ...any) graphsim.TokenOptions { return graphsim.TokenOptions{Header: members(kv)} }

	passes("as the service sends it", graphsim.TokenOptions{})
	passes("B44 issuer graph.microsoft.com", graphsim.TokenOptions{Issuer: graphsim.IssuerGraph})
	passes("B34 expired 4 min 50 s ago", graphsim.TokenOptions{Life: 10 * time.Second, Age: 5 * time.Minute})
	passes("B35 valid from 4 min 50 s on", graphsim.TokenOptions{Age: -290 * time.Second})
	passes("B40 fractional dates", claims("nbf", float64(time.Now().Unix())-0.5, "exp", float64(time.Now().Unix())+99.25))
	passes("B29 typ at+jwt", header("typ", "at+jwt"))
	passes("without typ and cty", header("typ", nil, "cty", nil))
	passes("with iat", claims("iat", time.Now().Unix()))
	passes("B27 jku, x5u and jwk in the header are not followed", header("jku", "http://127.0.0.1:1/k", "x5u", "http://127.0.0.1:1/x"))
	passes("B42 an array with our audience only", claims("aud", []string{app}))
	passes("one hour of life", graphsim.TokenOptions{Life: time.Hour})

	for _, alg := range []any{"none", "None", "nOnE", "", "rs256", "HS256", "HS384", "RS384", "RS512", "PS256", "ES256", "EdDSA", nil, []string{"RS256"}, 256} {
		fails(fmt.Sprintf("B13-B18 alg %v", alg), header("alg", alg))
	}
	fails("B13 alg none, without a signature", graphsim.TokenOptions{Header: map[string]any{"alg": "none"}, Unsigned: true})
	fails("B23 unknown key", graphsim.TokenOptions{Key: graphsim.KeyUnknown})
	fails("B46 another key under a known id", graphsim.TokenOptions{Key: graphsim.KeyStranger})
	for _, kid := range []any{nil, "", "../../dev/null", "' OR 1=1 --", "a\r\nb", "a\x00b", 7, true, []string{"a"}, map[string]any{}} {
		fails(fmt.Sprintf("B25 B26 kid %.30q", fmt.Sprint(kid)), header("kid", kid))
	}
	fails("B28 crit", header("crit", []string{"exp"}))
	fails("B28 b64 false", header("b64", false, "crit", []string{"b64"}))
	fails("B29 typ a number", header("typ", 1))
	fails("typ of an ID token", header("typ", "id+jwt"))
	fails("B31 zip", header("zip", "DEF"))

	now := time.Now().Unix()
	fails("B33 expired an hour ago", graphsim.TokenOptions{Life: time.Minute, Age: 61 * time.Minute})
	fails("B34 expired 5 min 20 s ago", graphsim.TokenOptions{Life: 10 * time.Second, Age: 330 * time.Second})
	fails("B35 valid from 5 min 20 s on", graphsim.TokenOptions{Age: -320 * time.Second})
	for _, exp := range []any{nil, "soon", fmt.Sprint(now + 100), -1, 0, true, []any{now + 100}} {
		fails(fmt.Sprintf("B36 exp %v", exp), claims("exp", exp))
	}
	fails("B37 valid until the year 9999", claims("exp", int64(253402300799)))
	fails("B37 25 hours of life", graphsim.TokenOptions{Life: 25 * time.Hour})
	fails("B38 exp before nbf", claims("nbf", now, "exp", now-60))
	fails("B39 iat in two hours", claims("iat", now+7200))
	fails("nbf a string", claims("nbf", "now"))
	for _, aud := range []any{
		nil, "", "11111111-2222-3333-4444-555555555555", "0EFC74F7-41C3-47A4-8775-7259BFEF4241", app + " ", " " + app,
		"api://" + app, []string{}, []string{app, "other"}, map[string]any{"a": app}, 5, true,
	} {
		fails(fmt.Sprintf("B41 B42 aud %v", aud), claims("aud", aud))
	}
	for _, iss := range []any{
		nil, "", "https://api.botframework.com.evil.example", "http://api.botframework.com", "HTTPS://API.BOTFRAMEWORK.COM",
		"https://sts.windows.net/" + tenant + "/", "https://api.botframework.us", []string{graphsim.IssuerGraph}, 1,
	} {
		fails(fmt.Sprintf("B44 iss %v", iss), claims("iss", iss))
	}
	for _, tid := range []any{nil, "", []string{tenant}, 1} {
		fails(fmt.Sprintf("B45 tid %v", tid), claims("tid", tid))
	}
	add(http.StatusForbidden, "B45 a tenant that is not on the list", bearer(m.mint(graphsim.TokenOptions{Tenant: "99999999-aaaa-bbbb-cccc-dddddddddddd"})))
	shapes(m, add)
	return all
}

// members makes a map of names and values in turn.
func members(kv []any) map[string]any {
	out := map[string]any{}
	for i := 0; i+1 < len(kv); i += 2 {
		if name, ok := kv[i].(string); ok {
			out[name] = kv[i+1]
		}
	}
	return out
}
