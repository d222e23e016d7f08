package token

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestAlgorithm(t *testing.T)     { judgeAll(t, algorithmCases()) }
func TestKeysOfTheSet(t *testing.T)  { judgeAll(t, setKeyCases()) }
func TestKeyID(t *testing.T)         { judgeAll(t, keyIDCases()) }
func TestHeaderMembers(t *testing.T) { judgeAll(t, headerCases()) }
func TestTimes(t *testing.T)         { judgeAll(t, timeCases()) }
func TestAudience(t *testing.T)      { judgeAll(t, audienceCases()) }
func TestB44_Issuer(t *testing.T)    { judgeAll(t, issuerCases()) }
func TestB45_Tenant(t *testing.T)    { judgeAll(t, tenantCases()) }
func TestShape(t *testing.T)         { judgeAll(t, shapeCases()) }
func TestRealTokens(t *testing.T)    { judgeAll(t, realCases(t)) }

func algorithmCases() []verdictCase {
	none := func(alg string, withKid bool, sig string) func(bench) string {
		return func(b bench) string {
			h := b.header.with(obj{"alg": alg})
			if !withKid {
				delete(h, "kid")
			}
			return b64([]byte(jsonText(h))) + "." + b64([]byte(jsonText(b.claims))) + "." + sig
		}
	}
	return []verdictCase{
		{"B13 alg none without signature", none("none", true, ""), CodeNotThreeParts},
		{"B13 alg none with a signature", none("none", true, b64(make([]byte, 256))), CodeBadAlgorithm},
		{"B13 alg None", none("None", true, b64([]byte{1})), CodeBadAlgorithm},
		{"B13 alg nOnE without kid", none("nOnE", false, b64([]byte{1})), CodeBadAlgorithm},
		{"B14 HS256 with the public key as PEM SPKI", hmacWith(func() []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER()})
		}), CodeBadAlgorithm},
		{"B14 HS256 with the public key as PEM PKCS1", hmacWith(func() []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&keyA().PublicKey)})
		}), CodeBadAlgorithm},
		{"B14 HS256 with the public key as DER", hmacWith(publicDER), CodeBadAlgorithm},
		{"B14 HS256 with the modulus", hmacWith(func() []byte { return keyA().N.Bytes() }), CodeBadAlgorithm},
		{"B15 HS256 with an empty secret", hmacWith(func() []byte { return []byte{} }), CodeBadAlgorithm},
		{"B16 PS256", otherMethod(jwt.SigningMethodPS256, rsaKey), CodeBadAlgorithm},
		{"B16 ES256", otherMethod(jwt.SigningMethodES256, ecKey), CodeBadAlgorithm},
		{"B16 EdDSA", otherMethod(jwt.SigningMethodEdDSA, edKey), CodeBadAlgorithm},
		{"B16 PS256 signature under RS256", func(b bench) string {
			return mintWith(b.header, b.claims, jwt.SigningMethodPS256, keyA())
		}, CodeBadSignature},
		{"B17 alg in lower case", head("alg", "rs256"), CodeBadAlgorithm},
		{"B17 alg missing", head("alg", drop{}), CodeBadAlgorithm},
		{"B17 alg an array", head("alg", []string{"RS256"}), CodeBadHeader},
		{"B17 alg null", head("alg", nil), CodeBadHeader},
		{"B17 alg under another name", rawHead(`{"ALG":"RS256","kid":"a"}`), CodeBadAlgorithm},
		{"B18 header RS384, signature RS256", head("alg", "RS384"), CodeBadAlgorithm},
		{"B18 header RS512, signature RS512", otherMethod(jwt.SigningMethodRS512, rsaKey), CodeBadAlgorithm},
		{"B18 header RS256, signature RS384", func(b bench) string {
			return mintWith(b.header, b.claims, jwt.SigningMethodRS384, keyA())
		}, CodeBadSignature},
	}
}

