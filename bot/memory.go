package bot

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem/ownership"
)

// Memory is what a dispatcher knows of the messages that it handled, and what the table
// has not heard of them. A node that stops in order keeps it for its next start,
// so that a repeat by the cloud finds its reply across the restart and not the
// bot a second time.
type Memory struct {
	Calls   []CallMemory   `json:"calls"`
	Records []RecordMemory `json:"records,omitempty"`
}

// CallMemory is the part of a Memory that concerns one call.
type CallMemory struct {
	Call      ownership.CallID      `json:"call"`
	RawCall   string                `json:"raw_call,omitempty"`
	App       ownership.AppID       `json:"app"`
	Partition ownership.PartitionID `json:"partition"`
	Epoch     ownership.Epoch       `json:"epoch"`
	Answered  ownership.Epoch       `json:"answered,omitempty"` // at which the cloud took an answer
	EndedAt   time.Time             `json:"ended_at,omitzero"`
	Told      bool                  `json:"told,omitempty"` // the cloud told of its end
	Active    time.Time             `json:"active"`
	NotHad    bool                  `json:"not_had,omitempty"` // the bot here has not been handed it, or has let go of it
	LetGo     bool                  `json:"let_go,omitempty"`  // it was told that the call is lost
	// Keys are the handled messages whose reply was an empty 2xx, packed: see pack.
	Keys    []byte        `json:"keys,omitempty"`
	Replies []ReplyMemory `json:"replies,omitempty"` // the others
}

// ReplyMemory is one handled message.
type ReplyMemory struct {
	Key   string          `json:"key"` // in hexadecimal; in older files "id:…" or "body:…"
	At    time.Time       `json:"at"`
	First ownership.Epoch `json:"first,omitempty"` // of a first notification: the epoch it was taken at
	Reply ownership.Reply `json:"reply"`
}

// RecordMemory is an act that the table has not taken: one of its fields.
type RecordMemory struct {
	Partition ownership.PartitionID `json:"partition"`
	Answered  *ownership.Answered   `json:"answered,omitempty"`
	Release   *ownership.Release    `json:"release,omitempty"`
	TakeUp    *ownership.TakeUp     `json:"take_up,omitempty"`
}

// memoryLimit bounds, in bytes, what MemoryOf gives of one partition. The calls
// that were silent longest are left out.
const memoryLimit = 8 << 20

// Memory returns what the dispatcher knows. Call it after Close. Left out is what the
// next dispatcher has to do anew: calls that were not answered, and Tandem's own
// events, which a bot that was restarted as well has to hear again.
func (d *Dispatcher) Memory() Memory {
	d.mu.Lock()
	defer d.mu.Unlock()
	var m Memory
	for _, p := range d.parts {
		m.Calls = append(m.Calls, p.memory(d.now())...)
	}
	for _, o := range d.register.calls {
		for _, a := range o.acts {
			r := RecordMemory{Partition: a.partition}
			switch act := a.act.(type) {
			case ownership.Answered:
				r.Answered = &act
			case ownership.Release:
				r.Release = &act
			case ownership.TakeUp:
				r.TakeUp = &act
			}
			m.Records = append(m.Records, r)
		}
	}
	return m
}

func (p *part) memory(now moment) (calls []CallMemory) {
	for _, l := range p.queues {
		l.prune(now)
		if l.answered == 0 && l.endedAt == 0 || len(l.handled) == 0 && l.endedAt == 0 {
			continue
		}
		c := CallMemory{
			Call: l.call, RawCall: l.rawCall, App: l.app.ID, Partition: l.partition, Epoch: l.epoch, Answered: l.answered,
			EndedAt: l.endedAt.time(), Told: l.told, Active: l.active.time(),
			NotHad: !l.had, LetGo: l.letGo,
		}
		for i := range l.handled {
			switch k := &l.handled[i]; {
			case k.own:
			case k.reply == nil && k.status/100 == 2:
				c.Keys = k.pack(c.Keys)
			default:
				c.Replies = append(c.Replies, ReplyMemory{Key: hex.EncodeToString(k.key[:]), At: k.at.time(), First: k.first, Reply: k.answer()})
			}
		}
		calls = append(calls, c)
	}
	return calls
}

