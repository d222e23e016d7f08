package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// act is a change that a form asks for: one request of the API. Who may do it, whether it
// can be done, and the line in the audit log are the API's.
type act struct {
	method string
	path   func(id string) string
	body   func(form url.Values, now time.Time) (any, error)
	back   string // the page that the form stands on, and its reader goes back to
	said   string // what was done
}

// acts are the changes by their path, with * for what they are about.
var acts = map[string]act{
	"nodes/*/drain": {http.MethodPut, func(id string) string { return v1("nodes", id, "drain") }, drainOf, "nodes/*",
		"The node gets no new calls; below is what is left of them."},
	"nodes/*/undrain": {http.MethodDelete, func(id string) string { return v1("nodes", id, "drain") }, nil, "nodes/*", "The node takes new calls again."},
	"nodes/*/remove":  {http.MethodDelete, func(id string) string { return v1("nodes", id) }, nil, "nodes/*", "The node is out of the region; its partitions have new owners."},
	"calls/*/release": {http.MethodDelete, func(id string) string { return v1("calls", id) }, nil, "calls/*", "The record of the call is ended; the cloud was not told."},
	"partitions/*/move": {http.MethodPost, func(id string) string { return v1("partitions", id, "move") },
		func(f url.Values, _ time.Time) (any, error) {
			return api.MoveAsk{To: ownership.NodeID(f.Get("to"))}, nil
		}, "partitions/*", "The partition has a new owner."},
	"regions/*/evacuate": {http.MethodPut, func(id string) string { return v1("regions", id, "evacuation") },
		func(f url.Values, _ time.Time) (any, error) {
			return api.EvacuationAsk{Note: f.Get("note"), To: ownership.Words[ownership.Region](f["to"])}, nil
		}, "regions/*", "The region takes no new calls; below is how far it is."},
	"regions/*/restore": {http.MethodDelete, func(id string) string { return v1("regions", id, "evacuation") }, nil, "regions/*", "The region takes new calls again."},
	"rules/set": {http.MethodPut, func(string) string { return v1("rules") },
		func(f url.Values, _ time.Time) (any, error) {
			expect, err := number(f.Get("expect"))
			return api.RulesAsk{Text: document(f), Expect: expect, Note: f.Get("note")}, err
		}, "rules", "The rules are set; they count everywhere within seconds."},
	"rules/rollback": {http.MethodPost, func(string) string { return v1("rules", "rollback") },
		func(f url.Values, _ time.Time) (any, error) {
			n, err := number(f.Get("number"))
			if err != nil {
				return nil, err
			}
			expect, err := number(f.Get("expect"))
			return api.RulesBack{Number: n, Expect: expect, Note: f.Get("note")}, err
		}, "rules", "The earlier text is the newest again, under a number of its own."},
	"versions/halt": {http.MethodPost, func(string) string { return v1("rollouts", "halt") }, versionOf, "nodes",
		"The version gets no new calls, as long as another one can take them."},
	"versions/resume": {http.MethodPost, func(string) string { return v1("rollouts", "resume") }, versionOf, "nodes", "The version gets calls again, and is judged anew."},
	"versions/end":    {http.MethodPost, func(string) string { return v1("rollouts", "end") }, versionOf, "nodes", "The version has no rule any more: it is treated as any."},
	"tokens/*/revoke": {http.MethodDelete, func(id string) string { return v1("tokens", id) }, nil, "tokens", "The token opens no door any more."},
	"peers/lead": {http.MethodPost, func(string) string { return v1("raft", "leader") },
		func(f url.Values, _ time.Time) (any, error) {
			return api.TransferAsk{To: ownership.NodeID(f.Get("to"))}, nil
		}, "peers", "Another node was asked to lead."},
}

// saids are what acts have done, by the last part of their paths: an address carries the
// name only, so that nobody else's link puts words on a page.
var saids = func() map[string]string {
	out := map[string]string{}
	for path, a := range acts {
		out[path[strings.LastIndex(path, "/")+1:]] = a.said
	}
	return out
}()

// document is the text of a form's field; browsers send line ends as CR LF.
func document(f url.Values) string { return strings.ReplaceAll(f.Get("text"), "\r\n", "\n") }

// versionOf reads which version of a bot is meant, and why.
func versionOf(f url.Values, _ time.Time) (any, error) {
	return api.RolloutNote{RolloutOf: api.RolloutOf{App: ownership.AppID(f.Get("app")), Version: f.Get("version")}, Note: strings.TrimSpace(f.Get("note"))}, nil
}

