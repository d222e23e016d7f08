package bundle

import "regexp"

// hidden stands in the place of what was taken out.
const hidden = "(hidden)"

// secrets are what secrets look like in text. Nodes tell none; this is the second wall,
// for what somebody put where it does not belong, such as a token into a node's name.
var secrets = []struct {
	is   *regexp.Regexp
	left string
}{
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)`), hidden},
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?`), hidden},                                   // a JSON web token
	{regexp.MustCompile(`(?i)\b(bearer|basic)([ :]+)[A-Za-z0-9._~+/=-]{6,}`), "$1$2" + hidden},                                    // of a header
	{regexp.MustCompile(`\btandem_[A-Z2-7]{20,}\b`), hidden},                                                                      // a token of the admin doors
	{regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s"'@]+@`), "$1" + hidden + "@"},                                          // of a URL
	{regexp.MustCompile(`([?&](?:s|sig|signature|token|key|code|secret|access_token|client_secret)=)[^&\s"'\\]+`), "$1" + hidden}, // of a query, such as the signature of a callback URI
	{regexp.MustCompile(`(?i)("?(?:client_?secret|password|passwd|api_?key|private_?key|access_?token)"?\s*[:=]\s*)("(?:[^"\\]|\\.)*"|[^\s,}&"]+)`), "${1}" + `"` + hidden + `"`},
}

// Redact takes out of a text what looks like a secret.
func Redact(text string) string {
	for _, s := range secrets {
		text = s.is.ReplaceAllString(text, s.left)
	}
	return text
}
