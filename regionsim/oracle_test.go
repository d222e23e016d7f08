package regionsim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/cluster"
	"tandem/ownership"
)

// oracle looks at all nodes and hears of all effects. What it finds it tells once
// in a few words; the rest of a run then only counts.
type oracle struct {
	r *region

	mu     sync.Mutex
	found  map[string]int // findings by rule
	acks   map[ownership.CallID]ownership.PartitionID
	epochs map[ownership.PartitionID]ownership.Epoch // newest at which somebody acted
	hashes map[uint64]hashed                         // of tables, by index
	calls  map[ownership.CallID]*history
	waived map[string]bool // messages that the cloud gave up: one may yet come through
}

type hashed struct {
	hash string
	by   *process
}

// history is what bots and Graph have seen of one call.
type history struct {
	epoch ownership.Epoch // newest at which anything was done
	by    *process        // who did it
	what  string
	done  []*delivery
}

// delivery is one hand-over at a bot.
type delivery struct {
	p       *process
	call    ownership.CallID
	event   ownership.Event
	message string
	epoch   ownership.Epoch
	began   time.Duration
	over    bool
	handled bool
}

// own says that the event is Tandem's own, not the cloud's.
func (d *delivery) own() bool {
	return d.event != ownership.EventIncoming && d.event != ownership.EventUpdate
}

// String tells what was handed over.
func (d *delivery) String() string {
	return fmt.Sprintf("%s %s (%s, epoch %d, after %v, handled %v)", d.event, d.message, d.p, d.epoch, d.began, d.handled)
}

// number is the place of a notification in its call.
func number(message string) int {
	n, err := strconv.Atoi(message[strings.LastIndexByte(message, '-')+1:])
	if err != nil {
		return -1
	}
	return n
}

func newOracle(r *region) *oracle {
	return &oracle{
		r: r, found: map[string]int{}, acks: map[ownership.CallID]ownership.PartitionID{},
		epochs: map[ownership.PartitionID]ownership.Epoch{}, hashes: map[uint64]hashed{}, calls: map[ownership.CallID]*history{}, waived: map[string]bool{},
	}
}

// broken notes a finding. The lock is held.
func (o *oracle) broken(rule, format string, args ...any) {
	o.found[rule]++
	if n := o.found[rule]; n > 3 {
		return
	}
	text := rule + ": " + fmt.Sprintf(format, args...)
	o.r.tell("%s", text)
	if why, known := missing[rule]; known {
		o.r.t.Logf("after %v %s (known: %s)", o.r.age(), text, why)
		return
	}
	o.r.t.Errorf("after %v %s", o.r.age(), text)
}

const lookEvery = 5 * time.Millisecond

// watch looks until ctx ends: at all that nodes say whenever their tables differ.
// Equal ones cannot make two nodes act for one thing.
func (o *oracle) watch(ctx context.Context) {
	for n := 0; doze(ctx, lookEvery); n++ {
		running := o.r.running()
		if o.sums(running) || n%64 == 0 {
			o.look(running, n%4 == 0)
		}
	}
}

// sums compares tables at equal indexes, and reports whether those that may act
// stand at several, or run twice.
func (o *oracle) sums(running []*process) (apart bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var first *process
	for i, p := range running {
		o.sum(p)
		switch {
		case !p.cl.Load().Leased():
		case first == nil:
			first = p
		case p.seen != first.seen, slices.ContainsFunc(running[:i], func(q *process) bool { return q.id == p.id }):
			apart = true
		}
	}
	return apart
}

// look compares what all nodes say at one moment.
func (o *oracle) look(running []*process, calls bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	owners := map[ownership.PartitionID]*process{}
	for _, p := range running {
		cl, tb := p.cl.Load(), p.st.Table()
		if !cl.Leased() {
			continue
		}
		for _, part := range tb.PartitionsOf(p.id) {
			if !cl.HoldsPartition(part.ID, part.Epoch) {
				continue
			}
			if other := owners[part.ID]; other != nil {
				o.broken("I1", "both %s and %s (epoch %d) act as owner of partition %d", other, p, part.Epoch, part.ID)
			}
			owners[part.ID] = p
			if newest := o.epochs[part.ID]; part.Epoch < newest {
				o.broken("I1", "%s acts on partition %d at epoch %d, after somebody acted at epoch %d", p, part.ID, part.Epoch, newest)
			}
			o.epochs[part.ID] = max(o.epochs[part.ID], part.Epoch)
		}
	}
	if !calls {
		return
	}
	for _, id := range o.r.cloud.open() {
		if a, b := o.actors(running, id); b != nil {
			o.broken("I1", "both %s and %s may act for call %s\n%s\n%s", a, b, id, a.view(id), b.view(id))
		}
	}
}

// acts reports whether a node may act for a call, which it knows. What a table shows
// of an ended call is nobody's right to act: notifications of it are taken and go
// nowhere. A call that was reserved for one node shows the partition's owner there.
func acts(cl *cluster.Cluster, id ownership.CallID) bool {
	k, ok := cl.Find(id)
	return ok && k.State != ownership.CallEnded && cl.Holds(id, k.Partition, k.Epoch)
}

// view tells what a process thinks of a call.
func (p *process) view(id ownership.CallID) string {
	tb := p.st.Table()
	k, _ := tb.Known(id)
	part, _ := tb.Partition(k.Partition)
	return fmt.Sprintf("\t%s at index %d: %+v in %+v", p, tb.Applied(), k, part)
}

