package node

import (
	"os"
	"testing"
)

// TestD12_ReloadChangesTheSecret: a reload takes the new secret of the bot, and one
// that cannot be used leaves the old one in force.
func TestD12_ReloadChangesTheSecret(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1})
	x := s.seats[0]
	signsWith := func() any { return x.node.botSecrets[testApp].Load() }
	if signsWith() != canaryBot {
		t.Fatalf("hand-overs are signed with %q", signsWith())
	}
	must(t, os.WriteFile(s.path("bot-secret"), []byte("short"), 0o600))
	if err := x.node.Reload(x.config()); err == nil || signsWith() != canaryBot {
		t.Errorf("a secret that can be guessed: %v, signed with %q", err, signsWith())
	}
	const next = "another secret of the bots"
	must(t, os.WriteFile(s.path("bot-secret"), []byte(next), 0o600))
	if err := x.node.Reload(x.config()); err != nil || signsWith() != next {
		t.Errorf("a new secret: %v, signed with %q", err, signsWith())
	}
}
