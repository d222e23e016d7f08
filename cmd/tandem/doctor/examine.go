package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/cmd/tandem/doors"
	"tandem/ownership"
)

// Seen is what one examination saw.
type Seen struct {
	At      time.Time
	Asked   ownership.NodeID
	Regions []api.Region // as the asked node sees them
	Nodes   []Node
	Public  []Public
}

// Node is what one node's admin door told; Err says why it told nothing.
type Node struct {
	Region   ownership.Region
	ID       ownership.NodeID
	State    string // as its region tells
	Silence  string // why it is silent, and what came of it
	Version  string // as its region tells
	Err      error
	Status   api.Status
	Clock    time.Duration // its clock less ours, in the middle of the question
	RTT      time.Duration // of that question: the clock is known to half of it
	Ready    api.Readiness
	Promises []api.Promise
	Peers    []api.Peer
	Metrics  map[string]float64
}

// Public is one public address, and how it answered from here.
type Public struct {
	Who  string // region or node
	URL  string
	Err  error     // it cannot be reached, or whoever answers is no public door
	Ends time.Time // of the certificate that it showed; zero: plain http
	// Inner: its name never leaves the machine (RFC 6761, 6.3), so only a simulated cloud can
	// post there, and it was not looked at.
	Inner bool
}

// patience bounds what one door is given.
const patience = 10 * time.Second

// Examine asks all doors at once. The error is the asked door's.
func Examine(ctx context.Context, asked *client.Client, dial doors.Dial, public *http.Client) (Seen, error) {
	s := Seen{At: time.Now()}
	self, err := asked.Status(ctx)
	if err != nil {
		return s, err
	}
	s.Asked = self.Node
	if s.Regions, err = asked.Regions(ctx); err != nil {
		return s, err
	}
	everywhere := *asked
	everywhere.Region, everywhere.Gathered = "all", nil
	records, err := everywhere.Nodes(ctx)
	if err != nil {
		return s, err
	}
	all, err := doors.All(ctx, asked, dial, false)
	if err != nil {
		return s, err
	}
	defer doors.Close(all, asked)
	for _, r := range s.Regions {
		if r.URL != "" {
			s.Public = append(s.Public, Public{Who: "region " + string(r.Name), URL: r.URL})
		}
	}
	s.Nodes = make([]Node, len(all))
	for _, d := range all {
		if d.Node.PublicURL != "" {
			s.Public = append(s.Public, Public{Who: "node " + string(d.Node.ID), URL: d.Node.PublicURL})
		}
	}
	var wait sync.WaitGroup
	for i, d := range all {
		wait.Go(func() { s.Nodes[i] = examine(ctx, d) })
	}
	for i := range s.Public {
		if s.Public[i].Inner = inner(s.Public[i].URL); !s.Public[i].Inner {
			wait.Go(func() { s.Public[i].look(ctx, public) })
		}
	}
	wait.Wait()
	for _, r := range records {
		if i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.ID == r.ID && n.Region == r.Region }); i >= 0 && r.Silence != nil {
			s.Nodes[i].Silence = r.Silence.Text
		}
	}
	return s, nil
}

func examine(ctx context.Context, d doors.Door) Node {
	n := Node{Region: d.Region, ID: d.Node.ID, State: d.Node.State, Version: d.Node.Version, Err: d.Err}
	if n.Err != nil {
		return n
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if n.Err = d.Client.Live(ctx); n.Err != nil { // the connection is made before the clock is asked
		return n
	}
	begun := time.Now()
	if n.Status, n.Err = d.Client.Status(ctx); n.Err != nil {
		return n
	}
	n.RTT = time.Since(begun)
	n.Clock = n.Status.Now.Sub(begun.Add(n.RTT / 2))
	if n.Ready, n.Err = d.Client.Ready(ctx); n.Err != nil {
		return n
	}
	if n.Promises, n.Err = d.Client.Guarantees(ctx); n.Err != nil {
		return n
	}
	if n.Peers, n.Err = d.Client.Peers(ctx); n.Err != nil {
		return n
	}
	text, err := client.Inside{Client: d.Client}.Metrics(ctx)
	if err != nil {
		n.Err = err
		return n
	}
	n.Metrics = map[string]float64{}
	for name, v := range client.Samples(text) {
		n.Metrics[name] = v
	}
	return n
}

func inner(address string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), ".localhost")
}

// NewPublic makes the client that public doors are looked at with: as the cloud would, by
// the system's authorities or those of tls, and following nothing.
func NewPublic(trust *tls.Config) *http.Client {
	return &http.Client{
		Timeout:       patience,
		Transport:     &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// errNoDoor: something answers there that is no public door.
var errNoDoor = errors.New("whoever answers there is no public door of Tandem")

// look asks for a path that no door has. A public door says so in its own words, which
// nobody else has.
func (p *Public) look(ctx context.Context, c *http.Client) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/.well-known/tandem-doctor", nil)
	if err != nil {
		p.Err = err
		return
	}
	res, err := c.Do(r)
	if err != nil {
		p.Err = fmt.Errorf("it cannot be reached from here: %w", errors.Unwrap(err))
		return
	}
	defer res.Body.Close()
	if res.TLS != nil && len(res.TLS.PeerCertificates) > 0 {
		p.Ends = res.TLS.PeerCertificates[0].NotAfter
	}
	var told struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // half an answer is none of a door's
	if json.Unmarshal(text, &told) != nil || told.Error.Code == "" {
		p.Err = fmt.Errorf("%w: it answered %s", errNoDoor, res.Status)
	}
}