func setKeyCases() []verdictCase {
	return []verdictCase{
		{"B19 the key's own alg is RS384", with("rs384", keyB), CodeKeyUnusable},
		{"B20 the key's use is enc", with("enc", keyB), CodeKeyUnusable},
		{"B21 RSA key of 1024 bits", with("weak", weakKey), CodeKeyUnusable},
		{"B22 RSA exponent 1", with("e1", keyB), CodeKeyUnusable},
		{"B22 RSA modulus of 65536 bits", with("huge", keyB), CodeKeyUnusable},
	}
}

func keyIDCases() []verdictCase {
	return []verdictCase{
		{"B23 unknown kid", with("b", keyB), CodeUnknownKey},
		{"B23 known kid, another key", with("a", keyB), CodeBadSignature},
		{"B25 kid ../../dev/null", head("kid", "../../dev/null"), CodeUnknownKey},
		{"B25 kid SQL", head("kid", "a'OR'1'='1"), CodeUnknownKey},
		{"B25 kid SQL with spaces", head("kid", "a' OR '1'='1"), CodeBadKeyID},
		{"B25 kid CR LF", head("kid", "a\r\nX-Evil: 1"), CodeBadKeyID},
		{"B25 kid NUL", head("kid", "a\x00"), CodeBadKeyID},
		{"B25 kid 64 KiB", head("kid", strings.Repeat("a", 64<<10)), CodeTooLarge},
		{"B25 kid 8 KiB", head("kid", strings.Repeat("a", 8<<10)), CodeBadKeyID},
		{"B25 kid a number", head("kid", 1), CodeBadHeader},
		{"B25 kid null", head("kid", nil), CodeBadHeader},
		{"B25 kid empty", head("kid", ""), CodeBadKeyID},
		{"B25 kid in another case", head("kid", "A"), CodeUnknownKey},
		{"B26 no kid", head("kid", drop{}), CodeBadKeyID},
		{"B27 jku", func(b bench) string { return b.sign(obj{"jku": b.stray}, nil) }, good},
		{"B27 x5u", func(b bench) string { return b.sign(obj{"x5u": b.stray}, nil) }, good},
		{"B27 jwk of the attacker", func(b bench) string {
			return mint(b.header.with(obj{"jwk": jwk("a", keyB())}), b.claims, keyB())
		}, CodeBadSignature},
		{"B27 jku and kid of the attacker", func(b bench) string {
			return mint(b.header.with(obj{"kid": "evil", "jku": b.stray}), b.claims, keyB())
		}, CodeUnknownKey},
		{"B27 x5c", func(b bench) string { return b.sign(obj{"x5c": []string{"AAAA"}}, nil) }, good},
	}
}

func headerCases() []verdictCase {
	return []verdictCase{
		{"B28 crit unknown", head("crit", []string{"exp"}), CodeUnsupportedJOSE},
		{"B28 crit empty", head("crit", []string{}), CodeUnsupportedJOSE},
		{"B28 b64 false", head("b64", false), CodeUnsupportedJOSE},
		{"B28 b64 false with crit", func(b bench) string {
			return b.sign(obj{"b64": false, "crit": []string{"b64"}}, nil)
		}, CodeUnsupportedJOSE},
		{"B29 typ a number", head("typ", 1), CodeBadHeader},
		{"B29 typ at+jwt", head("typ", "at+jwt"), good},
		{"B29 typ application/at+jwt", head("typ", "application/AT+JWT"), good},
		{"B29 typ missing", head("typ", drop{}), good},
		{"B29 typ of another kind", head("typ", "logout+jwt"), CodeBadType},
		{"B30 alg twice", rawHead(`{"alg":"none",%H}`), CodeBadHeader},
		{"B30 kid twice", rawHead(`{%H,"kid":"a"}`), CodeBadHeader},
		{"B30 unknown member twice", rawHead(`{%H,"x":1,"x":1}`), CodeBadHeader},
		{"B31 zip", head("zip", "DEF"), CodeUnsupportedJOSE},
		{"B32 JWE of five parts", func(bench) string { return "eyJhbGciOiJSU0EtT0FFUCJ9.AAAA.AAAA.AAAA.AAAA" }, CodeNotThreeParts},
	}
}

