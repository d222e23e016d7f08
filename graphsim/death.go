package graphsim

import (
	"slices"
	"time"
)

// mark is a moment at which something befell a node.
type mark struct {
	seq uint64
	at  time.Time
}

// NodeDied tells the oracle that a node's process ended without warning. A node
// remembers in memory what it handed to its bot, as do most bots: a repeat that
// comes after the death may reach the bot again, and counts as HandledAgain. A
// node that was asked to stop keeps its memory: nobody tells of that.
func (c *Cloud) NodeDied(node string) {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	deaths := c.ledger.past.deaths
	deaths[node] = append(deaths[node], mark{c.ledger.next(), time.Now()})
}

// NodeFenced tells the oracle that a node may have lost its partitions though its
// process went on, as one that is cut off does. The next owner does not know what
// it handed to its bot: a repeat at a later epoch counts as HandledAgain.
func (c *Cloud) NodeFenced(node string) {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	fenced := c.ledger.past.fenced
	fenced[node] = append(fenced[node], mark{c.ledger.next(), time.Now()})
}

// NodeWoke tells the oracle that a node whose process stood still goes on. No
// fence can stop a hand-over that was past it when the process was stopped: what
// arrives right after counts as OnTheirWay.
func (c *Cloud) NodeWoke(node string) {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	woke := c.ledger.past.woke
	woke[node] = append(woke[node], mark{c.ledger.next(), time.Now()})
}

// NodePaused tells the oracle that a node's process was stopped where it was. A
// bot's reply that was on its way then may be too late for it: its repeat reaches
// the bot again, and counts as HandledAgain.
func (c *Cloud) NodePaused(node string) {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	paused := c.ledger.past.paused
	paused[node] = append(paused[node], mark{c.ledger.next(), time.Now()})
}

// onTheirWay is how long after a pause a hand-over may arrive that was past the
// fence before it.
const onTheirWay = 500 * time.Millisecond

// recordWithin is how long the record of a fact may be under way to the table:
// an election and a lease. Who dies in this time may take the fact along.
const recordWithin = 4 * time.Second

// lateByPause: s was on its way to the bot when its node's process was stopped.
func (t *totals) lateByPause(s *sighting) bool {
	return slices.ContainsFunc(t.woke[s.node], func(m mark) bool {
		return m.seq < s.seq && s.at.Sub(m.at) < onTheirWay
	})
}

// caught: the bot's reply to s was on its way when the node's process was stopped.
func (t *totals) caught(s *sighting) bool {
	near := func(m mark) bool { return s.at.Sub(m.at).Abs() < onTheirWay }
	return slices.ContainsFunc(t.paused[s.node], near) || slices.ContainsFunc(t.woke[s.node], near)
}

// replyWasLate: the node itself says that it had no reply of its bot in time.
func (t *totals) replyWasLate(s *sighting) bool {
	return s.foreign.fault || t.gaveUp != nil && t.gaveUp(s.node, s.call)
}

// forgotten reports whether the node that was handed s had lost, before the
// repeat came, what it knew of it.
func (t *totals) forgotten(s, repeat *sighting) bool {
	between := func(m mark) bool { return s.seq < m.seq && m.seq < repeat.seq }
	return t.caught(s) || slices.ContainsFunc(t.deaths[s.node], between) || repeat.epoch > s.epoch && slices.ContainsFunc(t.fenced[s.node], between)
}

// diedSoon reports whether the node died, or was fenced, so soon after a moment that what it
// knew of it may never have reached the table. One that was fenced a little before it may be
// on the last of its lease.
func (t *totals) diedSoon(node string, after time.Time) bool {
	soon := func(m mark) bool {
		d := m.at.Sub(after)
		return d >= 0 && d < recordWithin
	}
	return slices.ContainsFunc(t.deaths[node], soon) ||
		slices.ContainsFunc(t.fenced[node], func(m mark) bool { return m.at.Sub(after).Abs() < recordWithin })
}