// actors returns who may act for a call, two of them at most.
func (o *oracle) actors(running []*process, id ownership.CallID) (a, b *process) {
	for _, p := range running {
		cl := p.cl.Load()
		if !cl.Leased() {
			continue
		}
		if acts(cl, id) {
			if a != nil {
				return a, p
			}
			a = p
		}
	}
	return a, nil
}

// sum compares a table that went on with others at the same index. The lock is held.
func (o *oracle) sum(p *process) {
	if p.st.Table().Applied() == p.seen {
		return
	}
	hash, at := p.st.Table().Hash()
	p.seen = at
	old, known := o.hashes[at]
	switch {
	case !known:
		if len(o.hashes) > 20000 {
			clear(o.hashes)
		}
		o.hashes[at] = hashed{hash, p}
	case old.hash != hash:
		o.broken("I7", "at index %d the table of %s has hash %s, that of %s has %s", at, p, hash, old.by, old.hash)
		o.hashes[at] = hashed{hash, p}
	}
}

// acknowledged hears of a claim that succeeded.
func (o *oracle) acknowledged(p *process, id ownership.CallID, place ownership.Placement) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if old, ok := o.acks[id]; ok && old != place.Partition {
		o.broken("I3", "call %s was acknowledged in partition %d, and by %s in partition %d", id, old, p, place.Partition)
	}
	o.acks[id] = place.Partition
}

// acted hears of an effect at Graph.
func (o *oracle) acted(p *process, id ownership.CallID, e ownership.Epoch, op string) {
	running := o.r.running()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.effect(running, p, id, e, op+" at Graph")
}

// effect judges one effect at a bot or at Graph. The lock is held.
func (o *oracle) effect(running []*process, p *process, id ownership.CallID, e ownership.Epoch, what string) *history {
	h := o.calls[id]
	if h == nil {
		h = &history{}
		o.calls[id] = h
	}
	switch {
	case e < h.epoch:
		o.broken("I5", "%s of call %s by %s at epoch %d, after the %s by %s at epoch %d", what, id, p, e, h.what, h.by, h.epoch)
	case what != string(ownership.EventRejoin): // which is only an offer: a former owner that is back may have the call again
		h.epoch, h.by, h.what = e, p, what
	}
	for _, q := range running {
		if cl := q.cl.Load(); q != p && cl.Leased() {
			if acts(cl, id) {
				o.broken("I1", "%s of call %s by %s at epoch %d, while %s may act for it\n%s\n%s", what, id, p, e, q, p.view(id), q.view(id))
			}
		}
	}
	return h
}

// begin hears that a bot begins with a hand-over.
func (o *oracle) begin(p *process, h ownership.HandOver) *delivery {
	running := o.r.running()
	o.mu.Lock()
	defer o.mu.Unlock()
	d := &delivery{p: p, call: h.Call, event: h.Event, message: h.MessageID, epoch: h.Epoch, began: o.r.age()}
	if h.Event == ownership.EventLost {
		return d // to let go of a call is nobody's privilege
	}
	story := o.effect(running, p, h.Call, h.Epoch, string(h.Event))
	for _, before := range story.done {
		switch {
		case before.p == p && !before.over:
			o.broken("I4", "the bot of %s gets %s while it is at %s", p, d, before)
		case !before.handled || before.p != p || before.own() || d.own():
		case before.message == d.message:
			o.broken("I4", "the bot of %s gets %s again: it handled %s", p, d, before)
		case number(before.message) > number(d.message) && !o.waived[d.message]:
			o.broken("I4", "the bot of %s gets %s after it handled %s", p, d, before)
		}
	}
	story.done = append(story.done, d)
	return d
}

// finish hears that a bot is done with a hand-over.
func (o *oracle) finish(d *delivery, handled bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d.over, d.handled = true, handled
}

// givenUp hears that the cloud goes on without this notification having been taken.
func (o *oracle) givenUp(message string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waived[message] = true
}

// taken hears that the region took a notification: somebody's bot must have it.
// Not the first one of a call that the router answers, for that one's 202 comes
// first; and a bot may hear of a new call by `adopted` instead.
func (o *oracle) taken(k *call, n int, change string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n == 0 && k.app == appMovable {
		return
	}
	message := fmt.Sprintf("%s-%d", k.id, n)
	var done []*delivery
	if h := o.calls[k.id]; h != nil {
		done = h.done
	}
	if slices.ContainsFunc(done, func(d *delivery) bool { return d.handled && (d.message == message || n == 0 && d.own()) }) {
		return
	}
	o.broken("I4", "the region took notification %s (%s), which no bot handled; they had %v", message, change, done)
}

// final compares the tables after a time of rest.
func (o *oracle) final(running []*process) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var first string
	for i, p := range running {
		tb := p.st.Table()
		hash, at := tb.Hash()
		text := fmt.Sprintf("%s at index %d", hash, at)
		if i == 0 {
			first = text
		} else if text != first {
			o.broken("I7", "in the end %s has %s, %s has %s", running[0], first, p, text)
		}
		lost := 0
		for _, id := range slices.Sorted(maps.Keys(o.acks)) {
			if k, ok := tb.Known(id); !ok || k.Partition != o.acks[id] {
				if lost++; lost == 1 {
					o.broken("I3", "call %s was acknowledged in partition %d; in the end the table of %s says %+v (%v)", id, o.acks[id], p, k, ok)
				}
			}
		}
		if lost > 1 {
			o.broken("I3", "%d acknowledged claims are not in the table of %s", lost, p)
		}
	}
}
