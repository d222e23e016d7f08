package store

import (
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

// pen writes down what an act changes: in the state and its sum, in the batch on its
// way to the file, and in the history.
type pen struct {
	st    *state
	b     *batch
	index uint64    // of the act
	at    time.Time // of the act
	seq   uint64    // of the next event
}

// reserves reports whether the region keeps the calls of silent nodes for them, and
// with that follows all rules of command format 3. A region of an older format must
// do what software of that time does, to the byte.
func (p *pen) reserves() bool { return p.st.format >= ownership.FormatReservations }

func (p *pen) emit(e history.Event) {
	e.At = p.at
	id := p.index<<record.EventIDShift | p.seq
	p.seq++
	p.b.events = append(p.b.events, pendingEvent{id: id, value: record.SealEvent(id, &e)})
}

// putCall writes a call's record; old is the sum of the record it replaces, 0
// for a new call.
func (p *pen) putCall(c *ownership.Call, old uint64) {
	key, value := record.SealCall(c)
	p.st.sum += record.Sum(record.KindCall, key, value) - old
	p.b.calls[c.ID] = value
}

func (p *pen) putNode(n ownership.Node) {
	if have, ok := p.st.nodes[n.ID]; ok {
		key, value := record.SealNode(&have.rec)
		p.st.sum -= record.Sum(record.KindNode, key, value)
	}
	key, value := record.SealNode(&n)
	p.st.sum += record.Sum(record.KindNode, key, value)
	p.b.nodes[n.ID] = value
	p.st.setNode(n)
}

func (p *pen) dropNode(n *ownership.Node) {
	key, value := record.SealNode(n)
	p.st.sum -= record.Sum(record.KindNode, key, value)
	p.b.nodes[n.ID] = nil
	p.st.dropNode(n.ID)
}

func (p *pen) putPartition(part ownership.Partition) {
	if have, ok := p.st.parts[part.ID]; ok {
		key, value := record.SealPartition(&have.rec)
		p.st.sum -= record.Sum(record.KindPartition, key, value)
	}
	key, value := record.SealPartition(&part)
	p.st.sum += record.Sum(record.KindPartition, key, value)
	p.b.parts[part.ID] = value
	p.st.setPartition(part)
}

func (p *pen) dropPartition(part *ownership.Partition) {
	key, value := record.SealPartition(part)
	p.st.sum -= record.Sum(record.KindPartition, key, value)
	p.b.parts[part.ID] = nil
	p.st.dropPartition(part.ID)
}
