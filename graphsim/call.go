package graphsim

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// call is one call as the cloud keeps it. What is set at birth is read freely; its
// course is under the ledger's lock.
type call struct {
	draft
	id          string // normalised
	raw         string // dashed
	region      string // where GeoDNS sends it
	dc          string
	host        *call // on whose callback URI it rings; nil: it rings on the webhook
	clock       time.Duration
	webhookPath string // for reading callback URIs
	dice        *dice
	born        time.Time
	due         time.Time // when the load wanted it to ring
	token       string    // made at birth, used again for most of its notifications

	answered chan struct{} // closed by an accepted answer or reject
	hangup   chan struct{} // closed by DELETE
	gone     chan struct{} // closed when the caller hangs up while it rings

	course
}

// draft is what calls that belong together share. The zero value is an incoming call of
// two people for the first app.
type draft struct {
	app       App
	tenant    string
	chain     string
	thread    string // empty: a call of two
	observed  string // participant that a recording is about
	origin    Origin
	recording bool
	paired    bool
	outgoing  bool
}

// course is what becomes of a call.
type course struct {
	died       string // of what code, code/subcode, where its bot let it die; empty: it did not
	firstPost  time.Time
	landed     string    // region of the node that the first notification was posted to first
	invited    bool      // it rang on its host's callback URI
	answeredAt time.Time // an answer that was in time
	rejectedAt time.Time
	lateAnswer time.Time
	keptAt     time.Time // last keepAlive
	callback   string
	home       string // region of the callback URI
	over       bool   // the cloud knows it no more
	overSince  time.Time
	hungUp     bool      // the caller hung up while it rang
	overAt     time.Time // its last notification was delivered
	abandoned  bool
	end        *notice // the first notification of its end
	notices    []*notice
	messages   []string // their message ids
	seen       []*sighting
	actions    []*action
}

// settled: answered, rejected, or not to be answered at all.
func (c *call) settled() bool {
	return !c.answeredAt.IsZero() || !c.rejectedAt.IsZero() || c.outgoing
}

// ends: the cloud knows the call no more; the ledger's lock is held.
func (k *call) ends() {
	if !k.over {
		k.over, k.overSince = true, time.Now()
	}
}

// kind is the call's nature for sentences.
func (c *call) kind() string {
	switch {
	case c.outgoing:
		return "outgoing"
	case c.recording:
		return "recording"
	case c.thread != "":
		return "meeting"
	}
	return "p2p"
}

// readCallback reads region, partition and epoch out of a callback URI
// ({webhook_path}/{region}/{partition}/{epoch}/{ref}); zero values where it has
// another form, as a router is free to change it.
func readCallback(uri, webhookPath string) (region string, partition, epoch uint64) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", 0, 0
	}
	_, rest, ok := strings.Cut(u.Path, webhookPath+"/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 4 {
		return "", 0, 0
	}
	partition, err = strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return "", 0, 0
	}
	epoch, err = strconv.ParseUint(parts[2], 10, 64)
	if err != nil {
		return "", 0, 0
	}
	return parts[0], partition, epoch
}

// die ends the call right after its answer. The ledger's lock is held.
func (k *call) die(code string) {
	if k.died != "" {
		return
	}
	set(&code, "200/5001")
	k.died = code
	select {
	case <-k.hangup:
	default:
		close(k.hangup)
	}
}
