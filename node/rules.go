package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"go.yaml.in/yaml/v3"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/policy"
	"tandem/rulebook"
)

// The questions that nodes of a region ask each other about their rules.
const (
	topicRules     = "rules"      // which do you have in force? rulebook.Holding
	topicRulesDiff = "rules-diff" // a document; what would it change? webhook.RulesDiff
	topicLost      = "lost"       // another region's name; what would its loss change? webhook.RulesDiff
)

// ruling is the part of a node that is about the region's rules.
type ruling struct{ *Node }

// open takes in what the table holds, before the public door opens.
func (n ruling) open(ctx context.Context) error {
	b, err := rulebook.Open(context.WithoutCancel(ctx), rulebook.Config{
		Region: ownership.Region(n.cfg.Node.Region), Table: n.table, File: n.policy,
		Leads:  func() bool { return n.region.Status().State == "leader" },
		Do:     n.carry,
		Nodes:  n.ofNodes,
		Others: otherRules(n),
		Logger: n.log, Metrics: n.cfg.Registry,
	})
	if err != nil {
		return err
	}
	n.rules = b
	n.stops.add("rules", b.Close)
	return nil
}

// carry has the region take another region's rules over.
func (n ruling) carry(ctx context.Context, act ownership.Act) error {
	out, err := n.region.Do(ctx, act)
	if err == nil {
		err = out.Err
	}
	if errors.Is(err, ownership.ErrConflict) && n.table.Format() >= ownership.FormatRules {
		return nil // it has newer ones by now
	}
	return err
}

// consulted answers another node of the region, see cluster.Deps.
func (n ruling) consulted(_ context.Context, topic string, body []byte) ([]byte, error) {
	select {
	case <-n.opened:
	default:
		return nil, fmt.Errorf("answering a question about %q: this node is still starting: %w", topic, ownership.ErrBusy)
	}
	switch topic {
	case topicRules:
		return json.Marshal(n.rules.Holding())
	case topicLost:
		return json.Marshal(n.door.Lose(ownership.Region(body)))
	case topicRulesDiff:
		c, err := policy.ReadDocument(body)
		if err != nil {
			return nil, err
		}
		return json.Marshal(n.door.Diff(c))
	}
	return nil, fmt.Errorf("answering a question about %q: it is %w here", topic, ownership.ErrUnknown)
}

// ofNodes asks all nodes of the region which rules they have in force.
func (n ruling) ofNodes(ctx context.Context) map[ownership.NodeID]rulebook.Holding {
	all := map[ownership.NodeID]rulebook.Holding{}
	for c, h := range consult[rulebook.Holding](ctx, n.Node, topicRules, nil) {
		if c.Err != nil {
			h = rulebook.Holding{Error: c.Err.Error()}
		}
		all[c.Node] = h
	}
	return all
}

// otherRules shows the rulebook what the other regions have.
type otherRules struct{ *Node }

// Marks implements rulebook.Others.
func (o otherRules) Marks() map[ownership.Region]rulebook.Mark {
	all := map[ownership.Region]rulebook.Mark{}
	for r, m := range o.regions.Rules() {
		all[r] = rulebook.Mark{Number: m.Number, Digest: m.Digest}
	}
	return all
}

// maxFetched bounds the answer with another region's rules, in bytes: JSON may write a
// letter in six.
const maxFetched = 6*ownership.MaxRulesText + 16<<10