// MemoryOf returns what the dispatcher knows of one partition, for its next owner; nil:
// nothing. Ask after Rest.
func (d *Dispatcher) MemoryOf(id ownership.PartitionID) []byte {
	d.mu.Lock()
	var calls []CallMemory
	if p := d.parts[id]; p != nil {
		calls = p.memory(d.now())
	}
	d.mu.Unlock()
	slices.SortFunc(calls, func(a, b CallMemory) int { return b.Active.Compare(a.Active) })
	var out []byte
	for i := range calls {
		line, err := json.Marshal(&calls[i])
		if err != nil || len(out)+len(line) >= memoryLimit {
			d.log.Warn("what is known of a partition's handled messages goes along in part", "partition", id, "calls", i, "of", len(calls), "err", err)
			break
		}
		out = append(append(out, line...), '\n')
	}
	return out
}

// RecallOf takes what the partition's owner gave with MemoryOf, or a part of it
// that ends with a call. Calls that this dispatcher knows already are added to.
func (d *Dispatcher) RecallOf(id ownership.PartitionID, memory []byte) error {
	for text := range strings.Lines(string(memory)) {
		var c CallMemory
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			return fmt.Errorf("reading what the owner of partition %s knows of handled messages: %w", id, err)
		}
		if c.Partition == id {
			d.mu.Lock()
			d.recallCall(c, false)
			d.mu.Unlock()
		}
	}
	return nil
}

// Recall begins with the memory of the node's dispatcher before this one. Call it
// before the first hand-over. What is older than any repeat is left out; what the
// table has not heard is told.
func (d *Dispatcher) Recall(m Memory) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range m.Calls {
		d.recallCall(c, true)
	}
	for _, r := range m.Records {
		switch {
		case r.Answered != nil:
			d.recordNow(*r.Answered, r.Answered.Call, r.Partition, false)
		case r.Release != nil:
			d.recordNow(*r.Release, r.Release.Call, r.Partition, false)
		case r.TakeUp != nil:
			d.recordNow(*r.TakeUp, r.TakeUp.Call, r.Partition, false)
		}
	}
}

// recallCall takes up what was known of one call. own: by a dispatcher of this node, whose
// bot is the one here.
// The lock is held.
func (d *Dispatcher) recallCall(c CallMemory, own bool) {
	app := d.apps[c.App]
	now := d.now()
	if app == nil || now.since(at(c.Active)) > rememberFor {
		return
	}
	l, err := d.queueOf(app, ownership.HandOver{Call: c.Call, RawCall: c.RawCall, Partition: c.Partition, Epoch: c.Epoch})
	if err != nil {
		return
	}
	if c.Answered == 0 && c.EndedAt.IsZero() {
		c.Answered = c.Epoch // of an older file, which holds no others
	}
	l.had, l.letGo = l.had || own && !c.NotHad, l.letGo || own && c.LetGo
	l.active = at(c.Active)
	l.answered = max(l.answered, c.Answered)
	if !c.EndedAt.IsZero() {
		d.ended(l, c.Told)
		l.endedAt = at(c.EndedAt)
	}
	handled := unpack(c.Keys)
	for _, r := range c.Replies {
		k := handledMessage{first: r.First, at: at(r.At), status: int16(r.Reply.Status)}
		if b, err := hex.DecodeString(r.Key); err == nil && len(b) == len(k.key) {
			k.key = key(b)
		} else {
			k.key = keyOfText(r.Key)
		}
		if len(r.Reply.Body) > 0 || len(r.Reply.Header) > 0 {
			k.reply = &r.Reply
		}
		handled = append(handled, k)
	}
	slices.SortStableFunc(handled, func(a, b handledMessage) int { return cmp.Compare(a.at, b.at) })
	for _, k := range handled {
		if e, old := l.find(k.key); e == nil && old == nil && now.since(k.at) <= rememberFor {
			l.keep(k)
		}
	}
	d.dueAt(l, l.nextTurn(now))
}

// packed is the size of a message in CallMemory.Keys: its key, when it was
// handled (Unix seconds), its status, and the epoch of a first notification.
const packed = len(key{}) + 4 + 2 + 8

func (k *handledMessage) pack(b []byte) []byte {
	b = append(b, k.key[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(k.at.time().Unix()))
	b = binary.BigEndian.AppendUint16(b, uint16(k.status))
	return binary.BigEndian.AppendUint64(b, uint64(k.first))
}

func unpack(b []byte) (list []handledMessage) {
	for ; len(b) >= packed; b = b[packed:] {
		k := handledMessage{key: key(b[:len(key{})])}
		rest := b[len(key{}):]
		k.at = at(time.Unix(int64(binary.BigEndian.Uint32(rest)), 0))
		k.status = int16(binary.BigEndian.Uint16(rest[4:]))
		k.first = ownership.Epoch(binary.BigEndian.Uint64(rest[6:]))
		list = append(list, k)
	}
	return list
}
