package desk

import (
	"net/url"
	"time"

	"tandem/ownership"
)

// endsWithinTable is how long an end that was acknowledged may take to reach the
// table of a node that lags.
const endsWithinTable = 5 * time.Second

// eventLocked keeps the bots' own books: who has the media of a call. No bot is
// told to rejoin a call whose media it has, none goes on with a call that ended,
// and none is rung twice.
func (d *Desk) eventLocked(node ownership.NodeID, call ownership.CallID, event ownership.Event) {
	at := mediaAt{node, call}
	if ended, ok := d.over[call]; ok && event != ownership.EventLost && event != ownership.EventUpdate && time.Since(ended) > endsWithinTable {
		d.breakLocked("I4: the bot of %s was told %s of call %s, which had ended %s before", node, event, call, time.Since(ended).Round(time.Millisecond))
	}
	switch event {
	case ownership.EventRejoin:
		if d.media[at] {
			d.breakLocked("I4: the bot of %s was told to rejoin call %s, whose media it has", node, call)
		}
		d.media[at] = true
	case ownership.EventIncoming, ownership.EventAdopted:
		d.media[at] = true
	case ownership.EventLost:
		delete(d.media, at)
	}
}

// NewRegion forgets who owned what: the region is founded anew, or was restored.
func (d *Desk) NewRegion() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.owners)
	clear(d.newest)
}

// Has returns the nodes whose bots have media of the call.
func (d *Desk) Has(call ownership.CallID) []ownership.NodeID {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []ownership.NodeID
	for at := range d.media {
		if at.call == call {
			all = append(all, at.node)
		}
	}
	return all
}

// Ended notes that an operator's end of a call was acknowledged.
func (d *Desk) Ended(call ownership.CallID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.over[call]; !known {
		d.over[call] = time.Now()
	}
}

// SetPosts makes the bot beside a node answer its hand-overs with a status; 0: as
// it should. Its health says that it is well all the same.
func (d *Desk) SetPosts(node ownership.NodeID, status int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if status == 0 {
		delete(d.posts, node)
		return
	}
	d.posts[node] = status
}

// pathOf is a callback URI without the region's base, which no DNS here knows.
func pathOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || uri == "" {
		return ""
	}
	return u.RequestURI()
}