// drainOf reads how long a drain may last.
func drainOf(f url.Values, now time.Time) (any, error) {
	text := strings.TrimSpace(f.Get("within"))
	if text == "" {
		return api.DrainAsk{}, nil
	}
	within, err := time.ParseDuration(text)
	if err != nil || within <= 0 {
		return nil, &Refusal{http.StatusBadRequest, "“" + cut(text, 20) + "” is no time: write one such as 30m or 2h, or nothing."}
	}
	return api.DrainAsk{Until: now.Add(within)}, nil
}

// roles are what a token can be given, as the form's boxes.
var roles = []api.Role{api.RoleRead, api.RoleOperate, api.RoleBot, api.RoleJoin}

// change does what a form asks for.
func (c *Console) change(w http.ResponseWriter, r *http.Request, who Reader, path string) {
	if err := r.ParseForm(); err != nil {
		c.trouble(w, r, who, http.StatusBadRequest, "The form could not be read.")
		return
	}
	switch path {
	case "rules/try":
		c.try(w, r, who)
		return
	case "tokens/make":
		c.makeToken(w, r, who)
		return
	}
	name, id := path, ""
	if parts := strings.Split(path, "/"); len(parts) == 3 {
		name, id = parts[0]+"/*/"+parts[2], parts[1]
	}
	act, ok := acts[name]
	if !ok {
		c.trouble(w, r, who, http.StatusMethodNotAllowed, "This page is for reading.")
		return
	}
	back := strings.Replace(act.back, "*", id, 1)
	err := c.do(r, act, id)
	if err != nil {
		r.Method = http.MethodGet
		c.look(w, r, who, back, err, r.PostForm)
		return
	}
	to := url.URL{Path: Root + back, RawQuery: url.Values{"did": {name[strings.LastIndex(name, "/")+1:]}}.Encode()}
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
}

func (c *Console) do(r *http.Request, a act, id string) (err error) {
	if r.PostForm.Get("sure") != "yes" {
		return &Refusal{http.StatusBadRequest, "Nothing was changed: the form was not confirmed."}
	}
	var body any
	if a.body != nil {
		if body, err = a.body(r.PostForm, c.source.Frame().Now); err != nil {
			return err
		}
	}
	_, err = c.source.Ask(r.Context(), a.method, a.path(id), body, nil)
	return err
}

// try shows what a candidate would change.
func (c *Console) try(w http.ResponseWriter, r *http.Request, who Reader) {
	r.PostForm.Set("text", document(r.PostForm))
	a := &asking{ctx: r.Context(), source: c.source, who: who, q: url.Values{}, form: r.PostForm}
	_, body, err := try(a)
	if err != nil {
		c.look(w, r, who, "rules", err, r.PostForm)
		return
	}
	c.show(w, r, view{Reader: who, Page: "rules", Body: body}, http.StatusOK)
}

// makeToken shows a new token's secret in the answer itself: no address, history or cache
// keeps it.
func (c *Console) makeToken(w http.ResponseWriter, r *http.Request, who Reader) {
	f := r.PostForm
	ask := api.TokenAsk{Name: strings.TrimSpace(f.Get("name")), Once: f.Get("once") != ""}
	ask.Roles = slices.DeleteFunc(slices.Clone(roles), func(r api.Role) bool { return !slices.Contains(f["role"], string(r)) })
	made := api.TokenMade{}
	err := error(nil)
	if text := strings.TrimSpace(f.Get("within")); text != "" {
		within, wrong := time.ParseDuration(text)
		if wrong != nil || within <= 0 {
			err = &Refusal{http.StatusBadRequest, "“" + cut(text, 20) + "” is no time: write one such as 24h, or nothing."}
		}
		ask.Expires = c.source.Frame().Now.Add(within)
	}
	if err == nil {
		_, err = c.source.Ask(r.Context(), http.MethodPost, "/v1/tokens", ask, &made)
	}
	if err != nil {
		c.look(w, r, who, "tokens", err, f)
		return
	}
	a := &asking{ctx: r.Context(), source: c.source, who: who, q: url.Values{}}
	_, body, err := tokens(a)
	if err != nil { // it is made all the same
		body = Tokens{}
	}
	all, _ := body.(Tokens)
	all.Made = &made
	c.show(w, r, view{Reader: who, Page: "tokens", Said: "The token is made. Its secret is shown this once.", Body: all}, http.StatusOK)
}
