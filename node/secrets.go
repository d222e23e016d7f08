package node

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"tandem/bot"
	"tandem/spelling"
)

// secret is what hand-overs to the bot are signed with; empty: they are not.
func (b AppBot) secret() (string, error) {
	switch {
	case b.Secret != "":
		return b.Secret, bot.CheckSecret(b.Secret)
	case b.SecretFile != "":
		return bot.ReadSecret(b.SecretFile)
	}
	return "", nil
}

// joinToken reads the token that this node shows when it asks to be taken in; empty:
// none is configured.
func (c Cluster) joinToken() (string, error) {
	if c.JoinTokenFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(c.JoinTokenFile)
	if err != nil {
		return "", fmt.Errorf("reading cluster.join_token_file: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// botSecretsOf reads the secrets of the bots that this node has. Those of new apps
// wait for a restart, as the apps do.
func (n *Node) botSecretsOf(c Config) (map[string]string, error) {
	fresh := map[string]string{}
	for i, a := range c.Apps {
		if n.botSecrets[a.ID] == nil {
			continue
		}
		secret, err := a.Bot.secret()
		if err != nil {
			return nil, fmt.Errorf("apps[%d]: %w", i, err)
		}
		fresh[a.ID] = secret
	}
	return fresh, nil
}

// looseSecrets says which files with a secret may be read by everybody on this
// machine. The handle keys are not among them: with such a mode the node does
// not start.
func (c Config) looseSecrets() []string {
	files := [][2]string{
		{"public.tls.key_file", c.Public.TLS.KeyFile},
		{"cluster.tls.key_file", c.Cluster.TLS.KeyFile},
		{"admin.tls.key_file", c.Admin.TLS.KeyFile},
		{"cluster.join_token_file", c.Cluster.JoinTokenFile},
	}
	for i, a := range c.Apps {
		at := fmt.Sprintf("apps[%d].graph.", i)
		files = append(files, [2]string{at + "client_secret_file", a.Graph.ClientSecretFile}, [2]string{at + "client_certificate.key_file", a.Graph.Certificate.KeyFile})
	}
	for i, r := range c.Regions {
		files = append(files, [2]string{fmt.Sprintf("regions[%d].admin_token_file", i), r.AdminTokenFile})
	}
	var all []string
	for _, f := range files {
		if f[1] == "" {
			continue
		}
		// A file that is missing is told by the part that reads it.
		if info, err := os.Stat(f[1]); err == nil && spelling.AnyoneMay(info.Mode(), 0o007) {
			all = append(all, fmt.Sprintf("%s: everybody on this machine may use %s (mode %04o); chmod 0600 it", f[0], f[1], info.Mode().Perm()))
		}
	}
	return all
}

// hidden stands in the place of what nobody is shown.
const hidden = "(hidden)"

// shown is the configuration as an operator may see it and send it on: its secrets stand
// in files and in the environment, and are no part of its text (yaml:"-"). What somebody
// put into a URL, or into a key that is called a secret, is hidden all the same.
func (c Config) shown() map[string]any {
	text, err := yaml.Marshal(c)
	plain := map[string]any{}
	if err == nil {
		err = yaml.Unmarshal(text, &plain)
	}
	if err != nil {
		return map[string]any{"error": fmt.Sprintf("writing the configuration: %v", err)}
	}
	return hide("", plain).(map[string]any)
}

// hide walks a value of the configuration; key is its name.
func hide(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, inner := range v {
			out[k] = hide(k, inner)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, inner := range v {
			out[i] = hide(key, inner)
		}
		return out
	case string:
		return hideText(key, v)
	}
	return v
}

func hideText(key, text string) string {
	low := strings.ToLower(key)
	for _, word := range []string{"secret", "password", "passwd", "token", "credential", "apikey", "api_key", "authorization"} {
		if strings.Contains(low, word) && !strings.HasSuffix(low, "_file") && !strings.HasSuffix(low, "_url") && text != "" {
			return hidden
		}
	}
	if u, err := url.Parse(text); err == nil && u.Host != "" && (u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		return u.String() + " " + hidden
	}
	return text
}
