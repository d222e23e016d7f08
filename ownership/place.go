package ownership

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Place decides where a call goes: the partition, its epoch and owner, and why.
// The rules, in this order:
//
//  1. known or ended: a call in the table keeps its partition.
//  2. pinned: the nodes that the claim's pin names, if one of them may take it.
//     A pin is a wish: when none of its nodes can, the call is not lost for it.
//  3. apart: not on a node with the call's other leg, in another zone if one can
//     take it. When the payload names paired recorders this is strict, and a
//     region with no other node is full.
//  4. together: the partition of a live call that shares a group key.
//  5. least loaded: of the active, leased nodes with a healthy bot of the claim's
//     app and room; ties by the rendezvous hash of the call; then the emptiest
//     partition that was born on the node.
//
// A call that was claimed and not answered while it rang counts no longer.
//
// The error is ErrFull when no node may take the call, and ErrNoBot when that is
// because none has a healthy bot of the app; the placement then tells in its
// candidates why not. It is ErrOtherApp when the call in the table is not
// the claim's app's: who may speak for one app learns and moves nothing of another's.
//
// Place is deterministic, whatever order maps and views are in: replicas apply
// the same claims and must reach the same table. A change of its verdicts is
// therefore a change of the command format: before FormatReservations all apps
// share a node's bot and room, a group follows its oldest call, and inherited
// partitions get new calls. For many claims at once use a Placer.
func Place(v View, c Claim, at time.Time, fit map[NodeID]Fitness) (Placement, error) {
	return NewPlacer(v, at, fit).Place(c)
}

// Placer places the claims of one batch. It weighs the nodes once and counts
// what it places itself, so the view may, but need not, count along; the view
// must know each placed call before the next claim is placed, or repeats and
// groups within the batch go unseen. It is for one goroutine.
type Placer struct {
	view     View
	at       time.Time
	modern   bool       // from FormatReservations on
	nodes    []standing // by id
	apps     []appSeats // those of apps met so far
	seats    []seat     // runs parallel to nodes: those of the app of the claim at hand
	why      []string   // runs parallel to nodes: why not, for the claim at hand
	legNodes []int      // this and the next ones are kept between claims to save allocations
	bundles  []Bundle
	tally    []homestead
	trial    trial // of versions of bots, for the claim at hand
}

// NewPlacer weighs the nodes of the view for claims decided at one time with
// what the leader knew of each node. A node that fit does not name has no lease.
func NewPlacer(v View, at time.Time, fit map[NodeID]Fitness) *Placer {
	nodes := standings(v, fit)
	modern := v.Format() >= FormatReservations
	for i := range nodes {
		if modern {
			nodes[i].forgive(v, at)
		}
	}
	return &Placer{view: v, at: at, modern: modern, nodes: nodes, why: make([]string, len(nodes))}
}

// Place decides one claim, as the function Place does.
func (p *Placer) Place(c Claim) (Placement, error) {
	if k, ok := p.view.Known(c.Call); ok {
		if k.App != c.App {
			return Placement{}, ErrOtherApp // either way the table stays as it was: no new format
		}
		return p.known(k), nil
	}
	p.seats = p.seatsOf(c.App)
	p.begin(&c)
	if i := p.established(&c); i >= 0 {
		return p.put(&c, i, p.nodes[i].home(p.view), ReasonPinned), nil
	}
	g := p.readGroup(&c)
	h := xxhash.Sum64String(string(c.Call))
	if c.Pin != (Pin{}) {
		p.trial.free = false
		if i := p.choose(&c, &g, h, true); i >= 0 {
			if g.at >= 0 && !g.apart() && p.why[g.at] == "" {
				i = g.at
			}
			return p.keep(&c, i, &g, ReasonPinned), nil
		}
	}
	if g.apart() {
		if i := p.chooseFreely(&c, &g, h); i >= 0 {
			return p.put(&c, i, p.nodes[i].home(p.view), ReasonApart), nil
		}
		if g.strict {
			return p.refuse()
		}
		g.nodes = nil // only inferred from timing: better beside the other leg than nowhere
	}
	if g.at >= 0 {
		p.onlyGroup(g.at)
		return p.keep(&c, g.at, &g, ReasonTogether), nil
	}
	if i := p.chooseFreely(&c, &g, h); i >= 0 {
		return p.put(&c, i, p.nodes[i].home(p.view), ReasonLeastLoaded), nil
	}
	return p.refuse()
}

// refuse says that no node may take the claim. A region whose nodes are up and
// whose bots of the app are not is not full: more nodes would not help.
func (p *Placer) refuse() (Placement, error) {
	pl := Placement{Reason: ReasonFull, Candidates: p.candidates(-1)}
	if !p.modern {
		return pl, ErrFull
	}
	up := false
	for i := range p.nodes {
		if s := &p.nodes[i]; s.state == NodeActive && s.fit.Leased {
			if up = true; p.seats[i].bot {
				return pl, ErrFull
			}
		}
	}
	if !up {
		return pl, ErrFull
	}
	pl.Reason = ReasonNoBot
	return pl, ErrNoBot
}

// known answers for a call that stands in the table, with who acts for it now: its
// partition's owner, but for calls that are reserved for another node.
func (p *Placer) known(k Known) Placement {
	pl := Placement{Partition: k.Partition, Epoch: k.Epoch, Reason: ReasonKnown}
	if k.State == CallEnded {
		pl.Reason = ReasonEnded
	}
	if k.Owner != "" {
		pl.Owner = k.Owner
	} else if part, ok := p.view.Partition(k.Partition); ok {
		pl.Epoch, pl.Owner = part.Epoch, part.Owner
	}
	return pl
}

