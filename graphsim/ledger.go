package graphsim

import (
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
	"time"
)

// ledger keeps everything that the cloud and the bots observe. One lock and one
// running number give all observations of the process one order: when a 2xx has
// number 7 and a POST number 8, the POST certainly began after the 2xx was read.
// Calls are forgotten a while after their end (fold).
type ledger struct {
	mu    sync.Mutex
	seq   uint64
	calls map[string]*call
	order []*call // by birth, without the forgotten

	notices map[string]*notice // by call and message id

	handshakes, duplicates, retries int
	invited                         int
	redirects, hopsMax              PerKind
	responses, refusals             map[string]int
	decisions                       []time.Duration
	strays                          noted
	unknown                         noted           // hand-overs of nothing that was sent
	past                            totals          // of calls that are forgotten
	fates                           map[string]Fate // theirs, where Config.Remember asks for them
	untold                          map[string]bool // those of them whose end no router took
	journeys                        map[string]*Journey
	chains                          map[string]*chain // records of forgotten calls, by chain
	changed                         chan struct{}     // closed at the next observation; nil: nobody waits
}

func newLedger() *ledger {
	return &ledger{
		calls:     map[string]*call{},
		notices:   map[string]*notice{},
		responses: map[string]int{},
		refusals:  map[string]int{},
		past:      totals{report: Report{Summary: Summary{CallsByNode: map[string]int{}}}, deaths: map[string][]mark{}, fenced: map[string][]mark{}, paused: map[string][]mark{}, woke: map[string][]mark{}},
		fates:     map[string]Fate{},
		untold:    map[string]bool{},
	}
}

// notice is one notification about one call, as the oracle follows it. The
// first notification of a call may go out under several message ids.
type notice struct {
	call     *call
	what     string // for sentences: "incoming", "established", "tone"
	first    bool
	wantBody string // what a bot's response must contain to have passed through
	botFails bool   // the bot refuses it once
	loose    bool   // need not be handed over: it says nothing about who owns the call

	bodySum   [32]byte
	sentSeq   uint64 // first POST began; 0: not sent
	okSeq     uint64 // first 2xx was read; 0: none
	gaveUp    string // why no 2xx came
	badReply  bool
	abandoned bool
	posted    map[string]uint64 // node to the number of the first POST to it
	lastStart time.Time         // when the POST that got the 2xx began
	handled   []*sighting
}

// sighting is one hand-over as the bot of a node saw it.
type sighting struct {
	seq, doneSeq     uint64
	at               time.Time
	node             string
	event            string
	call, message    string
	partition, epoch uint64
	callback         string
	altered          bool
	past             bool // a hand-over of a newer epoch came before
	status           int  // the bot's response; 0: still at work
	notice           *notice
	foreign          tried // of a foreign bot
}

// action is one request of the calls API about a call.
type action struct {
	at       time.Time
	verb     string
	callback string
	epoch    uint64 // of the Tandem-Epoch header or the callback URI; 0: unknown
	region   string // of the callback URI
	part     uint64
	status   int
	stale    string // why it should not have come; empty: fine
}

// taken are the hand-overs that the bot did not refuse.
func (n *notice) taken() []*sighting {
	return slices.DeleteFunc(slices.Clone(n.handled), func(s *sighting) bool { return s.status >= 500 })
}

// present are those of them that came with no past epoch.
func (n *notice) present() []*sighting {
	return slices.DeleteFunc(n.taken(), func(s *sighting) bool { return s.past })
}

func normal(callID string) string {
	return strings.ToLower(strings.ReplaceAll(callID, "-", ""))
}

func noticeKey(callID, message string) string { return callID + " " + message }

// next returns the next number; the lock is held.
func (l *ledger) next() uint64 {
	l.seq++
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return l.seq
}

// change is closed at the next observation.
func (l *ledger) change() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

func (l *ledger) begin(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls[c.id] = c
	l.order = append(l.order, c)
}

func (l *ledger) find(callID string) (*call, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.calls[normal(callID)]
	return c, ok
}

// enter makes a notice known under its message ids before it is sent.
func (l *ledger) enter(n *notice, body string, messages ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.bodySum = sha256.Sum256([]byte(body))
	n.posted = map[string]uint64{}
	n.call.notices = append(n.call.notices, n)
	n.call.messages = append(n.call.messages, messages...)
	for _, m := range messages {
		l.notices[noticeKey(n.call.id, m)] = n
	}
}

// posting notes that a POST begins; the node is empty when it is not known.
func (l *ledger) posting(notices []*notice, at spot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := l.next()
	for _, n := range notices {
		if n.sentSeq == 0 {
			n.sentSeq = seq
		}
		if _, ok := n.posted[at.node]; !ok {
			n.posted[at.node] = seq
		}
		if n.first && n.call.landed == "" {
			n.call.landed = at.region
		}
	}
}

// accepted notes a 2xx whose POST began at start.
func (l *ledger) accepted(notices []*notice, reply string, start time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := l.next()
	for _, n := range notices {
		again := n.okSeq != 0
		if !again {
			n.okSeq, n.lastStart = seq, start
		}
		// A repeat that comes while its call ends may be taken without a body:
		// nobody acts on it any more.
		if !strings.Contains(reply, n.wantBody) && !(again && n.call.end != nil) {
			n.badReply = true
		}
	}
}

func (l *ledger) failed(notices []*notice, why string, abandoned bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range notices {
		n.gaveUp, n.abandoned = why, abandoned
	}
}

// arrived notes a hand-over and tells whether the bot is to refuse it.
func (l *ledger) arrived(s *sighting, body []byte) (refuse, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.seq, s.at = l.next(), time.Now()
	c, ok := l.calls[s.call]
	if !ok {
		if !s.own() || !l.untold[s.call] { // a router that was not told of the end goes on with the call
			l.unknown.add(s.node + " was handed " + s.event + " of a call that does not exist: " + s.call)
		}
		return false, false
	}
	// Only who has the call hands over; `lost` tells of the one who has it now.
	s.past = s.event != "lost" && slices.ContainsFunc(c.seen, func(o *sighting) bool { return o.event != "lost" && o.epoch > s.epoch })
	c.seen = append(c.seen, s)
	if s.own() {
		return false, true
	}
	n, ok := l.notices[noticeKey(s.call, s.message)]
	if !ok || n.first != (s.event == "incoming") {
		l.unknown.add(s.node + " was handed " + s.event + " with message id " + s.message + ", which is no such notification of call " + s.call)
		return false, true
	}
	s.notice = n
	s.altered = sha256.Sum256(body) != n.bodySum
	n.handled = append(n.handled, s)
	if n.botFails {
		n.botFails = false
		return true, true
	}
	return false, true
}

// named says what was handed over, for a live view.
func (l *ledger) named(s *sighting) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.event != "update" || s.notice == nil {
		return s.event
	}
	return s.notice.what
}

func (l *ledger) done(s *sighting, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.status, s.doneSeq = status, l.next()
	l.handedOver(s, status)
}

// count changes counters under the lock.
func (l *ledger) count(f func(l *ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}
