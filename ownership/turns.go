package ownership

import (
	"slices"

	"github.com/cespare/xxhash/v2"
)

// trial is which versions of bots are on trial, and whose turn the claim at hand is.
//
// A version with a rule gets its share of the calls that are placed freely, drawn by the
// call's id: every replica draws alike, and a repeat of the claim the same. A pin, and a
// group's node, go before the share, but not before a halt or the bound of a version that
// is not proven. What no other node can take goes to a version all the same for which it
// was not drawn; and where no node has a healthy bot of a version that is free to take
// calls, nothing holds any back: a region in which only one version is left is not starved.
type trial struct {
	turns  []Turn
	of     []int // runs parallel to the nodes: index of its turn, -1: none
	app    AppID // for which of is made
	drawn  int   // index of the turn that the claim is; -1: that of all other versions
	free   bool  // the claim is placed freely: the share counts
	lifted bool  // nothing holds back
}

// Turns has the placer go by what the leader says of versions, and returns it.
func (p *Placer) Turns(turns []Turn) *Placer {
	p.trial = trial{turns: slices.Clone(turns)}
	return p
}

// begin draws whose turn a claim is.
func (p *Placer) begin(c *Claim) {
	t := &p.trial
	if len(t.turns) == 0 {
		return
	}
	if t.of == nil || t.app != c.App {
		t.app, t.of = c.App, p.turnsOf(c.App)
	}
	t.free, t.drawn = true, -1
	t.lifted = true
	for i := range p.nodes {
		if s := &p.nodes[i]; s.state == NodeActive && s.fit.Leased && p.seats[i].bot && !t.stops(i) {
			t.lifted = false
		}
	}
	draw, low := int(rendezvous(drawSeed, xxhash.Sum64String(string(c.Call)))%WholeShare), 0
	for k := range t.turns {
		turn := &t.turns[k]
		if turn.App != c.App || turn.Halted {
			continue
		}
		if draw >= low && draw < low+turn.Share && turn.Left != 0 {
			t.drawn = k
		}
		low += turn.Share
	}
}

// drawSeed keeps the draw apart from the choice of a node. It must never change.
const drawSeed = 0x7475726e73

func (p *Placer) turnsOf(app AppID) []int {
	of := make([]int, len(p.nodes))
	for i := range of {
		of[i] = slices.IndexFunc(p.trial.turns, func(t Turn) bool { return t.App == app && slices.Contains(t.Nodes, p.nodes[i].id) })
	}
	return of
}

// stops reports whether a node's version takes no calls, of whatever kind.
func (t *trial) stops(i int) bool {
	k := t.of[i]
	return k >= 0 && (t.turns[k].Halted || t.turns[k].Left == 0)
}

// barred reports whether a node's version may take no call now.
func (p *Placer) barred(i int) bool {
	return len(p.trial.turns) > 0 && !p.trial.lifted && p.trial.stops(i)
}

// heldBack says why a node may not take the claim for its bot's version; empty: it may.
func (p *Placer) heldBack(i int) string {
	t := &p.trial
	switch {
	case len(t.turns) == 0 || t.lifted:
		return ""
	case t.stops(i) && t.turns[t.of[i]].Halted:
		return whyHalted
	case t.stops(i):
		return whyUnproven
	case t.free && t.of[i] != t.drawn:
		return whyTurn
	}
	return ""
}

// chooseFreely is choose without a pin: among the nodes whose turn it is, if one of them may
// take the claim, else among all.
func (p *Placer) chooseFreely(c *Claim, g *group, call uint64) int {
	p.trial.free = true
	i := p.choose(c, g, call, false)
	if i < 0 && len(p.trial.turns) > 0 && !p.trial.lifted {
		p.trial.free = false
		i = p.choose(c, g, call, false)
	}
	return i
}

// spend counts a call that a version on trial gets.
func (p *Placer) spend(i int) {
	if t := &p.trial; len(t.turns) > 0 {
		if k := t.of[i]; k >= 0 && t.turns[k].Left > 0 {
			t.turns[k].Left--
		}
	}
}
