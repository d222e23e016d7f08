package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/ownership"
)

// Rulebook is what the node knows of the region's rules beside the table.
type Rulebook interface {
	// InForce returns what GET /v1/rules tells, without its freshness.
	InForce(context.Context) (api.RulesNow, error)
	// Check says why a document is none that this region can be given.
	Check(text string) error
	// Try asks the rules about a notification, without effect.
	Try(context.Context, api.RulesTrial) (api.RulesTried, error)
	// Diff holds a candidate against the calls that the region's nodes remember.
	Diff(ctx context.Context, text string) (api.RulesDiff, error)
}

// ruleDoor is the part of the door that is about the region's rules.
type ruleDoor struct{ *Door }

// routes puts it on the door.
func (d ruleDoor) routes() {
	if d.deps.Rulebook == nil {
		d.deps.Rulebook = noRulebook{}
	}
	get := d.operation("get-rules", http.MethodGet, "/v1/rules", api.RoleRead, "The rules in force: text, number, who set them, and which nodes and regions have them")
	get.Errors = append(get.Errors, http.StatusNotImplemented)
	huma.Register(d.api, far(get, toOne), func(ctx context.Context, in *struct{ Asking }) (*answer[api.RulesNow], error) {
		return freshly(ctx, d.Door, in.Asking, func() (api.RulesNow, error) {
			now, err := within(ctx, d.Door, d.deps.Rulebook.InForce)
			if err != nil {
				return api.RulesNow{}, err
			}
			n := now.Body
			n.Nodes, n.Regions, n.Differ = orEmpty(n.Nodes), orEmpty(n.Regions), orEmpty(n.Differ)
			return n, nil
		})
	})
	read(d.Door, toOne, "list-rules", "/v1/rules/history", "The versions of the rules that are kept, newest first, without their texts",
		func(context.Context) (api.List[ownership.Rules], error) {
			all := slices.Clone(d.deps.Table.Rules())
			slices.Reverse(all)
			return list(all), nil
		})
	huma.Register(d.api, far(d.operation("get-rules-version", http.MethodGet, "/v1/rules/history/{number}", api.RoleRead, "One version of the rules with its text"), toOne),
		func(_ context.Context, in *struct {
			Number uint64 `path:"number" minimum:"1"`
		}) (*reply[api.RulesVersion], error) {
			v, err := d.rulesOf(in.Number)
			if err != nil {
				return nil, problem(err)
			}
			return &reply[api.RulesVersion]{api.RulesVersion{Rules: v, Text: v.Text}}, nil
		})

	set := d.ruleChange("set-rules", http.MethodPut, "/v1/rules", "Give the region, and with it all others, new rules",
		"The document is checked first: 422 says what is wrong with it, and in which line. It counts everywhere within seconds, and the rules of the nodes' "+
			"configurations are not used from the first time on.")
	huma.Register(d.api, set, func(ctx context.Context, in *struct{ Body api.RulesAsk }) (*reply[api.RulesVersion], error) {
		return d.setRules(ctx, in.Body)
	})
	back := d.ruleChange("roll-rules-back", http.MethodPost, "/v1/rules/rollback", "Make the text of an earlier version the newest",
		"It gets a number of its own: numbers only rise.")
	huma.Register(d.api, back, func(ctx context.Context, in *struct{ Body api.RulesBack }) (*reply[api.RulesVersion], error) {
		v, err := d.rulesOf(in.Body.Number)
		if err != nil {
			return nil, problem(err)
		}
		note := cmp.Or(in.Body.Note, fmt.Sprintf("back to rules %d", v.Number))
		return d.setRules(ctx, api.RulesAsk{Text: v.Text, Expect: in.Body.Expect, Note: note})
	})

	try := d.operation("test-rules", http.MethodPost, "/v1/rules/test", api.RoleRead, "What the rules, or a candidate, say of a notification; nothing is changed")
	try.Errors = append(try.Errors, http.StatusUnprocessableEntity, http.StatusNotImplemented)
	huma.Register(d.api, try, func(ctx context.Context, in *struct{ Body api.RulesTrial }) (*reply[api.RulesTried], error) {
		if err := d.checkRules(in.Body.Text, true); err != nil {
			return nil, err
		}
		return within(ctx, d.Door, func(ctx context.Context) (api.RulesTried, error) {
			out, err := d.deps.Rulebook.Try(ctx, in.Body)
			out.Calls = orEmpty(out.Calls)
			return out, err
		})
	})
	diff := d.operation("diff-rules", http.MethodPost, "/v1/rules/diff", api.RoleRead, "Which of the calls that the nodes remember would go elsewhere by a candidate; nothing is changed")
	diff.Errors = append(diff.Errors, http.StatusUnprocessableEntity, http.StatusNotImplemented)
	huma.Register(d.api, diff, func(ctx context.Context, in *struct{ Body api.RulesCandidate }) (*reply[api.RulesDiff], error) {
		if err := d.checkRules(in.Body.Text, false); err != nil {
			return nil, err
		}
		return within(ctx, d.Door, func(ctx context.Context) (api.RulesDiff, error) {
			out, err := d.deps.Rulebook.Diff(ctx, in.Body.Text)
			return whole(out), err
		})
	})
}

