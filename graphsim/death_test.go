package graphsim

import "testing"

func TestARepeatAfterADeathIsAllowed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		dead  string // dies between the two hand-overs
		fence string // is fenced between the two hand-overs
		again string // gets the second one, at the same epoch
		want  int    // handled twice
	}{
		{"it died and came back", "n1", "", "n1", 0},
		{"another one died", "n2", "", "n1", 1},
		{"nobody died", "", "", "n1", 1},
		{"it was cut off, and has the call still", "", "n1", "n1", 1},
		{"its process was stopped while the bot replied", "paused", "", "n1", 0},
		{"another one was stopped", "paused n2", "", "n1", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			first := s.send("incoming")
			s.hand("n1", 1, "incoming", "incoming")
			s.ok(first)
			n := s.send("tone")
			s.hand("n1", 1, "update", "tone")
			s.ok(n)
			switch tt.dead {
			case "":
			case "paused":
				s.cloud.NodePaused("n1")
			case "paused n2":
				s.cloud.NodePaused("n2")
			default:
				s.cloud.NodeDied(tt.dead)
			}
			if tt.fence != "" {
				s.cloud.NodeFenced(tt.fence)
			}
			s.hand(tt.again, 1, "update", "tone")
			if r := s.cloud.Report(); r.HandledTwice != tt.want || r.HandledAgain != 1-tt.want {
				t.Errorf("handled twice %d, again %d; %q", r.HandledTwice, r.HandledAgain, r.Violations)
			}
		})
	}
}
