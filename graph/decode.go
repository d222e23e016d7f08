package graph

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
)

// Limits bounds what Decode accepts. Zero values mean the defaults.
type Limits struct {
	Notifications int // notifications in one body; default 1000
	Depth         int // nesting of objects and arrays; default 64, real bodies stay under 16

	// Addressed says that the body came on the signed callback URI of one call.
	// Then the URI tells whose it is, and bodies that name no call are taken too.
	Addressed bool
}

const (
	defaultNotifications = 1000
	defaultDepth         = 64
)

// MessageKind says in which of the cloud's two protocols a body is written.
type MessageKind uint8

// The protocols. Legacy is the Skype form that the cloud sends first and
// expects a 204 for; Graph is the one that is handled.
const (
	Legacy MessageKind = iota + 1
	Graph
)

// String returns "legacy" or "graph".
func (k MessageKind) String() string { return wordOf([]string{"", "legacy", "graph"}, int(k)) }

// Message is one decoded body. A legacy one has no notifications: nothing of it
// is used beyond the fact that it is legacy.
type Message struct {
	Kind          MessageKind
	Notifications []Notification // those that name a call, in the order of the body; none only if Unknown is not 0
	Unknown       int            // things in the body that name no call, or are of an unknown type
}

// Change is the changeType of a notification.
type Change uint8

// The changes. ChangeOther stands for a missing or unknown word; such a
// notification is an update and nothing else.
const (
	ChangeOther Change = iota
	Created
	Updated
	Deleted
)

// NotificationKind is what a notification means for the life of its call.
type NotificationKind uint8

// The kinds. NewCall: created, on the call itself, in state incoming. EndOfCall:
// deleted on the call itself, or the call's state is terminated. Update:
// everything else, also the end of an operation within a call.
const (
	Update NotificationKind = iota + 1
	NewCall
	EndOfCall
)

// String returns "update", "new call" or "end of call".
func (k NotificationKind) String() string {
	return wordOf([]string{"", "update", "new call", "end of call"}, int(k))
}

// Notification is one entry of a body's value array.
type Notification struct {
	Kind        NotificationKind
	Change      Change
	CallID      string // normalised: lower case, no dashes
	RawCallID   string // as the cloud spelled it
	SubResource string // what follows the id in the resource, such as "participants"; empty: the call itself
	Type        string // last part of resourceData's @odata.type in lower case, such as "call"; empty: none
	State       State  // of the call; empty: not said, or the notification is about a part of the call
	Call        *Call  // facts of resourceData where that is an object about the call itself and has any; else nil
}

// IsJoinNotice knows the notifications of a recording group (participant joining and left),
// whose resource is not documented, and does not name the call that they belong to.
func (n Notification) IsJoinNotice() bool {
	return n.Type == "participantjoiningnotification" || n.Type == "participantleftnotification"
}

// The errors of Decode, for errors.Is. Their texts never hold a byte of the
// body.
var (
	// ErrMalformed: the body is no strict JSON, or not one of the known shapes.
	ErrMalformed = errors.New("the body is no notification")
	// ErrTooMany: more notifications in one body than the limit allows.
	ErrTooMany = errors.New("the body holds too many notifications")
)

// Decode reads a body of the calling cloud.
//
// A body is Graph when it is an object with a `value` array of notifications;
// its @odata.type may be absent, as on the older wire, but not another one. It
// is legacy when it is an object without `value` and has what only legacy
// bodies have: callState, presentedModalityTypes or operationOutcome. All else
// is ErrMalformed.
//
// One notification of something else voids none of the others: it is counted.
// A body of nothing else is ErrMalformed, unless the limits say that it is
// addressed. Then one without an envelope is taken as well, as Microsoft's page
// shows participantJoiningNotification, if its @odata.type is one of Graph's.
//
// The reading is strict, because the same bytes go on to a bot with a parser of
// its own: duplicate names, names that differ from a routing name only in
// letter case, invalid UTF-8, lone surrogates, NUL, trailing data and deep
// nesting are refused, so that no two parsers can see two calls in one body.
// Unknown members are ignored. Words such as changeType and state are read in
// any letter case, since the cloud's own spelling drifts.
func Decode(body []byte, limits Limits) (Message, error) {
	limits.Notifications = cmp.Or(limits.Notifications, defaultNotifications)
	if err := scan(body, cmp.Or(limits.Depth, defaultDepth)); err != nil {
		return Message{}, err
	}
	r := newReader(body)
	defer r.release()
	return r.message(limits)
}

// malformed tells what is wrong with a body in fixed words.
func malformed(why string) error { return fmt.Errorf("%w: %s", ErrMalformed, why) }

// classify applies the rules that tell a new call, the end of a call and the
// rest apart. They hold for the call itself only: `created` on a content
// sharing session is no call, `deleted` on an operation ends no call.
func classify(n *Notification) NotificationKind {
	switch {
	case n.SubResource != "":
		return Update
	case n.Change == Deleted, n.State == StateTerminated:
		return EndOfCall
	case n.Change == Created && n.State == StateIncoming:
		return NewCall
	default:
		return Update
	}
}

func parseChange(word []byte) Change {
	switch {
	case bytes.EqualFold(word, []byte("created")):
		return Created
	case bytes.EqualFold(word, []byte("updated")):
		return Updated
	case bytes.EqualFold(word, []byte("deleted")):
		return Deleted
	default:
		return ChangeOther
	}
}

func wordOf(words []string, i int) string {
	if i < 0 || i >= len(words) || words[i] == "" {
		return "unknown"
	}
	return words[i]
}
