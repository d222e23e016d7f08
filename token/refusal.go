package token

import (
	"net/http"
	"strconv"
)

// Code names the reason of a refusal. Codes are stable: they label metrics and
// appear in logs. The set is fixed, so it never carries what a caller sent.
type Code string

// The codes, in the order in which a token meets them.
const (
	CodeNoToken          Code = "no_token"           // no Authorization header
	CodeHeaderTypo       Code = "header_typo"        // Authentication instead of Authorization
	CodeSeveralHeaders   Code = "several_headers"    // more than one Authorization header
	CodeNotBearer        Code = "not_bearer"         // another scheme, or nothing after it
	CodeBadCredentials   Code = "bad_credentials"    // bytes that no JWT has
	CodeTooLarge         Code = "too_large"          // longer than MaxTokenBytes
	CodeNotThreeParts    Code = "not_three_parts"    // not header.claims.signature
	CodeBadHeader        Code = "bad_header"         // JOSE header unreadable
	CodeBadAlgorithm     Code = "bad_algorithm"      // not RS256
	CodeBadType          Code = "bad_type"           // typ is no access token's
	CodeUnsupportedJOSE  Code = "unsupported_header" // crit, zip or b64
	CodeBadKeyID         Code = "bad_key_id"         // kid missing or unusable
	CodeBadClaims        Code = "bad_claims"         // claims unreadable
	CodeWrongAudience    Code = "wrong_audience"     // aud names no app of ours
	CodeWrongIssuer      Code = "wrong_issuer"       // iss not on the profile's list
	CodeBadLifetime      Code = "bad_lifetime"       // exp missing, before nbf, or too far
	CodeExpired          Code = "expired"            // exp has passed
	CodeNotYetValid      Code = "not_yet_valid"      // nbf or iat is ahead
	CodeNoTenant         Code = "no_tenant"          // tid missing or unusable
	CodeKeyUnusable      Code = "key_unusable"       // the key set lists the key, but weak, encrypting, …
	CodeUnknownKey       Code = "unknown_key"        // the key set does not list the key
	CodeBadSignature     Code = "bad_signature"      // signature does not match
	CodeTenantNotAllowed Code = "tenant_not_allowed" // tid not on the app's list
	CodeCallerNotAllowed Code = "caller_not_allowed" // azp or appid not on the profile's list
	CodeKeysNotLoaded    Code = "keys_not_loaded"    // no key set has ever arrived
	CodeKeysTooOld       Code = "keys_too_old"       // key endpoint down for longer than MaxKeyAge
	CodeKeysInDoubt      Code = "keys_in_doubt"      // unknown key, and no fetch since the token came
	CodeNoTurn           Code = "no_turn"            // too many tokens wait for their signature check
)

// Refusal is why a token was not accepted. Status is for the caller of the
// webhook; Code and Reason are for logs and metrics only, because a detailed
// answer tells an attacker which check to work on. Reason is a fixed text of
// this package and Profile a name from the configuration: neither ever holds
// a byte of the token.
type Refusal struct {
	Status  int    // 401, 403 or 503
	Code    Code   // stable name
	Reason  string // fixed English sentence without a full stop
	Profile string // profile of the app the token named, if it got that far
}

// Error returns status, code, profile and reason in one line.
func (r *Refusal) Error() string {
	s := "token refused with " + strconv.Itoa(r.Status) + " " + string(r.Code)
	if r.Profile != "" {
		s += " in profile " + r.Profile
	}
	return s + ": " + r.Reason
}

// reasons holds the fixed text of every code.
var reasons = map[Code]string{
	CodeNoToken:          "there is no Authorization header",
	CodeHeaderTypo:       "there is an Authentication header but no Authorization header; the header is Authorization",
	CodeSeveralHeaders:   "there is more than one Authorization header",
	CodeNotBearer:        "the Authorization header does not hold the Bearer scheme and a token",
	CodeBadCredentials:   "the bearer token holds bytes that no JWT has",
	CodeTooLarge:         "the token is longer than 16 KiB",
	CodeNotThreeParts:    "the token does not consist of three parts",
	CodeBadHeader:        "the token's header is not strict base64url of a strict JSON object",
	CodeBadAlgorithm:     "the token's algorithm is not RS256",
	CodeBadType:          "the token's typ is neither JWT nor at+jwt",
	CodeUnsupportedJOSE:  "the token's header asks for crit, zip or b64, which are not supported",
	CodeBadKeyID:         "the token names no usable key id",
	CodeBadClaims:        "the token's claims are not strict base64url of a strict JSON object",
	CodeWrongAudience:    "the token's audience is not an app of this deployment",
	CodeWrongIssuer:      "the token's issuer is not on the list of the app's profile",
	CodeBadLifetime:      "the token's lifetime is missing, empty or longer than 24 hours",
	CodeExpired:          "the token has expired",
	CodeNotYetValid:      "the token is not valid yet",
	CodeNoTenant:         "the token names no tenant",
	CodeKeyUnusable:      "the token's key is in the key set but may not verify tokens",
	CodeUnknownKey:       "the token's key is not in the key set of the app's profile",
	CodeBadSignature:     "the token's signature does not match",
	CodeTenantNotAllowed: "the token's tenant is not on the app's list",
	CodeCallerNotAllowed: "the application that got the token is not on the profile's list of callers",
	CodeKeysNotLoaded:    "no key set has been loaded for the app's profile yet",
	CodeKeysTooOld:       "the key set is older than 24 hours and its endpoint does not answer",
	CodeKeysInDoubt:      "the token's key is unknown and the key set has not been fetched since the token came",
	CodeNoTurn:           "too many tokens wait for their signature check",
}

func (c Code) status() int {
	switch c {
	case CodeTenantNotAllowed, CodeCallerNotAllowed:
		return http.StatusForbidden
	case CodeKeysNotLoaded, CodeKeysTooOld, CodeKeysInDoubt, CodeNoTurn:
		return http.StatusServiceUnavailable
	default:
		return http.StatusUnauthorized
	}
}

func refuse(c Code, profile string) *Refusal {
	return &Refusal{Status: c.status(), Code: c, Reason: reasons[c], Profile: profile}
}
