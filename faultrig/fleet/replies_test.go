package fleet

import (
	"os"
	"testing"
)

// TestTheNodesTellWhoseReplyWasLate: by the words that a real node writes.
func TestTheNodesTellWhoseReplyWasLate(t *testing.T) {
	f := &Fleet{Dir: t.TempDir()}
	log := `time=2026-11-28T22:09:55.119Z level=WARN msg="hand-over failed" node=emea-2 room=bot event=update call=c1 partition=57 epoch=1 err="handing update of call c1 to the bot of app a: the bot did not reply in time: context deadline exceeded"
time=2026-11-28T22:09:55.120Z level=WARN msg="hand-over failed" node=emea-2 room=bot event=update call=c2 partition=57 epoch=1 err="handing update of call c2 to the bot of app a: the bot cannot be reached"
time=2026-11-28T22:09:55.120Z level=WARN msg="hand-over failed" node=emea-2 room=bot event=update call=c4 partition=57 epoch=1 err="handing update of call c4 to the bot of app a: the bot did not reply in time: context canceled"
time=2026-11-28T22:09:55.121Z level=INFO msg="call is over" node=emea-2 room=bot call=c3 partition=57 epoch=1
`
	if err := os.WriteFile(f.File("emea-2.log"), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]bool{"c1": true, "c2": false, "c3": false, "c4": false, "c": false} {
		if got := f.gaveUp("emea-2", call); got != want {
			t.Errorf("of %s it says %t", call, got)
		}
	}
	if f.gaveUp("emea-1", "c1") {
		t.Error("a node without a log gave up")
	}
}