// established returns the node on which a call already runs: an outgoing call is
// pinned to the node whose bot made it, and no drain, no limit and no missed
// health check can change that. -1: the claim is of no such call.
func (p *Placer) established(c *Claim) int {
	if !c.Answered || c.Pin.Node == "" {
		return -1
	}
	i, ok := p.find(c.Pin.Node)
	if !ok || p.nodes[i].state == NodeGone || p.nodes[i].home(p.view) < 0 {
		return -1
	}
	for j := range p.nodes {
		p.why[j] = whyPinNode
	}
	p.why[i] = ""
	return i
}

// choose returns the least loaded node that may take the claim, by the pin if
// asked, apart from other legs if there are any; -1: none may. It leaves in
// p.why what kept each of the others out.
func (p *Placer) choose(c *Claim, g *group, call uint64, pin bool) int {
	best, bestFar := -1, -1
	for i := range p.nodes {
		s := &p.nodes[i]
		p.why[i] = p.refusal(s, i, c, g, pin)
		if p.why[i] != "" {
			continue
		}
		if p.before(i, best, call) {
			best = i
		}
		if g.apart() && !p.nearLeg(s.zone, g) && p.before(i, bestFar, call) {
			bestFar = i
		}
	}
	if bestFar < 0 {
		return best
	}
	for i := range p.nodes {
		if p.why[i] == "" && p.nearLeg(p.nodes[i].zone, g) {
			p.why[i] = whyOtherZone
		}
	}
	return bestFar
}

// refusal says why a node may not take the claim; empty: it may.
func (p *Placer) refusal(s *standing, i int, c *Claim, g *group, pin bool) string {
	switch {
	case p.seats[i].bar != "":
		return p.seats[i].bar
	case p.heldBack(i) != "":
		return p.heldBack(i)
	case s.home(p.view) < 0:
		return whyNoHome
	case pin && c.Pin.Node != "" && c.Pin.Node != s.id:
		return whyPinNode
	case pin && c.Pin.Zone != "" && c.Pin.Zone != s.zone:
		return whyPinZone
	case pin && c.Pin.Version != "" && c.Pin.Version != s.version:
		return whyPinVer
	case slices.Contains(g.nodes, i):
		return whyOtherLeg
	default:
		return ""
	}
}

// before reports whether node i goes before node j, which may be none yet.
func (p *Placer) before(i, j int, call uint64) bool {
	if j < 0 || p.seats[i].score != p.seats[j].score {
		return j < 0 || p.seats[i].score < p.seats[j].score
	}
	return rendezvous(p.nodes[i].hash, call) > rendezvous(p.nodes[j].hash, call)
}

// nearLeg reports whether the zone has another leg. Nodes without a zone are
// near nothing.
func (p *Placer) nearLeg(zone string, g *group) bool {
	if zone == "" {
		return false
	}
	return slices.ContainsFunc(g.nodes, func(i int) bool { return p.nodes[i].zone == zone })
}

// onlyGroup notes that the group's node was the only one in question.
func (p *Placer) onlyGroup(at int) {
	for i := range p.nodes {
		if p.why[i] = cmp.Or(p.seats[i].bar, p.heldBack(i)); p.why[i] == "" {
			p.why[i] = whyElsewhere
		}
	}
	p.why[at] = ""
}

// keep places on node i, in the group's partition if it lives there.
func (p *Placer) keep(c *Claim, i int, g *group, why Reason) Placement {
	s := &p.nodes[i]
	in := s.home(p.view)
	if g.with != 0 && g.at == i && !g.apart() {
		if same := slices.IndexFunc(s.partitions, func(q Partition) bool { return q.ID == g.with }); same >= 0 {
			in = same
		}
	}
	return p.put(c, i, in, why)
}

// put places the claim in a partition of node i and counts it.
func (p *Placer) put(c *Claim, i, in int, why Reason) Placement {
	s := &p.nodes[i]
	part := &s.partitions[in]
	pl := Placement{Partition: part.ID, Epoch: part.Epoch, Owner: s.id, Reason: why, Candidates: p.candidates(i)}
	n := 1
	if p.modern && c.late(p.at) {
		n = 0 // as the next batch will count it
	}
	s.took(in, n)
	p.spend(i)
	for k := range p.apps {
		if p.apps[k].app == c.App {
			p.apps[k].seats[i].live += n
		}
	}
	for k := range p.apps {
		place := &p.apps[k].seats[i]
		p.divide(i, p.apps[k].app, place)
		place.weigh(s)
	}
	return pl
}

// late reports whether the call is overdue as soon as it is claimed.
func (c *Claim) late(at time.Time) bool {
	return !c.Answered && !c.Deadline.IsZero() && at.After(RingsUntil(c.Deadline))
}

// ownerOf returns the standing that owns a partition which can take calls.
func (p *Placer) ownerOf(id PartitionID) (int, bool) {
	part, ok := p.view.Partition(id)
	if !ok || part.Retired {
		return 0, false
	}
	return p.find(part.Owner)
}

func (p *Placer) find(id NodeID) (int, bool) {
	return sort.Find(len(p.nodes), func(i int) int { return strings.Compare(string(id), string(p.nodes[i].id)) })
}
