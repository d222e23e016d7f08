package ownership

import "time"

// Event says what a hand-over tells the bot.
type Event string

// The events of the bot's door.
const (
	EventIncoming Event = "incoming" // a new call
	EventUpdate   Event = "update"   // any later notification
	EventAdopted  Event = "adopted"  // the call came over from a dead or drained node
	EventRejoin   Event = "rejoin"   // the call's media died with its node: rejoin it
	EventLost     Event = "lost"     // the call is another node's now: let go of it
)

// HandOver is one notification, or one event of Tandem's own, on its way to the
// bot of the owner. It crosses the peer link as it is.
type HandOver struct {
	Event       Event
	App         AppID
	Tenant      TenantID
	Call        CallID
	RawCall     string // the id as the cloud spelled it, for Graph's URLs
	Partition   PartitionID
	Epoch       Epoch
	CallbackURI string
	Deadline    time.Time // for incoming: when the answer must be out; else zero
	MessageID   string    // the cloud's delivery id: the same on its retries
	Ends        bool      // it tells of the end of the call
	Result      string    // of an end: the cloud's resultInfo, code/subcode; empty: it tells none
	Recording   bool      // policy recording: 5 s instead of 15 s
	Thread      string    // the meeting's chat thread, if it tells
	Organizer   string    // the meeting's organizer, if it tells
	Received    time.Time // when the first node saw it
	Header      map[string][]string
	Body        []byte // raw, byte for byte
}

// Reply is the bot's answer to a hand-over, passed through to the cloud.
type Reply struct {
	Status int
	Header map[string][]string
	Body   []byte
}

// Letter is a notification as the cloud sent it, on its way to another region's public
// door, which judges it anew. It holds the cloud's token: it is for no log.
type Letter struct {
	Target string              // path and query there: the webhook's or a callback URI's, with a hop mark
	Header map[string][]string // the cloud's own, the token among them
	Body   []byte              // raw, byte for byte
}

// Supposed is a notification that has not arrived: what would be done with it is to be
// explained, and nothing of it done.
type Supposed struct {
	Target string              // path and query of a callback URI or of a redirect; empty: the webhook's path
	Header map[string][]string // its own headers, with its token in Authorization where that is to be judged
	Body   []byte
	// App and Tenant are what its token would say, where Header holds none.
	App    AppID
	Tenant TenantID
}
