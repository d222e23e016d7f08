package graphsim

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// Target is one node as the public DNS name of the deployment may resolve to.
type Target struct {
	Region string
	Node   string
	URL    string  // base URL of the node's public door, such as http://127.0.0.1:8443
	Weight float64 // how often the name resolves to it within its region; 0: by place in the list
	Down   bool    // health checks fail: names resolve to it only where they must
}

// App is one bot registration at the cloud.
type App struct {
	ID           string   // GUID: the audience of the tokens
	Tenants      []string // GUIDs of the tenants whose users call it; empty: three made-up ones
	ClientID     string   // for the token endpoint; empty: ID
	ClientSecret string   // empty: "secret"
	Proofs       Proofs   // what else it may show there
	Pinned       bool     // its media are at the bot: only such calls can be rejoined
}

// Origin is a place that calls come from.
type Origin struct {
	Geo     string  // participantInfo.region and Caller-Region header: amer, emea, apac
	Country string  // ISO 3166 alpha-2, participantInfo.countryCode
	Near    string  // the deployment's region that GeoDNS should choose; empty: any
	Weight  float64 // share of the calls; 0: 1
}

// Config describes the deployment under test and how unkind the cloud is. The
// zero value of a field means its default; the zero Rates mean Unkind().
type Config struct {
	Listen      string            // default 127.0.0.1:0
	Targets     []Target          // the nodes; may be set later with SetTargets
	RegionURLs  map[string]string // region to the base of its callback URIs (region_url); such a base resolves to any node of the region
	WebhookPath string            // default /api/calls
	Apps        []App             // default one
	Origins     []Origin          // default: one for each region of the targets
	Answering   Answering         // who answers: default AnswerByRouter
	BotSecret   string            // the bots take only hand-overs that are signed with it; empty: all
	Capacity    int               // what the bots report, calls a node; default 50
	Seed        uint64            // of all random choices; 0 is a seed too
	KeysFile    string            // the keys that sign at first, in PEM; made when missing, so that the clouds of several processes share them; empty: new ones
	Rates       *Rates            // nil: Unkind()
	Switches    Switches
	Timings     Timings
	TLS         *tls.Config  // for https targets
	ServeTLS    *tls.Config  // of the cloud's own endpoints and the bots' doors; nil: plain http, which Tandem takes from loopback only
	Logger      *slog.Logger // default: discard
	Remember    bool         // keep the fate of every call, see Fates
	Journeys    bool         // keep the way of every notification, see Journeys
	// Timed hears what each answer and each later notification took, from many goroutines.
	// nil: nobody asks.
	Timed func(Timing)
	// GaveUp reports whether a node noted that its bot did not reply in time about a
	// call: it cannot know what the bot made of the message. nil: none ever does.
	GaveUp func(node, call string) bool
	// Foreign is somebody else's bot that the bots' doors pass everything on to; nil: the
	// sample bot.
	Foreign *Foreign
}

// Answering says who sends the answer of an incoming call.
type Answering int

// The ways to answer. They mirror `answer: router|bot` of an app's settings.
const (
	// AnswerByRouter: the bot replies with an empty 202, the router answers.
	AnswerByRouter Answering = iota
	// AnswerByBot: the bot calls the calls API itself with Tandem-Callback-Uri.
	AnswerByBot
	// AnswerByReply: the bot replies {"answer":{…}} and the router sends it.
	AnswerByReply
)

// Rates are shares between 0 and 1, each drawn on its own from the seed.
type Rates struct {
	// Of calls.
	Legacy      float64 // a legacy notification first, which expects 204
	Meeting     float64 // starts a meeting: several calls on one thread and chain
	Recording   float64 // policy recording: 5 s clock instead of 15 s
	NewIDs      float64 // of recordings: repeated with new call ids on one chain
	Paired      float64 // of recordings: two invites at once, each naming the other recorder
	ManyDCs     float64 // several data centres post the first notification at once
	Skew        float64 // lands in another region than the caller's
	Wander      float64 // a repeated first POST resolves to another region; wants region rules that do not say "here"
	Joining     float64 // sends a participantJoining notification, which expects a body
	LateUpdate  float64 // updates after the end
	LegacyAgain float64 // of legacy calls: the legacy form once more after the Graph form
	NoEnd       float64 // the end is never told; only GET of the call, with its 404, shows it
	Rejects     float64 // the bot rejects (AnswerByReply, AnswerByBot)
	HangUp      float64 // the caller hangs up while it rings, if it still does then

	// Of notifications.
	Swapped     float64 // established before establishing, or both at once
	Duplicate   float64 // sent twice with one Message-ID, at once or later
	Reset       float64 // the connection is dropped before the response is read, then retried
	Undashed    float64 // call id as 32 upper-case hex digits
	Capital     float64 // Updated instead of updated
	OneResource float64 // only one of resource and resourceUrl
	Batch       float64 // carries a notification of another call too
	FreshToken  float64 // has a token of its own; else the call's token is used again
	Close       float64 // Connection: close
	Astray      float64 // later ones: resolves to a node of another region than its callback URI's, or the call's
	BotFails    float64 // the bot refuses an update with 503 the first time
	CallsFail   float64 // of requests to the calls API: 429 or 503
}

