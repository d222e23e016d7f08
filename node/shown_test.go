package node

import (
	"fmt"
	"strings"
	"testing"
)

// TestTheShownConfigurationHoldsNoSecret: whatever a user put where, and all the rest is
// there.
func TestTheShownConfigurationHoldsNoSecret(t *testing.T) {
	t.Parallel()
	const planted = "hunter2canary"
	c := Defaults()
	c.Deployment = "contoso-bots"
	c.Apps = []App{{
		ID: "app-1", Bot: AppBot{URL: "http://user:" + planted + "@127.0.0.1:9442/", HealthURL: "http://127.0.0.1/health?key=" + planted, Secret: planted, SecretFile: "/etc/tandem/bot-secret"},
		Graph:      AppGraph{TokenURL: "https://login.example/t#" + planted, ClientSecret: planted, ClientSecretFile: "/etc/tandem/app-secret"},
		AnswerWith: map[string]any{"nested": []any{map[string]any{"clientPassword": planted, "modalities": "audio"}}},
	}}
	c.Regions = []Region{{Name: "amer", AdminURL: "https://x:" + planted + "@amer.example", AdminTokenFile: "/etc/tandem/amer-token"}}
	text := fmt.Sprint(c.shown())
	if strings.Contains(text, planted) {
		t.Errorf("it shows a secret: %s", text)
	}
	for _, part := range []string{"contoso-bots", "app-1", "http://127.0.0.1:9442/", "/etc/tandem/app-secret", "/etc/tandem/bot-secret", "/etc/tandem/amer-token", "https://login.example/t", "audio", "https://amer.example"} {
		if !strings.Contains(text, part) {
			t.Errorf("it lacks %s: %s", part, text)
		}
	}
}
