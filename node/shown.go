package node

import (
	"fmt"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"
)

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