// Unkind returns the default rates.
func Unkind() Rates {
	return Rates{
		Legacy: 0.5, Meeting: 0.15, Recording: 0.25, NewIDs: 0.1, Paired: 0.1,
		ManyDCs: 0.15, Skew: 0.25, Joining: 0.15, LateUpdate: 0.15, LegacyAgain: 0.1, HangUp: 0.05,
		Swapped: 0.25, Duplicate: 0.1, Reset: 0.01, Undashed: 0.3, Capital: 0.2, OneResource: 0.5,
		Batch: 0.05, FreshToken: 0.25, Close: 0.1, BotFails: 0.005, CallsFail: 0.01,
	}
}

// Kind returns rates without any unkindness: one plain Graph notification after
// the other. For tests that plant one fault and want no other.
func Kind() Rates { return Rates{} }

// Switches are the behaviours of the cloud that nobody has published.
type Switches struct {
	FollowMidcall bool // follow a 3xx on the notifications of an answered call; default: such a response is a failure
	RedirectAsGET bool // follow 301 to 303 by GET without a body, as most HTTP clients do (RFC 9110 15.4.3)
	KeepKey       bool // no key rotation in the middle of a Run
	// InviteOnCallback: the later calls of a meeting ring on the callback URI of its
	// first one while that is live (comms-samples#599); default: on the webhook.
	InviteOnCallback bool
}

// Timings are wall-clock durations; tests shorten them.
type Timings struct {
	Clock          time.Duration // from the first POST to the answer; default 15 s (Graph: call-answer)
	RecordingClock time.Duration // the same for policy recording; default 5 s
	Attempt        time.Duration // patience for one POST; default 5 s
	Attempts       int           // POSTs of one notification before giving up; default 7
	Backoff        time.Duration // before the second attempt, doubled each time; default 150 ms
	TalkMin        time.Duration // shortest call; default 500 ms
	TalkMax        time.Duration // longest call; default 3 s
	KeepAlive      time.Duration // a call without keepAlive ends after it, 45 min in Graph; default 0: never
	TokenLife      time.Duration // default 300 s, as decoded from real tokens
	Grace          time.Duration // Settle waits so long for hand-overs of notifications answered 2xx; default 3 s
}

func (c Config) filled() (Config, error) {
	set(&c.Listen, "127.0.0.1:0")
	set(&c.WebhookPath, "/api/calls")
	set(&c.Capacity, 50)
	if c.Rates == nil {
		unkind := Unkind()
		c.Rates = &unkind
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	t := &c.Timings
	set(&t.Clock, 15*time.Second)
	set(&t.RecordingClock, 5*time.Second)
	set(&t.Attempt, 5*time.Second)
	set(&t.Attempts, 7)
	set(&t.Backoff, 150*time.Millisecond)
	set(&t.TalkMin, 500*time.Millisecond)
	set(&t.TalkMax, max(3*time.Second, t.TalkMin))
	set(&t.TokenLife, 300*time.Second)
	set(&t.Grace, 3*time.Second)
	if len(c.Apps) == 0 {
		c.Apps = []App{{ID: "0efc74f7-41c3-47a4-8775-7259bfef4241"}}
	}
	apps := make([]App, len(c.Apps))
	for i, a := range c.Apps {
		set(&a.ClientID, a.ID)
		set(&a.ClientSecret, "secret")
		if len(a.Tenants) == 0 {
			a.Tenants = []string{
				"8986d25d-ed3f-4bb8-b739-14d2fcc37b09",
				"6e1fc0e1-a55f-4277-89f4-aae9486d40a8",
				"1fdd12d0-4620-44ed-baec-459b611f84b2",
			}
		}
		apps[i] = a
	}
	c.Apps = apps
	for region, base := range c.RegionURLs {
		if _, err := parseBase(base); err != nil {
			return c, fmt.Errorf("reading the URL of region %s: %w", region, err)
		}
	}
	return c, nil
}

// set puts a default where the zero value stands.
func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("reading base URL: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("base URL %q is not http(s)://name", s)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}
