package console

import (
	"net/http"
	"strconv"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// Rules is the page of the region's rules.
type Rules struct {
	api.RulesNow
	History []ownership.Rules
	Text    string // in the form: the candidate
	Note    string
	Old     *api.RulesVersion // an earlier version, where one is looked at
	Diff    *api.RulesDiff    // of the candidate
	Set     bool              // the candidate was tried: it can be set
}

func rules(a *asking) (string, any, error) {
	out := Rules{}
	if _, err := a.get(&out.RulesNow, "/v1/rules"); err != nil {
		return "", nil, err
	}
	var all api.List[ownership.Rules]
	if _, err := a.get(&all, "/v1/rules/history"); err != nil {
		return "", nil, err
	}
	out.History, out.Text = all.Items, out.RulesNow.Text
	if n := a.q.Get("number"); n != "" {
		out.Old = &api.RulesVersion{}
		if _, err := a.get(out.Old, v1("rules", "history", n)); err != nil {
			return "", nil, err
		}
	}
	if a.form != nil {
		out.Text, out.Note = a.form.Get("text"), a.form.Get("note")
	}
	return "rules", out, nil
}

// try holds a candidate against the calls that are remembered. It changes nothing, and comes
// as a form because a document is too long for an address.
func try(a *asking) (string, any, error) {
	template, body, err := rules(a)
	if err != nil {
		return "", nil, err
	}
	out, ok := body.(Rules)
	if !ok {
		return template, body, nil
	}
	out.Diff = &api.RulesDiff{}
	if _, err := a.source.Ask(a.ctx, http.MethodPost, "/v1/rules/diff", api.RulesCandidate{Text: out.Text}, out.Diff); err != nil {
		return "", nil, err
	}
	out.Set = true
	return template, out, nil
}

// Tokens is the page of the region's tokens.
type Tokens struct {
	Items []api.TokenInfo
	Made  *api.TokenMade // just now: its secret is shown this once
}

func tokens(a *asking) (string, any, error) {
	var all api.List[api.TokenInfo]
	_, err := a.get(&all, "/v1/tokens")
	return "tokens", Tokens{Items: all.Items}, err
}

func audit(a *asking) (string, any, error) {
	var all api.List[api.Change]
	_, err := a.get(&all, "/v1/audit", "limit", "200")
	return "audit", all.Items, err
}

func peers(a *asking) (string, any, error) {
	var all api.List[api.Peer]
	_, err := a.get(&all, "/v1/raft/peers")
	return "peers", all.Items, err
}

// Ending is one certificate, key or token that ends.
type Ending struct {
	Node ownership.NodeID
	api.End
}

// Certificates is the page of what ends.
type Certificates struct {
	Items  []Ending
	Silent []api.PulseNode // that did not answer
}

func certificates(a *asking) (string, any, error) {
	var all api.Pulse
	if _, err := a.get(&all, "/v1/pulse", "points", "1"); err != nil {
		return "", nil, err
	}
	out := Certificates{}
	for _, n := range all.Nodes {
		if n.Error != "" {
			out.Silent = append(out.Silent, n)
		}
		for _, e := range n.Ends {
			out.Items = append(out.Items, Ending{n.Node, e})
		}
	}
	return "certificates", out, nil
}

// soon says in a word how near an end is: the class of its mark.
func soon(now, end time.Time) string {
	switch left := end.Sub(now); {
	case left < 7*24*time.Hour:
		return "bad"
	case left < 30*24*time.Hour:
		return "warn"
	default:
		return "good"
	}
}

// number reads a number of a form.
func number(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, &Refusal{http.StatusBadRequest, "“" + cut(text, 20) + "” is no number."}
	}
	return n, nil
}
