package admin

import (
	"os"
	"strings"
	"testing"

	"tandem/admin/api"
)

func TestTokensAreReloaded(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	r.ask("GET", "/v1/status", "", as(api.RoleRead)).want(t, 200)
	if err := os.WriteFile(r.file, []byte("tokens: nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.door.ReloadTokens(); err == nil {
		t.Error("a bad file was taken")
	}
	r.ask("GET", "/v1/status", "", as(api.RoleRead)).want(t, 200) // the old tokens stay
	if err := os.WriteFile(r.file, []byte("tokens: [{name: new, roles: [read], sha256: "+HashToken("fresh")+"}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.door.ReloadTokens(); err != nil {
		t.Fatal(err)
	}
	r.ask("GET", "/v1/status", "", as(api.RoleRead)).want(t, 401)
	r.ask("GET", "/v1/status", "", "Authorization: Bearer fresh").want(t, 200)
}

func TestTokensFileIsStrict(t *testing.T) {
	t.Parallel()
	hash := HashToken("x")
	for name, c := range map[string]struct{ text, says string }{
		"unknown key":     {"tokens: [{name: a, roles: [read], sha256: " + hash + ", secret: x}]", "secret"},
		"empty":           {"", "EOF"},
		"no tokens":       {"tokens: []", "nobody could enter"},
		"no role":         {"tokens: [{name: a, sha256: " + hash + "}]", "has no roles"},
		"bad role":        {"tokens: [{name: a, roles: [root], sha256: " + hash + "}]", `"root" is none of`},
		"bad name":        {"tokens: [{name: \"a b\", roles: [read], sha256: " + hash + "}]", "its name must match"},
		"same name":       {"tokens: [{name: a, roles: [read], sha256: " + hash + "}, {name: a, roles: [read], sha256: " + HashToken("y") + "}]", "appears twice"},
		"same token":      {"tokens: [{name: a, roles: [read], sha256: " + hash + "}, {name: b, roles: [read], sha256: " + hash + "}]", "token of another"},
		"a secret pasted": {"tokens: [{name: a, roles: [read], sha256: my-secret-token}]", "64 hex digits"},
	} {
		_, err := parseTokens([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want an error that says %q", name, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "my-secret-token") {
			t.Errorf("%s: the error shows the secret", name)
		}
	}
}

func TestB111_TokensFileThatEverybodyMayWrite(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/tokens.yaml"
	if err := os.WriteFile(file, []byte(tokensYAML()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckTokensFile(file); err != nil {
		t.Errorf("a file of mode 0600 is refused: %v", err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := CheckTokensFile(file); err == nil || !strings.Contains(err.Error(), "everybody may write it") {
		t.Errorf("a file of mode 0666 gives %v", err)
	}
}
