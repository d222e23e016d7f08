package bot

import (
	"strings"
	"time"

	"tandem/ownership"
)

// Memory is what a desk knows of the messages that it handled. A node that stops
// in order keeps it for its next start, so that a repeat by the cloud finds its
// reply across the restart and not the bot a second time.
type Memory struct {
	Calls []CallMemory `json:"calls"`
}

// CallMemory is the part of a Memory that concerns one call.
type CallMemory struct {
	Call      ownership.CallID      `json:"call"`
	RawCall   string                `json:"raw_call"`
	App       ownership.AppID       `json:"app"`
	Partition ownership.PartitionID `json:"partition"`
	Epoch     ownership.Epoch       `json:"epoch"`
	EndedAt   time.Time             `json:"ended_at,omitzero"`
	Active    time.Time             `json:"active"`
	Replies   []ReplyMemory         `json:"replies"`
}

// ReplyMemory is one handled message.
type ReplyMemory struct {
	Key   string          `json:"key"`
	At    time.Time       `json:"at"`
	First ownership.Epoch `json:"first,omitempty"` // of a first notification: the epoch it was taken at
	Reply ownership.Reply `json:"reply"`
}

// ownKey begins the key of Tandem's own events.
const ownKey = "id:tandem-"

// Memory gives what the desk knows. Call it after Close. Left out is what the
// next desk has to do anew: calls that were not answered, and Tandem's own
// events, which a bot that was restarted as well has to hear again.
func (d *Desk) Memory() Memory {
	d.mu.Lock()
	defer d.mu.Unlock()
	var m Memory
	for _, l := range d.lines {
		if !l.answered && l.endedAt.IsZero() {
			continue
		}
		c := CallMemory{
			Call: l.call, RawCall: l.rawCall, App: l.app.ID, Partition: l.partition, Epoch: l.epoch,
			EndedAt: l.endedAt, Active: l.active,
		}
		firsts := map[*entry]ownership.Epoch{}
		for epoch, e := range l.first {
			firsts[e] = epoch
		}
		for _, e := range l.order {
			if l.kept[e.key] == e && e.stood && e.err == nil && !strings.HasPrefix(e.key, ownKey) {
				c.Replies = append(c.Replies, ReplyMemory{Key: e.key, At: e.at, First: firsts[e], Reply: e.reply})
			}
		}
		if len(c.Replies) > 0 {
			m.Calls = append(m.Calls, c)
		}
	}
	return m
}

// Recall begins with the memory of the node's desk before this one. Call it
// before the first hand-over. What is older than any repeat is left out.
func (d *Desk) Recall(m Memory) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.conf.Now()
	for _, c := range m.Calls {
		app := d.apps[c.App]
		if app == nil || now.Sub(c.Active) > rememberFor {
			continue
		}
		l, err := d.lineOf(app, ownership.HandOver{Call: c.Call, RawCall: c.RawCall, Partition: c.Partition, Epoch: c.Epoch})
		if err != nil {
			continue
		}
		l.answered, l.endedAt, l.active = true, c.EndedAt, c.Active
		for _, r := range c.Replies {
			e := &entry{key: r.Key, done: make(chan struct{}), at: r.At}
			l.remember(e)
			e.stand(r.Reply, nil)
			if r.First != 0 {
				l.first[r.First] = e
			}
		}
	}
}
