package fleet

import (
	"bytes"
	"os"
)

// noReply is in what a node says of a hand-over that its bot did not reply to within
// `bot.timeout`.
const noReply = "the bot did not reply in time: context deadline exceeded"

// gaveUp asks a node's log whether its bot, which is the rig's own, did not reply in
// time about a call: on a busy machine the rig is the one that is late.
func (f *Fleet) gaveUp(node, call string) bool {
	text, err := os.ReadFile(f.File(node + ".log"))
	if err != nil {
		return false // secrets tells of it
	}
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte(`msg="hand-over failed"`)) && bytes.Contains(line, []byte(" call="+call+" ")) &&
			bytes.Contains(line, []byte(noReply)) {
			return true // a node that stops gives up too, and is forgiven nothing
		}
	}
	return false
}
