package region

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tandem/ownership"
)

// Bot is the bot beside every node. It takes all that it is handed, at once and without a
// word, and keeps of each call by which node and with which callback URI it was told last.
type Bot struct {
	base   string
	server *http.Server
	chunks [most / inChunk]atomic.Pointer[chunk] // by the numbers of calls

	mu   sync.Mutex
	told map[of]*atomic.Int64
}

// Bounds of the bot's book.
const (
	inChunk = 1 << 16
	most    = 1 << 28 // calls
)

type chunk [inChunk]atomic.Pointer[Seat]

// Seat is where a call is.
type Seat struct {
	Node    ownership.NodeID
	Adopted bool   // it was another node's before
	path    string // of its callback URI
}

// of is what a bot counts: events by node.
type of struct {
	node  ownership.NodeID
	event ownership.Event
}

func openBot() (*Bot, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening the bot: %w", err)
	}
	b := &Bot{base: "http://" + l.Addr().String() + "/", told: map[of]*atomic.Int64{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{node}/health", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"load":0,"capacity":%d}`, Room)
	})
	mux.HandleFunc("POST /{node}/", b.take)
	b.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = b.server.Serve(l) }() // ends with close
	return b, nil
}

func (b *Bot) url(node ownership.NodeID) string { return b.base + string(node) + "/" }

func (b *Bot) close() { _ = b.server.Close() } // its listener is gone either way

func (b *Bot) take(w http.ResponseWriter, r *http.Request) {
	what := of{ownership.NodeID(r.PathValue("node")), ownership.Event(r.Header.Get("Tandem-Event"))}
	b.counter(what).Add(1)
	switch what.event {
	case ownership.EventIncoming, ownership.EventAdopted, ownership.EventRejoin:
		n, err1 := numberOf(r.Header.Get("Tandem-Call"))
		u, err2 := url.Parse(r.Header.Get("Tandem-Callback-Uri"))
		if err1 == nil && err2 == nil {
			b.slot(n).Store(&Seat{what.node, what.event != ownership.EventIncoming, u.RequestURI()})
		}
	}
	w.WriteHeader(http.StatusOK)
}

func (b *Bot) counter(what of) *atomic.Int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.told[what]
	if c == nil {
		c = &atomic.Int64{}
		b.told[what] = c
	}
	return c
}

// Told counts how often the bot beside a node heard of an event; no node: all of them.
func (b *Bot) Told(node ownership.NodeID, event ownership.Event) (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for what, c := range b.told {
		if what.event == event && (node == "" || node == what.node) {
			n += c.Load()
		}
	}
	return n
}

func (b *Bot) slot(n uint64) *atomic.Pointer[Seat] {
	at := &b.chunks[n/inChunk%uint64(len(b.chunks))]
	for at.Load() == nil {
		at.CompareAndSwap(nil, new(chunk))
	}
	return &at.Load()[n%inChunk]
}

// Seat is where a call is, by its number; nil: the bot never heard of it, or it has ended.
func (b *Bot) Seat(n uint64) *Seat { return b.slot(n).Load() }

// call is the id of a call. Ids of a cloud are in no order, so the number comes last.
func call(n uint64) ownership.CallID {
	mixed := (n ^ n>>30) * 0xbf58476d1ce4e5b9
	mixed = (mixed ^ mixed>>27) * 0x94d049bb133111eb
	return ownership.CallID(fmt.Sprintf("%016x%016x", mixed^mixed>>31, n))
}

// numberOf reads the number of a call off its id.
func numberOf(id string) (uint64, error) {
	if len(id) != 32 {
		return 0, fmt.Errorf("%q is no id of a call", id)
	}
	return strconv.ParseUint(id[16:], 16, 64)
}
