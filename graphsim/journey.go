package graphsim

import (
	"slices"
	"time"
)

// Journey is the way of one notification as the cloud and the bots saw it, to hold against
// what a router says of it.
type Journey struct {
	Message string // the id of the delivery
	Call    string // normalised id of the call that it is about, or of the first one
	What    string
	Posts   []Post     // in the order in which they ended
	Handed  []HandedTo // to bots, of all its calls
}

// Post is one request that carried it.
type Post struct {
	At     time.Time
	Node   string
	Status int    // 0: no response was read
	Region string // of the node
}

// HandedTo is one hand-over of it to a bot.
type HandedTo struct {
	Node, Event, Call string
	Epoch             uint64
	Status            int // 0: it was cut off
}

// Journeys returns all journeys since the start, in no certain order; none without
// Config.Journeys.
func (c *Cloud) Journeys() []Journey {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Journey, 0, len(l.journeys))
	for _, j := range l.journeys {
		got := *j
		got.Posts, got.Handed = slices.Clone(j.Posts), slices.Clone(j.Handed)
		all = append(all, got)
	}
	return all
}

// passed notes one request. Where a redirect led, the next one was sent to.
func (c *Cloud) passed(p parcel, at spot, r reply) {
	c.ledger.count(func(l *ledger) {
		if j := l.journey(p.message); j != nil {
			j.Posts = append(j.Posts, Post{At: r.start, Node: at.node, Region: at.region, Status: r.status})
			j.Call, j.What = p.call.id, p.what()
		}
	})
}

// journey is that of a message; nil: none are kept. The lock is held.
func (l *ledger) journey(message string) *Journey {
	j := l.journeys[message]
	if j == nil && l.journeys != nil {
		j = &Journey{Message: message}
		l.journeys[message] = j
	}
	return j
}

// handedOver notes what a bot was handed; the lock is held.
func (l *ledger) handedOver(s *sighting, status int) {
	j := l.journey(s.message)
	if j == nil || s.own() {
		return
	}
	j.Handed = append(j.Handed, HandedTo{Node: s.node, Event: s.event, Call: s.call, Epoch: s.epoch, Status: status})
}
