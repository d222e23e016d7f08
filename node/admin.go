package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tandem/admin"
	"tandem/admin/api"
	"tandem/bot"
	"tandem/ownership"
	"tandem/webhook"
)

// openAdmin builds the admin door over everything else.
func (n *Node) openAdmin(context.Context) error {
	cfg := n.cfg.adminConfig()
	cfg.Incarnation, cfg.StartedAt = n.store.Stamp().Incarnation, n.startedAt
	d, err := admin.New(cfg, admin.Deps{
		Table: n.table, Journal: adminJournal{n.table}, Cluster: adminCluster{n.region, n.table, n.cfg.Cluster.TLS != PeerTLS{}},
		Regions: n.adminRegions, Explain: n.explain, Callbacks: n.callbackURI, Warnings: n.warnings, Promises: n.promises, PassKeys: n.passKeys, Elsewhere: n.regions,
		Ledger: adminLedger{n}, Rulebook: adminRules{n}, Evacuations: evacuations{n}, Captures: captures{n}, Rules: ruling{n}.mark, Trails: trails{n}, Pulse: pulses{n}.of, Reload: n.Reread,
		Checks: n.checks(), Config: n.cfg.shown, Metrics: n.cfg.Registry, LastLog: n.logs.last.text, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.private = d
	n.stops.add("event streams", d.Close)
	return nil
}

// checks are the questions of /readyz.
func (n *Node) checks() []admin.Check {
	return []admin.Check{
		{Name: "stopping", Ask: func(context.Context) error {
			if n.leaving.Load() {
				return errors.New("this node drains to stop")
			}
			return nil
		}},
		{Name: "lease", Ask: func(context.Context) error {
			if s := n.region.Status(); !s.Leased {
				return fmt.Errorf("this node may not act as owner now: %s", cmp.Or(s.Trouble, "it has no valid lease"))
			}
			return nil
		}},
		{Name: "leader", Ask: func(context.Context) error {
			if n.region.Status().Leader == "" {
				return errors.New("the region has no leader, so new calls cannot be claimed")
			}
			return nil
		}},
		{Name: "tokens", Ask: func(context.Context) error { return n.tokens.Ready() }},
		{Name: "bot", Ask: func(context.Context) error {
			if healthy, _, _ := bot.Worst(n.dispatcher.Health()); !healthy {
				return errors.New("the bot beside this node is not healthy, so it gets no new calls")
			}
			return nil
		}},
		{Name: "certificate", Ask: func(context.Context) error { return ends{n}.ended("public.tls") }},
		{Name: "outbound tokens", Advisory: true, Ask: func(context.Context) error { return ends{n}.outboundTrouble() }},
	}
}

// healthy is what the public door tells probes: what /readyz does.
func (n *Node) healthy(ctx context.Context) bool {
	return !slices.ContainsFunc(n.checks(), func(c admin.Check) bool { return !c.Advisory && c.Ask(ctx) != nil })
}

// warnings are what an operator should be told without asking.
func (n *Node) warnings() []string {
	w := n.cfg.Notices()
	if n.cfg.Public.TLS.Off {
		w = append(w, "public.tls is off: something in front of this node must end TLS")
	}
	if n.cfg.Cluster.TLS == (PeerTLS{}) {
		w = append(w, "cluster.tls is not set: the cluster port is plain, on loopback")
	}
	if n.cfg.Cluster.JoinByCert && n.cfg.Cluster.TLS != (PeerTLS{}) {
		w = append(w, "cluster.join_by_certificate is on: whoever has a certificate of this region joins it with nobody's word")
	}
	if why := n.announced.text(); why != "" {
		w = append(w, "this node takes no new calls: "+why)
	}
	if t := n.region.Status().Trouble; t != "" {
		w = append(w, "this node is not well in its region: "+t)
	}
	if n.rules.Unused() {
		w = append(w, fmt.Sprintf("the rules, tables and pins of the configuration are not used: rules %d of the region are in force ('tandem rules get')", n.rules.Holding().Number))
	}
	w = append(w, n.rules.Differ()...)
	for _, d := range n.region.Status().Differs {
		if n.rules.Newest().Number > 0 && slices.Contains([]string{"rules", "pins", "tables"}, d.Key) {
			continue // nobody goes by them
		}
		w = append(w, fmt.Sprintf("%s of node %s differs from the leader's: it must be equal on all nodes of the region", d.Key, d.Node))
	}
	for _, t := range []string{n.diskTrouble(), n.spaceTrouble()} {
		if t != "" {
			w = append(w, t)
		}
	}
	if err := n.table.Err(); err != nil {
		w = append(w, err.Error())
	}
	for _, e := range (ends{n}).endings() {
		if text := e.text(n.now()); text != "" {
			w = append(w, text)
		}
	}
	if text := n.certs.trouble(); text != "" {
		w = append(w, text)
	}
	if err := (ends{n}).outboundTrouble(); err != nil {
		w = append(w, err.Error())
	}
	for _, k := range n.tokens.Status() {
		if k.Problem != "" {
			w = append(w, fmt.Sprintf("the keys of profile %s could not be fetched: %s", k.Profile, k.Problem))
		}
	}
	return append(w, n.cfg.looseSecrets()...)
}

// explain runs a notification through the public door without effects.
func (n *Node) explain(ctx context.Context, ask ownership.Supposed) (api.Explanation, error) {
	x := n.door.Explain(ctx, ask)
	out := api.Explanation{
		Status: x.Response.Status, Verdict: verdict(x), Location: x.Response.Location,
		Steps: []api.ExplainStep{
			{Name: "token", OK: x.Token == "valid" || x.Token == "absent", Text: x.Token},
			{Name: "decode", OK: x.Message != "unreadable", Text: x.Message},
		},
	}
	for _, k := range x.Calls {
		e := api.ExplainCall{Call: k.Call, Kind: k.Kind, Known: k.Known, Placement: k.Placement, Why: k.Why, Route: k.Decision, Region: n.Region()}
		if x.Token == "absent" && k.Facts != nil && k.Facts.Tenant == "" {
			out.Steps = append(out.Steps, api.ExplainStep{Name: "tenant", Text: "the body tells none and there is no token to tell it, so rules over call.tenant were judged without one: name the tenant"})
		}
		if k.Region != nil {
			e.Region = k.Region.Region
			out.Steps = append(out.Steps, api.ExplainStep{Name: "region", OK: true, Text: k.Region.Step.String() + ": " + k.Region.Why})
		}
		if k.Owner != nil {
			out.Steps = append(out.Steps, api.ExplainStep{Name: "route", OK: true, Text: fmt.Sprintf("owner %s, partition %d, epoch %d", k.Owner.Node, k.Owner.Partition, k.Owner.Epoch)})
			for _, s := range n.region.Fitness().Silent {
				if s.Node == k.Owner.Node {
					out.Steps = append(out.Steps, api.ExplainStep{Name: "owner", Text: s.Text(0)})
				}
			}
		}
		out.Calls = append(out.Calls, e)
	}
	return out, nil
}

// verdict says the answer in one sentence.
func verdict(x webhook.Explanation) string {
	switch {
	case x.Response.Error != "":
		return "refused: " + x.Response.Error
	case x.Response.Location != "":
		return "sent on (" + x.Response.Action + ")"
	case x.Response.Status == 0:
		return "handed to the bot (" + x.Response.Action + "), whose own status is the answer"
	}
	return x.Response.Action
}

// callbackURI signs a callback URI on this node for an outgoing call. Calls of
// one group get the partition that the group's live calls are in, if that is
// this node's.
func (n *Node) callbackURI(_ context.Context, ask api.CallbackBody) (api.CallbackURI, error) {
	if !slices.ContainsFunc(n.cfg.Apps, func(a App) bool { return ownership.AppID(a.ID) == ask.App }) {
		return api.CallbackURI{}, fmt.Errorf("making a callback URI for app %q: %w", ask.App, ownership.ErrUnknown)
	}
	p, ok := n.outgoingPartition(ownership.GroupKey(ask.Group))
	if !ok {
		return api.CallbackURI{}, fmt.Errorf("making a callback URI: this node owns no partition: %w", ownership.ErrFenced)
	}
	if !n.region.HoldsPartition(p.ID, p.Epoch) {
		return api.CallbackURI{}, fmt.Errorf("making a callback URI: %w", ownership.ErrFenced)
	}
	uri := n.door.CallbackURI(p.ID, p.Epoch, webhook.OutgoingRef(ask.App))
	return api.CallbackURI{URI: uri, Partition: p.ID, Epoch: p.Epoch}, nil
}

// outgoingPartition returns the partition for a call that this node's bot makes: that
// of its group's calls here, else the one that the next new call would go to.
func (n *Node) outgoingPartition(group ownership.GroupKey) (ownership.Partition, bool) {
	if group != "" {
		for _, b := range n.table.Bundles(nil, group, "") {
			if p, ok := n.table.Partition(b.Partition); ok && b.Owner == n.ID() && p.Owner == n.ID() {
				return p, true
			}
		}
	}
	return ownership.Home(n.table, n.ID())
}

// adminRegions tells the admin door of the other regions.
func (n *Node) adminRegions() []api.Region {
	var all []api.Region
	for _, s := range n.regions.Regions() {
		r := api.Region{
			Name: s.Name, URL: s.URL, Healthy: s.Healthy, Partial: s.Partial, AsOf: s.AsOf,
			Nodes: s.Nodes, Live: s.Live, Capacity: s.Capacity, AdminURL: n.cfg.adminURLOf(s.Name), Error: s.Error, RTT: brief(s.RTT),
		}
		if !s.AsOf.IsZero() {
			r.Age = time.Since(s.AsOf).Round(time.Millisecond).String()
		}
		for _, d := range s.Doors {
			r.Doors = append(r.Doors, api.RegionDoor{URL: d.URL, Answered: d.Answered, Streaming: d.Streaming, RTT: brief(d.RTT), Error: d.Error})
		}
		if told, ok := n.regions.Told(s.Name); ok {
			r.Apps, r.List, r.Rules, r.Versions = told.Apps, told.NodesList, told.Rules, told.Versions()
		}
		all = append(all, r)
	}
	return all
}

// brief writes how long something takes; empty: it is not known.
func brief(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return d.Round(10 * time.Microsecond).String()
}

// adminURLOf is where the configuration says that a region can be asked.
func (c Config) adminURLOf(name ownership.Region) string {
	for _, r := range c.Regions {
		if ownership.Region(r.Name) == name {
			return cmp.Or(append([]string{r.AdminURL}, r.AdminURLs...)...)
		}
	}
	return ""
}
