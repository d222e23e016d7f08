package rulebook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/ownership"
)

// nodesEvery is how many looks at the other regions go by between two at the nodes of
// this one: those have the table in common.
const nodesEvery = 5

// travelTime bounds one fetch, or one question to the nodes.
const travelTime = 5 * time.Second

// travel looks at the others, again and again.
func (b *Book) travel(ctx context.Context) {
	tick := time.NewTicker(b.cfg.Every)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		leads := b.cfg.Leads()
		marks := b.cfg.Others.Marks()
		if leads {
			b.takeOver(ctx, marks)
		}
		var nodes map[ownership.NodeID]Holding
		if leads && i%nodesEvery == 0 {
			asked, cancel := context.WithTimeout(ctx, travelTime)
			nodes = b.cfg.Nodes(asked)
			cancel()
		}
		told := b.compare(marks, nodes, leads)
		if leads {
			b.enter(ctx, told)
		}
	}
}

// enter puts what was told into the region's history. Events are a courtesy: what does
// not get in is in the log, in the status and in the guarantees.
func (b *Book) enter(ctx context.Context, told []ownership.TellRules) {
	for _, act := range told {
		ctx, cancel := context.WithTimeout(ctx, travelTime)
		if err := b.cfg.Do(ctx, act); err != nil && ctx.Err() == nil {
			b.cfg.Logger.Warn("telling the history about rules that differ", "err", err)
		}
		cancel()
	}
}

// takeOver takes the newest rules of the other regions, where they are newer.
func (b *Book) takeOver(ctx context.Context, marks map[ownership.Region]Mark) {
	have := b.Newest()
	var from ownership.Region
	newest := have
	for _, r := range slices.Sorted(maps.Keys(marks)) {
		if m := marks[r]; m.Number > 0 && newer(m, newest) {
			from, newest = r, m
		}
	}
	if from == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, travelTime)
	defer cancel()
	v, err := b.cfg.Others.Fetch(ctx, from)
	switch {
	case err != nil:
	case v.Digest != ownership.RulesDigest(v.Text) || !newer(markOf(v), have):
		err = errors.New("what it gave is not what it told of")
	default:
		err = b.cfg.Do(ctx, ownership.SetRules{Rules: v, Taken: true})
	}
	if err != nil && ctx.Err() == nil {
		b.cfg.Logger.Warn("taking over the rules of another region; they are tried again", "region", string(from), "number", newest.Number, "err", err)
	}
}

func newer(a, than Mark) bool {
	return ownership.Rules{Number: a.Number, Digest: a.Digest}.Newer(ownership.Rules{Number: than.Number, Digest: than.Digest})
}

// difference is somebody whose rules are not those of the table here.
type difference struct {
	since time.Time
	text  string
	told  bool
}

// compare notes who differs, and tells of those that do so for longer than it takes a
// change to travel. nodes is nil where they were not asked this time.
func (b *Book) compare(marks map[ownership.Region]Mark, nodes map[ownership.NodeID]Holding, leads bool) (told []ownership.TellRules) {
	newest, now := b.Newest(), b.cfg.Now()
	found := map[string]string{}
	for r, m := range marks {
		if m != newest {
			found["region "+string(r)] = fmt.Sprintf("region %s has rules %s, this region %s", r, m, newest)
		}
	}
	for id, h := range nodes {
		if h.Error == "" && h.Mark != newest {
			found["node "+string(id)] = fmt.Sprintf("node %s has rules %s in force, the region has %s", id, h.Mark, newest)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for who, text := range found {
		d := b.differ[who]
		if d == nil {
			d = &difference{since: now}
			b.differ[who] = d
		}
		d.text = text
		if !d.told && now.Sub(d.since) >= b.cfg.Patience {
			d.told = true
			b.cfg.Logger.Warn("rules differ", "who", who, "err", text)
			told = append(told, ownership.TellRules{Text: text})
		}
	}
	for who, d := range b.differ {
		_, still := found[who]
		isNode := strings.HasPrefix(who, "node ")
		if still || isNode && nodes == nil && leads {
			continue
		}
		if d.told && (leads || !isNode) { // who does not lead does not ask the nodes
			b.cfg.Logger.Info("rules agree again", "who", who)
			told = append(told, ownership.TellRules{Text: who + " has the region's rules again", Agree: true})
		}
		delete(b.differ, who)
	}
	return told
}

// Differ says in sentences who has had other rules for longer than a change takes to
// travel, this node first where it does not understand the newest.
func (b *Book) Differ() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for _, who := range slices.Sorted(maps.Keys(b.differ)) {
		if d := b.differ[who]; d.told {
			all = append(all, d.text)
		}
	}
	if b.trouble != "" {
		all = append([]string{b.trouble}, all...)
	}
	return all
}

// String tells a mark as people say it.
func (m Mark) String() string {
	if m.Number == 0 {
		return fmt.Sprintf("of its configuration (%.8s)", m.Digest)
	}
	return fmt.Sprintf("%d (%.8s)", m.Number, m.Digest)
}

func (b *Book) count(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return errors.Join(
		r.Register(gauge("tandem_rules_number", "Number of the rules that are in force on this node; 0: those of its configuration.",
			func() float64 { return float64(b.Holding().Number) })),
		r.Register(gauge("tandem_rules_differing", "Regions and nodes that have had other rules for longer than a change takes to travel, and this node if it does not understand the newest.",
			func() float64 { return float64(len(b.Differ())) })))
}
