package graph

import (
	"strconv"
	"strings"
)

// ResultCode takes a call's result, code/subcode, for what may be shown and counted: each
// part at most nine digits. Empty: it is nothing of the kind.
func ResultCode(result string) string {
	code, subcode, both := strings.Cut(result, "/")
	if !digits(code) || both && !digits(subcode) {
		return ""
	}
	return result
}

func digits(s string) bool {
	return s != "" && len(s) <= 9 && !strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' })
}

// canceled is the code of a caller who hangs up while it rings (RFC 3261, 21.4.25).
const canceled = 487

// Failed reports whether a call with that result, as Call has it, ended by a failure: the
// code is one of an error, as 408 (8537: no keepAlive, 8544: the bot's media port could not
// be reached), 410 (301005: no media) or 500. Calls that end as calls do have 200, 0 or
// nothing, whatever their subcode is
// (https://learn.microsoft.com/graph/api/call-delete).
func Failed(result string) bool {
	text, _, _ := strings.Cut(ResultCode(result), "/")
	code, err := strconv.Atoi(text)
	return err == nil && code >= 400 && code != canceled
}