func (d ruleDoor) ruleChange(id, method, path, summary, more string) huma.Operation {
	op := d.change(id, method, path, api.RoleOperate, summary)
	op.Description += " " + more + " 409 when the newest rules are not those of expect: somebody changed them meanwhile."
	op.Errors = append(op.Errors, http.StatusUnprocessableEntity, http.StatusNotImplemented)
	if method == http.MethodPost {
		op.Errors = append(op.Errors, http.StatusNotFound)
	}
	return op
}

// setRules has the region apply a document, and returns once the table here holds it.
func (d ruleDoor) setRules(ctx context.Context, ask api.RulesAsk) (*reply[api.RulesVersion], error) {
	v := ownership.Rules{
		Number: ask.Expect + 1, Digest: ownership.RulesDigest(ask.Text), Text: ask.Text, Origin: d.cfg.Region, By: cut(caller(ctx).Name, 250),
		At: d.now().UTC(), Note: ask.Note,
	}
	note(ctx, fmt.Sprintf("rules %d (%.8s): %s", v.Number, v.Digest, v.Note))
	if err := d.checkRules(ask.Text, false); err != nil {
		return nil, err
	}
	if d.deps.Table.Format() < ownership.FormatRules {
		return nil, huma.Error409Conflict("Not every node of the region knows rules that travel yet: upgrade all of them first.")
	}
	if _, err := d.act(ctx, func(ctx context.Context) error {
		return d.tokenAct(ctx, ownership.SetRules{At: v.At, Rules: v, Expect: ask.Expect})
	}); err != nil {
		return nil, err
	}
	return &reply[api.RulesVersion]{api.RulesVersion{Rules: v, Text: v.Text}}, nil
}

// checkRules refuses a document that is none; an empty one may mean that there is none.
func (d ruleDoor) checkRules(text string, optional bool) error {
	if text == "" && optional {
		return nil
	}
	if !utf8.ValidString(text) {
		return huma.Error422UnprocessableEntity("The document is not UTF-8.")
	}
	if err := d.deps.Rulebook.Check(text); err != nil {
		if known, ok := err.(huma.StatusError); ok { //nolint:errorlint // it is made here
			return known
		}
		return huma.Error422UnprocessableEntity(err.Error())
	}
	return nil
}

// rulesOf finds a version; of two of one number, which met, the one that won.
func (d ruleDoor) rulesOf(number uint64) (ownership.Rules, error) {
	for _, v := range slices.Backward(d.deps.Table.Rules()) {
		if v.Number == number {
			return v, nil
		}
	}
	return ownership.Rules{}, fmt.Errorf("rules %d: %w, or no longer kept", number, ownership.ErrUnknown)
}

// noRulebook stands where a node is built without one.
type noRulebook struct{}

func (noRulebook) InForce(context.Context) (api.RulesNow, error) {
	return api.RulesNow{}, absent("The rulebook")
}
func (noRulebook) Check(string) error { return absent("The rulebook") }
func (noRulebook) Try(context.Context, api.RulesTrial) (api.RulesTried, error) {
	return api.RulesTried{}, absent("The rulebook")
}
func (noRulebook) Diff(context.Context, string) (api.RulesDiff, error) {
	return api.RulesDiff{}, absent("The rulebook")
}