func timeCases() []verdictCase {
	return []verdictCase{
		{"B33 expired by 1 h", at("exp", -time.Hour), CodeExpired},
		{"B33 the claims of Microsoft's page as published in 2016", func(b bench) string {
			return b.sign(nil, obj{"iat": 1466741440, "nbf": 1466741440, "exp": 1466745340})
		}, CodeExpired},
		{"B34 F16 exp 4 m 50 s ago", at("exp", -290*time.Second), good},
		{"B34 F16 exp 4 m 59 s ago", at("exp", -299*time.Second), good},
		{"B34 F16 exp 5 m ago", at("exp", -300*time.Second), CodeExpired},
		{"B34 F16 exp 5 m 01 s ago", at("exp", -301*time.Second), CodeExpired},
		{"B34 F16 exp 5 m 20 s ago", at("exp", -320*time.Second), CodeExpired},
		{"B35 F16 nbf 4 m 50 s ahead", at("nbf", 290*time.Second), good},
		{"B35 F16 nbf 4 m 59 s ahead", at("nbf", 299*time.Second), good},
		{"B35 F16 nbf 5 m 01 s ahead", at("nbf", 301*time.Second), CodeNotYetValid},
		{"B35 F16 nbf 5 m 20 s ahead", at("nbf", 320*time.Second), CodeNotYetValid},
		{"B35 nbf missing", body("nbf", drop{}), good},
		{"B36 exp missing", body("exp", drop{}), CodeBadLifetime},
		{"B36 exp and nbf missing", func(b bench) string { return b.sign(nil, obj{"exp": drop{}, "nbf": drop{}}) }, CodeBadLifetime},
		{"B36 exp null", body("exp", nil), CodeBadClaims},
		{"B36 exp a string", body("exp", "4102444800"), CodeBadClaims},
		{"B36 exp negative", body("exp", -1), CodeBadClaims},
		{"B36 exp 1e400", func(b bench) string { return b.sign(nil, obj{"exp": json.Number("1e400")}) }, CodeBadClaims},
		{"B36 exp in another case", func(b bench) string { return b.sign(nil, obj{"exp": drop{}, "EXP": b.now.Add(time.Minute).Unix()}) }, CodeBadLifetime},
		{"B37 exp in the year 9999", body("exp", 253402300799), CodeBadLifetime},
		{"B37 exp in the year 10000", body("exp", 253402300800), CodeBadClaims},
		{"B37 exp in the year 9999 without nbf", func(b bench) string { return b.sign(nil, obj{"exp": 253402300799, "nbf": drop{}}) }, CodeBadLifetime},
		{"B37 exp 24 h after nbf", at("exp", 24*time.Hour), good},
		{"B37 exp 24 h 1 s after nbf", at("exp", 24*time.Hour+time.Second), CodeBadLifetime},
		{"B38 exp before nbf", func(b bench) string {
			return b.sign(nil, obj{"exp": b.now.Unix(), "nbf": b.now.Unix() + 1})
		}, CodeBadLifetime},
		{"B38 exp and nbf the same", func(b bench) string { return b.sign(nil, obj{"exp": b.now.Unix(), "nbf": b.now.Unix()}) }, CodeBadLifetime},
		{"B39 iat 2 h ahead", at("iat", 2*time.Hour), CodeNotYetValid},
		{"B39 iat now", at("iat", 0), good},
		{"B40 fractional dates", func(b bench) string {
			return b.sign(nil, obj{"exp": float64(b.now.Unix()) + 300.5, "nbf": float64(b.now.Unix()) - 0.25})
		}, good},
	}
}

