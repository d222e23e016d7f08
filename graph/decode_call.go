package graph

import (
	"bytes"
	"slices"
	"strings"
)

// State is the state of a call, in lower case.
type State string

// The states of Graph's call resource
// (https://learn.microsoft.com/graph/api/resources/call).
const (
	StateIncoming         State = "incoming"
	StateEstablishing     State = "establishing"
	StateRinging          State = "ringing"
	StateEstablished      State = "established"
	StateHold             State = "hold"
	StateTransferring     State = "transferring"
	StateTransferAccepted State = "transferaccepted"
	StateRedirecting      State = "redirecting"
	StateTerminating      State = "terminating"
	StateTerminated       State = "terminated"
)

var states = []State{
	StateIncoming, StateEstablishing, StateRinging, StateEstablished, StateHold, StateTransferring,
	StateTransferAccepted, StateRedirecting, StateTerminating, StateTerminated,
}

// Call holds the facts of a call that rules, groups and the table can use. Any
// may be empty: the cloud leaves out or encrypts what the app may not see. The
// join token of meetingInfo is never read: it is a bearer token.
type Call struct {
	Direction     string // lower case: incoming, outgoing
	TenantID      string
	ChainID       string
	ThreadID      string
	Organizer     string // user id
	Transferor    string // id of whoever transferred the call
	Modalities    []string
	SourceID      string // participant id of the source
	SourceUser    string // id of the source's identity, whatever kind it has
	SourceRegion  string // home region: amer, emea, apac, …
	SourceCountry string // ISO 3166 alpha-2: where the source is now

	ObservedParticipant string // participant that policy recording observes
	ObservedUser        string // id of that participant's identity, where the payload tells it
	OnBehalfOf          string // id of the identity the call is made for

	MediaHostedRegion string // botData: data centre of the media, such as USEA
	ClientLocation    string // botData: location of the recorded user's client, such as EUNO
	PolicyIdentifier  string // botData
	InviteReasons     []string
	PairedRecorders   int // botData: how many other recorders must not share this one's fate

	TargetApps []string // application ids among the targets
	Result     string   // resultInfo as code/subcode, whether they came as numbers or texts

	sourceParticipant string   // incomingContext's name for the source
	targets           []target // to resolve the observed participant
	joinToken         bool     // there is a join token, unread
	toInstance        bool     // a target is a resource account
}

// target is one element of targets.
type target struct{ participant, identity string }

// Recording reports whether this is an invitation by a recording policy. The
// answer to one must be out within 5 s, else within 15 s
// (https://learn.microsoft.com/graph/api/call-answer).
//
// Where the cloud leaves out what says so plainly, an invitation of a resource
// account that brings a join token is taken for one: that is the shape of all
// published ones, and the shorter clock is the safer mistake.
func (c *Call) Recording() bool {
	if c == nil {
		return false
	}
	return c.ObservedParticipant != "" || c.PolicyIdentifier != "" || c.joinToken && c.toInstance ||
		slices.ContainsFunc(c.InviteReasons, func(why string) bool {
			return strings.EqualFold(why, "PolicyBasedRecording") || strings.EqualFold(why, "ComplianceRecording")
		})
}

// resolve finds out who the observed participant is. incomingContext names the
// source a second time, and not always by the id that source itself shows.
func (c *Call) resolve() {
	who := c.ObservedParticipant
	if who == "" {
		return
	}
	if who == c.SourceID || who == c.sourceParticipant {
		c.ObservedUser = c.SourceUser
		return
	}
	for _, t := range c.targets {
		if t.participant == who {
			c.ObservedUser = t.identity
			return
		}
	}
}

func parseState(word []byte) State {
	for _, s := range states {
		if len(word) == len(s) && bytes.EqualFold(word, []byte(s)) {
			return s
		}
	}
	if len(word) > 64 {
		return "unknown"
	}
	return State(strings.ToLower(string(word)))
}
