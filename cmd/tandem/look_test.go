package main

import (
	"testing"

	"tandem/admin/api"
)

// TestUnknownIsNotUnwell: a follower hears from nobody but the leader, and does
// not say of nodes and promises that it knows nothing of that they are not well.
func TestUnknownIsNotUnwell(t *testing.T) {
	for want, p := range map[string]api.Peer{"-": {}, "no": {Known: true}, "yes": {Known: true, Healthy: true}} {
		if got := health(p); got != want {
			t.Errorf("of %+v it says %s, want %s", p, got, want)
		}
	}
	for want, p := range map[string]api.Promise{"?": {Unknown: true}, "DOES NOT HOLD": {}, "holds": {Holds: true}} {
		if got := verdictOn(p); got != want {
			t.Errorf("of %+v it says %s, want %s", p, got, want)
		}
	}
}