func audienceCases() []verdictCase {
	return []verdictCase{
		{"B41 aud missing", body("aud", drop{}), CodeWrongAudience},
		{"B41 aud empty", body("aud", ""), CodeWrongAudience},
		{"B41 aud of others", body("aud", "9fd4ef3d-f7af-4f74-947d-9675b81d9fae"), CodeWrongAudience},
		{"B41 aud an object", body("aud", obj{"a": ourApp}), CodeBadClaims},
		{"B41 aud a number", body("aud", 5), CodeBadClaims},
		{"B41 aud in upper case", body("aud", strings.ToUpper(ourApp)), CodeWrongAudience},
		{"B41 aud with a trailing space", body("aud", ourApp+" "), CodeWrongAudience},
		{"B41 aud with api://", body("aud", "api://"+ourApp), CodeWrongAudience},
		{"B42 aud a list of ours", body("aud", []string{ourApp}), good},
		{"B42 aud a list of ours twice", body("aud", []string{ourApp, ourApp}), good},
		{"B42 aud a list with others", body("aud", []string{ourApp, "https://graph.microsoft.com"}), CodeWrongAudience},
		{"B42 aud a list with others first", body("aud", []string{"https://graph.microsoft.com", ourApp}), CodeWrongAudience},
		{"B42 aud a list of two apps of ours", body("aud", []string{ourApp, secondApp}), CodeWrongAudience},
		{"B42 aud an empty list", body("aud", []string{}), CodeWrongAudience},
		{"B42 aud a list with a number", body("aud", []any{ourApp, 1}), CodeBadClaims},
		{"B42 aud a list of 17", body("aud", strings.Split(strings.Repeat(ourApp+" ", 17), " ")[:17]), CodeBadClaims},
		{"B43 aud twice, ours last", rawBody(`{"aud":"other",%C}`), CodeBadClaims},
		{"B43 aud twice, ours first", rawBody(`{%C,"aud":"other"}`), CodeBadClaims},
		{"B43 aud twice, once escaped", rawBody(`{%C,"\u0061ud":"other"}`), CodeBadClaims},
		{"B51 token of another bot", body("aud", "571c643a-c513-441e-9ca2-e01b48b9a0de"), CodeWrongAudience},
	}
}

func issuerCases() []verdictCase {
	return []verdictCase{
		{"B44 iss missing", body("iss", drop{}), CodeWrongIssuer},
		{"B44 iss with a slash", body("iss", ourIssuer+"/"), CodeWrongIssuer},
		{"B44 iss with http", body("iss", "http://api.botframework.com"), CodeWrongIssuer},
		{"B44 iss with a suffix", body("iss", ourIssuer+".evil.example"), CodeWrongIssuer},
		{"B44 iss in upper case", body("iss", strings.ToUpper(ourIssuer)), CodeWrongIssuer},
		{"B44 iss an array", body("iss", []string{ourIssuer}), CodeBadClaims},
		{"B44 iss sts.windows.net", body("iss", "https://sts.windows.net/"+ourTenant+"/"), CodeWrongIssuer},
		{"B44 iss graph.microsoft.com", body("iss", "https://graph.microsoft.com"), good},
	}
}

func tenantCases() []verdictCase {
	return []verdictCase{
		{"B45 tid missing", body("tid", drop{}), CodeNoTenant},
		{"B45 tid empty", body("tid", ""), CodeNoTenant},
		{"B45 tid an array", body("tid", []string{ourTenant}), CodeBadClaims},
		{"B45 tid with a line break", body("tid", "a\nb"), CodeNoTenant},
		{"B45 tid of 65 bytes", body("tid", strings.Repeat("a", 65)), CodeNoTenant},
		{"B45 tid in upper case", body("tid", strings.ToUpper(ourTenant)), good},
		{"B45 tid not on the app's list", func(b bench) string { return b.sign(nil, obj{"aud": secondApp, "tid": "other-tenant"}) }, CodeTenantNotAllowed},
		{"B45 tid not on the list, signature bad: 401 before 403", func(b bench) string {
			return mint(b.header, b.claims.with(obj{"aud": secondApp, "tid": "other-tenant"}), keyB())
		}, CodeBadSignature},
	}
}

