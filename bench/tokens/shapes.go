package main

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// headers adds requests that carry a good token in a good or a bad way.
func headers(m *maker, add func(int, string, http.Header)) {
	raw := m.good()
	add(http.StatusUnauthorized, "B01 no Authorization", http.Header{})
	add(http.StatusUnauthorized, "B02 Authentication", http.Header{"Authentication": {"Bearer " + raw}})
	add(http.StatusOK, "B03 both, Authorization counts", http.Header{"Authorization": {"Bearer " + raw}, "Authentication": {"Bearer x"}})
	add(http.StatusUnauthorized, "B04 two Authorization headers", http.Header{"Authorization": {"Bearer " + raw, "Bearer " + raw}})
	add(http.StatusUnauthorized, "B05 Basic", http.Header{"Authorization": {"Basic " + raw}})
	add(http.StatusUnauthorized, "B06 Bearer alone", http.Header{"Authorization": {"Bearer"}})
	add(http.StatusUnauthorized, "B06 Bearer and a space", http.Header{"Authorization": {"Bearer "}})
	add(http.StatusOK, "B07 bearer", http.Header{"Authorization": {"bearer " + raw}})
	add(http.StatusOK, "B07 BEARER", http.Header{"Authorization": {"BEARER " + raw}})
	add(http.StatusUnauthorized, "B09 a tab", http.Header{"Authorization": {"Bearer\t" + raw}})
	add(http.StatusUnauthorized, "B10 two tokens with a comma", http.Header{"Authorization": {"Bearer " + raw + "," + raw}})
	add(http.StatusUnauthorized, "B10 junk behind", http.Header{"Authorization": {"Bearer " + raw + " x"}})
	add(http.StatusUnauthorized, "no scheme", http.Header{"Authorization": {raw}})
	for range 3 {
		add(http.StatusOK, "B52 B53 the same token again", bearer(raw))
	}
}

// shapes adds tokens that are bent after they were signed.
func shapes(m *maker, add func(int, string, http.Header)) {
	fails := func(name, raw string) { add(http.StatusUnauthorized, name, bearer(raw)) }
	raw := m.good()
	part := strings.Split(raw, ".")
	other := strings.Split(m.mint(optionsOfAnother()), ".")
	join := func(parts ...string) string { return strings.Join(parts, ".") }
	b64 := base64.RawURLEncoding.EncodeToString
	plain, err := base64.RawURLEncoding.DecodeString(part[2])
	if err != nil && m.err == nil {
		m.err = err
	}
	flipped := append([]byte(nil), plain...)
	flipped[0] ^= 1
	fails("B46 no signature", join(part[0], part[1], ""))
	fails("B46 a flipped bit", join(part[0], part[1], b64(flipped)))
	fails("B46 a short signature", join(part[0], part[1], b64(plain[:128])))
	fails("B46 padded", raw+"==")
	fails("B46 the standard alphabet", join(part[0], part[1], base64.RawStdEncoding.EncodeToString(append([]byte{0xfb, 0xff}, plain[2:]...))))
	fails("B47 claims of another", join(part[0], other[1], part[2]))
	fails("B47 header of another", join(b64([]byte(`{"alg":"RS256","kid":"x"}`)), part[1], part[2]))
	fails("B48 two parts", join(part[0], part[1]))
	fails("B48 four parts", join(raw, "x"))
	fails("B48 8,000 dots", strings.Repeat(".", 8000))
	fails("B32 five parts", join(part[0], "a", "b", "c", "d"))
	fails("B49 17 KiB", raw+strings.Repeat("A", 17<<10))
	for name, text := range map[string]string{
		"B50 claims that are no JSON":    "not json",
		"B50 claims that are an array":   "[]",
		"B50 claims that are null":       "null",
		"B50 claims with a byte mark":    "\ufeff{}",
		"B50 claims in bad UTF-8":        "{\"a\":\"\xff\"}",
		"B50 claims 5,000 deep":          strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"B43 aud twice":                  `{"aud":"` + app + `","aud":"x"}`,
		"B43 aud twice, the other way":   `{"aud":"x","aud":"` + app + `"}`,
		"something behind the claims":    `{} {}`,
		"claims with a name in capitals": `{"AUD":"` + app + `"}`,
	} {
		fails(name, join(part[0], b64([]byte(text)), part[2]))
	}
	for name, text := range map[string]string{
		"B30 alg twice":           `{"alg":"RS256","alg":"none","kid":"a"}`,
		"B30 kid twice":           `{"alg":"RS256","kid":"a","kid":"b"}`,
		"a header that is null":   `null`,
		"a header that is empty":  `{}`,
		"a header with ALG":       `{"ALG":"RS256","kid":"a"}`,
		"a header that is a text": `"RS256"`,
	} {
		fails(name, join(b64([]byte(text)), part[1], part[2]))
	}
	fails("one letter", "a")
	fails("spaces only", "   ")
	fails("letters beyond ASCII", "ä.ö.ü")
}
