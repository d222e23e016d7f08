// Package desk is the bot of the calls that the rig claims: it takes every call, and finds
// two owners and passed epochs.
package desk

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/ownership"
)

// Desk is the bot of the claimed calls beside every node. It takes every call,
// never answers it at the cloud, and watches: within one epoch a partition has
// one owner, and nothing is handed over with a passed epoch.
type Desk struct {
	base   string
	server *http.Server

	mu     sync.Mutex
	owners map[ownedAt]seenOwner
	newest map[ownership.CallID]ownership.Epoch
	told   map[ownership.CallID][]Told
	broken []string
	woke   map[ownership.NodeID]time.Time // when a paused node went on
	media  map[mediaAt]bool               // the bot of a node has the call's media
	over   map[ownership.CallID]time.Time // ended by an operator: nobody is to go on with it
	posts  map[ownership.NodeID]int       // status of hand-overs; absent: 200
	late   int                            // hand-overs that were on their way when their node was paused
}

// Plenty is how many live calls a node may hold: the rig never fills one.
const Plenty = 1_000_000

// Told is one event that the desk was handed.
type Told struct {
	At    time.Time
	Event ownership.Event
	Node  ownership.NodeID
	Epoch ownership.Epoch

	Partition ownership.PartitionID
	Message   string // the cloud's delivery id
	URI       string // where the call's notifications go, without the region's base
	Refused   bool   // by the bot, as SetPosts said
}

type mediaAt struct {
	node ownership.NodeID
	call ownership.CallID
}

type ownedAt struct {
	partition ownership.PartitionID
	epoch     ownership.Epoch
}

type seenOwner struct {
	node ownership.NodeID
	by   string
}

// Open opens the desk on a host, with TLS if conf is not nil.
func Open(host string, conf *tls.Config) (*Desk, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", host+":0")
	if err != nil {
		return nil, fmt.Errorf("opening the rig's desk: %w", err)
	}
	d := &Desk{
		base:   "http://" + l.Addr().String() + "/",
		owners: map[ownedAt]seenOwner{}, newest: map[ownership.CallID]ownership.Epoch{}, told: map[ownership.CallID][]Told{}, woke: map[ownership.NodeID]time.Time{},
		media: map[mediaAt]bool{}, over: map[ownership.CallID]time.Time{}, posts: map[ownership.NodeID]int{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{node}/health", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"load":0,"capacity":%d}`, Plenty)
	})
	mux.HandleFunc("POST /{node}/", d.take)
	d.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	if conf != nil {
		d.base = "https://" + l.Addr().String() + "/"
		d.server.TLSConfig = conf.Clone()
		go func() { _ = d.server.ServeTLS(l, "", "") }() // ends with Close
		return d, nil
	}
	go func() { _ = d.server.Serve(l) }() // ends with Close
	return d, nil
}

// URL is where the bot beside a node listens.
func (d *Desk) URL(node ownership.NodeID) string { return d.base + string(node) + "/" }

// Close ends the desk's server.
func (d *Desk) Close() { _ = d.server.Close() } // its listener is gone either way

// onItsWay: no fence on this side of the bot's door can stop a hand-over that
// was past it when its process was stopped. It arrives right after the process
// goes on, with the epoch that it carries, and the bot's actions carry it too.
const onItsWay = 500 * time.Millisecond

// Woke notes that a paused node goes on.
func (d *Desk) Woke(node ownership.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.woke[node] = time.Now()
}

// Late counts the hand-overs that were on their way when their node was paused.
func (d *Desk) Late() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.late
}

// Granted is what the desk answers to the first notification, so that the
// claimant learns the owner from the response that passes through.
type Granted struct {
	Node      ownership.NodeID      `json:"node"`
	Partition ownership.PartitionID `json:"partition"`
	Epoch     ownership.Epoch       `json:"epoch"`
}

func (d *Desk) take(w http.ResponseWriter, r *http.Request) {
	part, _ := strconv.ParseUint(r.Header.Get("Tandem-Partition"), 10, 32) // absent: 0, which is told below
	epoch, _ := strconv.ParseUint(r.Header.Get("Tandem-Epoch"), 10, 64)    // absent: 0, which is told below
	g := Granted{ownership.NodeID(r.PathValue("node")), ownership.PartitionID(part), ownership.Epoch(epoch)}
	call := ownership.CallID(strings.ToLower(r.Header.Get("Tandem-Call")))
	event := ownership.Event(r.Header.Get("Tandem-Event"))
	if event != ownership.EventLost { // that one tells of somebody else's call
		d.Owner(g.Partition, g.Epoch, g.Node, "the bot beside "+string(g.Node))
	}
	d.mu.Lock()
	status := d.posts[g.Node]
	if status != 0 {
		d.told[call] = append(d.told[call], Told{At: time.Now(), Event: event, Node: g.Node, Epoch: g.Epoch, Refused: true})
		d.mu.Unlock()
		w.WriteHeader(status)
		return
	}
	switch at := d.newest[call]; {
	case event == ownership.EventLost:
	case g.Epoch < at && time.Since(d.woke[g.Node]) < onItsWay:
		d.late++
	case g.Epoch < at || g.Epoch == 0:
		d.breakLocked("I5: call %s: %s was handed %s with epoch %d after epoch %d", call, g.Node, event, g.Epoch, at)
	default:
		d.newest[call] = g.Epoch
	}
	d.eventLocked(g.Node, call, event)
	d.told[call] = append(d.told[call], Told{
		At: time.Now(), Event: event, Node: g.Node, Epoch: g.Epoch, Partition: g.Partition,
		Message: r.Header.Get("X-Microsoft-Skype-Message-ID"), URI: pathOf(r.Header.Get("Tandem-Callback-Uri")),
	})
	d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(g) // a node that left has lost it, and repeats
}

// Owner notes that somebody said a node owns a partition at an epoch: everybody
// must say the same.
func (d *Desk) Owner(p ownership.PartitionID, e ownership.Epoch, node ownership.NodeID, by string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before, known := d.owners[ownedAt{p, e}]
	if !known {
		d.owners[ownedAt{p, e}] = seenOwner{node, by}
		return
	}
	if before.node != node {
		d.breakLocked("I1: partition %d at epoch %d: %s says %s owns it, %s said %s", p, e, by, node, before.by, before.node)
	}
}

// Break notes what somebody else saw.
func (d *Desk) Break(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.breakLocked(format, args...)
}

func (d *Desk) breakLocked(format string, args ...any) {
	if len(d.broken) < 20 {
		d.broken = append(d.broken, fmt.Sprintf(format, args...))
	}
}

// Broken returns what the desk found wrong.
func (d *Desk) Broken() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.broken...)
}

// Of returns what the desk was told of a call, in order.
func (d *Desk) Of(call ownership.CallID) []Told {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Told(nil), d.told[call]...)
}