func shapeCases() []verdictCase {
	return []verdictCase{
		{"B46 signature stripped", parts(func(h, c, _ string) string { return h + "." + c + "." }), CodeNotThreeParts},
		{"B46 signature flipped", parts(func(h, c, s string) string { return h + "." + c + "." + flip(s, 10) }), CodeBadSignature},
		{"B46 signature too short", parts(func(h, c, s string) string { return h + "." + c + "." + s[:len(s)-4] }), CodeBadSignature},
		{"B46 signature with tail bits", parts(func(h, c, s string) string { return h + "." + c + "." + tailBits(s) }), CodeBadSignature},
		{"B46 signature padded", parts(func(h, c, s string) string { return h + "." + c + "." + s + "==" }), CodeBadCredentials},
		{"B46 signature in the standard alphabet", parts(func(h, c, s string) string {
			return h + "." + c + "." + base64.RawStdEncoding.EncodeToString(append([]byte{0xfb, 0xff}, s[:254]...))
		}), CodeBadCredentials},
		{"B46 line break in the signature", parts(func(h, c, s string) string { return h + "." + c + "." + s[:8] + "\n" + s[8:] }), CodeBadCredentials},
		{"B47 payload swapped", func(b bench) string {
			p := strings.Split(b.sign(nil, nil), ".")
			return p[0] + "." + b64([]byte(jsonText(b.claims.with(obj{"tid": "evil"})))) + "." + p[2]
		}, CodeBadSignature},
		{"B48 two parts", parts(func(h, c, _ string) string { return h + "." + c }), CodeNotThreeParts},
		{"B48 four parts", parts(func(h, c, s string) string { return h + "." + c + "." + s + "." }), CodeNotThreeParts},
		{"B48 8000 dots", func(bench) string { return strings.Repeat(".", 8000) }, CodeNotThreeParts},
		{"B48 no dot", func(bench) string { return "abc" }, CodeNotThreeParts},
		{"B49 longer than 16 KiB", body("pad", strings.Repeat("x", 13<<10)), CodeTooLarge},
		{"B49 just below 16 KiB", body("pad", strings.Repeat("x", 11<<10)), good},
		{"B50 payload not JSON", rawBody(`hello`), CodeBadClaims},
		{"B50 payload an array", rawBody(`[{%C}]`), CodeBadClaims},
		{"B50 payload null", rawBody(`null`), CodeBadClaims},
		{"B50 payload with a BOM", rawBody("\xef\xbb\xbf{%C}"), CodeBadClaims},
		{"B50 payload with invalid UTF-8", rawBody("{%C,\"x\":\"\xff\"}"), CodeBadClaims},
		{"B50 payload of depth 20000", rawBody(`{%C,"x":` + strings.Repeat("[", 20000) + "}"), CodeTooLarge},
		{"B50 payload of depth 2000, unclosed", rawBody(`{%C,"x":` + strings.Repeat(`{"a":`, 2000)), CodeBadClaims},
		{"B50 payload with trailing data", rawBody(`{%C}{}`), CodeBadClaims},
		{"B50 payload not base64url", func(b bench) string { return b64([]byte(jsonText(b.header))) + ".A.AAAA" }, CodeBadClaims},
		{"B50 header not JSON", rawHead(`hello`), CodeBadHeader},
		{"B50 header null", rawHead(`null`), CodeBadHeader},
	}
}

func realCases(t *testing.T) []verdictCase {
	return []verdictCase{
		{"real calling token of 2022: 300 s, no iat, cty JWT", sample(t, "token-real-teams-callback-2022-decoded.json", false), good},
		{"claims of Microsoft's page: 3900 s, with iat", sample(t, "token-claims-doc.json", false), good},
		{"bot message token of 2022: no tid", sample(t, "token-real-channel-message-2022-decoded.json", false), CodeNoTenant},
		{"meeting join token of 2021: another audience", sample(t, "token-real-meeting-join-2021-decoded.json", true), CodeWrongAudience},
	}
}

// TestVerdictTable counts the tokens, so that a table lost on the way is noticed.
func TestVerdictTable(t *testing.T) {
	n := 0
	for _, list := range [][]verdictCase{
		algorithmCases(), setKeyCases(), keyIDCases(), headerCases(), timeCases(),
		audienceCases(), issuerCases(), tenantCases(), shapeCases(), realCases(t),
	} {
		n += len(list)
	}
	if n < 100 {
		t.Errorf("there are %d tokens in the tables, wanted at least 100", n)
	}
}