// Fetch implements rulebook.Others.
func (o otherRules) Fetch(ctx context.Context, region ownership.Region) (ownership.Rules, error) {
	m := o.Marks()[region]
	resp, err := o.regions.Get(ctx, region, fmt.Sprintf("/v1/rules/history/%d", m.Number))
	if err != nil {
		return ownership.Rules{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return ownership.Rules{}, fmt.Errorf("reading rules %d of region %s: its door answers %s", m.Number, region, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFetched))
	if err != nil {
		return ownership.Rules{}, fmt.Errorf("reading rules %d of region %s: %w", m.Number, region, err)
	}
	var v api.RulesVersion
	if err := json.Unmarshal(body, &v); err != nil {
		return ownership.Rules{}, fmt.Errorf("reading rules %d of region %s: %w", m.Number, region, err)
	}
	v.Rules.Text = v.Text
	return v.Rules, nil
}

// mark is what the other regions hear of this one's rules.
func (n ruling) mark() *api.RulesMark {
	m := n.rules.Newest()
	return &api.RulesMark{Number: m.Number, Digest: m.Digest}
}

// adminRules shows the admin door the rules.
type adminRules struct{ *Node }

// InForce implements admin.Rulebook.
func (a adminRules) InForce(ctx context.Context) (api.RulesNow, error) {
	newest := a.rules.Newest()
	now := api.RulesNow{Unused: a.rules.Unused(), Differ: a.rules.Differ()}
	if all := a.table.Rules(); len(all) > 0 {
		now.Rules = all[len(all)-1]
		now.Text = now.Rules.Text
		newest = rulebook.Mark{Number: now.Number, Digest: now.Digest}
	} else {
		text, err := yaml.Marshal(a.rules.InForce().Document)
		if err != nil {
			return now, fmt.Errorf("writing the rules of the configuration: %w", err)
		}
		now.Digest, now.Text = newest.Digest, string(text)
	}
	nodes := ruling(a).ofNodes(ctx)
	for _, n := range a.table.Nodes() {
		if h, asked := nodes[n.ID]; asked {
			now.Nodes = append(now.Nodes, holder(string(n.ID), h, newest))
		}
	}
	marks := otherRules(a).Marks()
	for _, r := range a.regions.Regions() {
		h := rulebook.Holding{Error: "it tells of none, or is not heard"}
		if m, told := marks[r.Name]; told {
			h = rulebook.Holding{Mark: m}
		}
		now.Regions = append(now.Regions, holder(string(r.Name), h, newest))
	}
	return now, nil
}

func holder(name string, h rulebook.Holding, newest rulebook.Mark) api.RulesHolder {
	out := api.RulesHolder{Name: name, Number: h.Number, Digest: h.Digest, Same: h.Error == "" && h.Mark == newest, Trouble: h.Trouble}
	if h.Error != "" {
		out.Trouble = h.Error
	}
	return out
}

// Check implements admin.Rulebook.
func (a adminRules) Check(text string) error {
	c, err := policy.ReadDocument([]byte(text))
	if err != nil {
		return err
	}
	return a.cfg.knowsRegionsOf(c.Document)
}

// Try implements admin.Rulebook.
func (a adminRules) Try(ctx context.Context, ask api.RulesTrial) (api.RulesTried, error) {
	s := ownership.Supposed{Header: http.Header{}, Body: []byte(ask.Notification), App: ask.App, Tenant: ask.Tenant}
	for name, value := range ask.Header {
		http.Header(s.Header).Set(name, value)
	}
	out := api.RulesTried{Number: a.rules.Holding().Number}
	candidate := a.rules.InForce()
	if ask.Text != "" {
		c, err := policy.ReadDocument([]byte(ask.Text))
		if err != nil {
			return out, err
		}
		out.Number, candidate = 0, c
	}
	x := a.door.Try(ctx, s, candidate)
	out.Answer = verdict(x)
	for _, k := range x.Calls {
		one := api.RuledOne{Call: k.Call, Kind: k.Kind, Why: k.Why}
		if k.Verdict != nil {
			one.Rule, one.Home, one.Hard, one.Here, one.Overflow = k.Verdict.Rule+1, k.Verdict.Region, k.Verdict.Hard, k.Verdict.Here, k.Verdict.Overflow
			one.Why = k.Verdict.Why
			for _, e := range k.Verdict.Errors {
				one.Errors = append(one.Errors, e.Text)
			}
		}
		if k.Region != nil {
			one.Step, one.To, one.Why = k.Region.Step.String(), k.Region.Region, k.Region.Why
		}
		if k.Facts != nil {
			if pin := candidate.Pins.For(*k.Facts); pin.Rule >= 0 {
				one.Pin = &pin.Pin
			}
			text, err := json.Marshal(k.Facts)
			if err == nil {
				err = json.Unmarshal(text, &one.Facts)
			}
			if err != nil {
				return out, fmt.Errorf("telling what the rules saw: %w", err)
			}
		}
		out.Calls = append(out.Calls, one)
	}
	return out, nil
}
