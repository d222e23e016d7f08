package console

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tandem/admin/api"
)

// BotVersion is one version of an app's bot, as the pages show it.
type BotVersion struct {
	api.BotVersion
	Share string // of the new calls, by its rule, as soon as it is not halted; empty: it has none
	Level string // the pill's class
	Words string // what its standing means
	Why   string // why its rule is as it is
}

// Halted reports whether it gets no new calls.
func (v BotVersion) Halted() bool { return v.Stands == api.StandsHalted }

// ask finds the version that a change is asked about, and the others that would take its calls.
func (n *Nodes) ask(q url.Values) {
	for i, v := range n.Versions {
		if q.Get("app") == string(v.App) && q.Get("version") == v.Version && slices.Contains([]string{"halt", "resume", "end"}, q.Get("act")) {
			n.Asked = &n.Versions[i]
		}
	}
	for _, v := range n.Versions {
		if n.Asked != nil && v.App == n.Asked.App && v.Version != n.Asked.Version && len(v.Nodes) > 0 && !v.Halted() {
			n.Others = append(n.Others, v)
		}
	}
}

// standing is what a version's standing means, in words, and how it looks.
var standing = map[string]struct{ level, words string }{
	api.StandsHalted:   {"bad", "new calls go to the other versions"},
	api.StandsAlone:    {"warn", "no node has a healthy bot of another version: it takes the calls"},
	api.StandsUnproven: {"warn", "not proven yet: it gets few calls"},
	api.StandsProven:   {"good", "its calls end as the others' do"},
	api.StandsWatched:  {"warn", "it is new, and is halted if its calls end worse than the others'"},
	api.StandsUsual:    {"", "what newer versions are compared with"},
}

// botVersions are the versions that bots tell of; none: no bot says what it is.
func botVersions(a *asking) ([]BotVersion, error) {
	var all api.List[api.BotVersion]
	var refused *Refusal
	switch _, err := a.get(&all, "/v1/rollouts"); {
	case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
		return nil, nil // a region of older software
	case err != nil:
		return nil, err
	}
	var out []BotVersion
	for _, v := range all.Items {
		b := BotVersion{BotVersion: v, Level: standing[v.Stands].level, Words: standing[v.Stands].words}
		if r := v.Rule; r != nil {
			b.Why = strings.TrimPrefix(r.Reason, "halted: ")
			b.Share = strconv.FormatFloat(float64(r.Share)/100, 'f', -1, 64) + " %"
		}
		if v.Version != "" || v.Rule != nil {
			out = append(out, b)
		}
	}
	return out, nil
}
