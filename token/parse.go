package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// base64url is RFC 7515's alphabet without padding, and with zero tail bits:
// one signature has one spelling. Go's decoder skips line breaks even when
// strict, which isTokenText keeps out.
var base64url = base64.RawURLEncoding.Strict()

// header is what is read of the JOSE header. Members that point at keys (jku,
// x5u, jwk, x5c, x5t) are left unread on purpose: RFC 8725 3.10.
type header struct {
	Alg  text    `json:"alg"`
	Kid  text    `json:"kid"`
	Typ  text    `json:"typ"`
	Cty  text    `json:"cty"` // real tokens say "JWT" without being nested: bot-docs issue 2242
	Crit present `json:"crit"`
	Zip  present `json:"zip"`
	B64  present `json:"b64"`
}

// claimSet is what is read of the claims.
type claimSet struct {
	Iss text     `json:"iss"`
	Aud audience `json:"aud"`
	Exp instant  `json:"exp"`
	Nbf instant  `json:"nbf"`
	Iat instant  `json:"iat"` // absent in real tokens
	Tid text     `json:"tid"`

	Azp   text `json:"azp"`
	AppID text `json:"appid"`
}

// tokenText has the bytes of a compact JWS, RFC 7515 7.1. A table: this is looked at for each
// byte of each new token.
var tokenText = func() (in [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") {
		in[c] = true
	}
	return in
}()

// isTokenText tells whether s has only such bytes.
func isTokenText(s string) bool {
	for i := range len(s) {
		if !tokenText[s[i]] {
			return false
		}
	}
	return true
}

// splitThree cuts header.claims.signature; ok is false for any other number of
// parts and for empty ones.
func splitThree(raw string) (head, body, sig string, ok bool) {
	head, rest, _ := strings.Cut(raw, ".")
	body, sig, _ = strings.Cut(rest, ".")
	ok = head != "" && body != "" && sig != "" && !strings.Contains(sig, ".")
	return head, body, sig, ok
}

// readObject reads one part of a token into into, strictly: no repeated names,
// names in their exact case, exact types, valid UTF-8, nothing after the object.
func readObject(part string, into any) error {
	data, err := base64url.DecodeString(part)
	if err != nil {
		return errors.New("it is not strict base64url")
	}
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		// json would read null into a struct without complaint.
		return errors.New("it is not a JSON object")
	}
	return describe(json.Unmarshal(data, into))
}

// describe says where JSON is wrong without repeating what it holds.
func describe(err error) error {
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jsontext.ErrDuplicateName):
		return errors.New("it names a member twice")
	case errors.As(err, &syntactic):
		return fmt.Errorf("it is not JSON from byte %d on", syntactic.ByteOffset)
	case errors.As(err, &semantic):
		return fmt.Errorf("its member %q has the wrong type or range", safe(string(semantic.JSONPointer)))
	default:
		return errors.New("it is not the JSON that was expected")
	}
}

// errWrongType is what the readers below answer; describe adds the place.
var errWrongType = errors.New("wrong type or range")

// text is a member that must be a string when it is there at all.
type text struct {
	set bool
	s   string
}

// UnmarshalJSONFrom reads a string and nothing else, not even null.
func (t *text) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '"' {
		return wrongType(d)
	}
	tok, err := d.ReadToken()
	if err != nil {
		return err
	}
	t.set, t.s = true, tok.String()
	return nil
}

// present remembers only that a member is there.
type present bool

// UnmarshalJSONFrom skips the value, whatever it is.
func (p *present) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*p = true
	return d.SkipValue()
}

// instant is a NumericDate (RFC 7519 2), fractions allowed, from 1970 to 9999.
type instant struct {
	set bool
	t   time.Time
}

// UnmarshalJSONFrom reads a number and nothing else.
func (i *instant) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '0' {
		return wrongType(d)
	}
	raw, err := d.ReadValue()
	if err != nil {
		return err
	}
	const year10000 = 253402300800
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || seconds < 0 || seconds >= year10000 {
		return errWrongType
	}
	whole, fraction := math.Modf(seconds)
	i.set, i.t = true, time.Unix(int64(whole), int64(fraction*1e9))
	return nil
}

// maxAudiences bounds the aud list; real tokens have one audience.
const maxAudiences = 16

// audience is aud: a string, or a list of strings (RFC 7519 4.1.3).
type audience []string

// UnmarshalJSONFrom reads both forms.
func (a *audience) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '[' {
		var list []text
		if err := json.UnmarshalDecode(d, &list); err != nil {
			return err
		}
		if len(list) > maxAudiences {
			return errWrongType
		}
		for _, t := range list {
			*a = append(*a, t.s)
		}
		return nil
	}
	var one text
	if err := one.UnmarshalJSONFrom(d); err != nil {
		return err
	}
	*a = audience{one.s}
	return nil
}

// wrongType tells bad JSON from JSON of another type: PeekKind answers 0 for
// the former and the decoder knows more.
func wrongType(d *jsontext.Decoder) error {
	if err := d.SkipValue(); err != nil {
		return err
	}
	return errWrongType
}

// safe makes outside text fit for a line of a log or a terminal: quoted by the
// caller's %q or left alone when plain, never longer than 120 bytes.
func safe(s string) string {
	const limit = 120
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
