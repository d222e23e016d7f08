package graph

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// maxFact is the longest text kept as a fact, in bytes; longer ones count as
// absent. Real thread ids have about 90.
const maxFact = 512

// maxList bounds the elements kept of one list of facts.
const maxList = 64

// factNames are the members of a call with facts in them; all others are
// skipped without a look inside. meetingInfo is entered for its organizer only.
var factNames = []string{
	"direction", "tenantId", "callChainId", "source", "targets", "requestedModalities", "chatInfo",
	"meetingInfo", "incomingContext", "applicationMetadata", "resultInfo",
}

// fact reads one member of a call. Facts are optional: what has an unexpected
// type counts as absent, and only the routing names are strict. Most follow-ups
// have none, so the call is made when the first one comes.
func (r *reader) fact(at **Call, name []byte) error {
	if !slices.Contains(factNames, string(name)) {
		return r.skip()
	}
	if *at == nil {
		*at = &Call{}
	}
	r.path = append(r.path[:0], name...)
	return r.walk(*at)
}

// walk reads a value of any shape and keeps the texts and numbers whose path is
// a fact's.
func (r *reader) walk(c *Call) error {
	switch r.dec.PeekKind() {
	case '{':
		return r.walkObject(c)
	case '[':
		return r.walkArray(c)
	case '"':
		text, err := r.text()
		if err != nil {
			return err
		}
		if 0 < len(text) && len(text) <= maxFact {
			c.keep(r.path, text)
		}
		return nil
	case '0':
		v, err := r.dec.ReadValue()
		if err != nil {
			return wrong(err)
		}
		if len(v) <= maxFact {
			c.keep(r.path, v)
		}
		return nil
	default:
		return r.skip()
	}
}

func (r *reader) walkObject(c *Call) error {
	back := len(r.path)
	return r.object(func(name []byte) error {
		if string(name) == "token" { // of meetingInfo: a bearer token, which nobody reads here
			c.joinToken = true
			return r.skip()
		}
		if bytes.IndexByte(name, '.') >= 0 { // a dot in a name could fake a path
			return r.skip()
		}
		r.path = append(append(r.path[:back], '.'), name...)
		err := r.walk(c)
		r.path = r.path[:back]
		return err
	})
}

func (r *reader) walkArray(c *Call) error {
	switch string(r.path) {
	case "targets":
		return r.array(func() error {
			if len(c.targets) == maxList {
				return r.skip()
			}
			c.targets = append(c.targets, target{})
			return r.walk(c)
		})
	case "applicationMetadata.botData.pairedRecorders":
		return r.array(func() error {
			c.PairedRecorders++
			return r.skip()
		})
	case "requestedModalities", "applicationMetadata.botData.inviteReasons":
		return r.array(func() error { return r.walk(c) })
	default:
		return r.skip()
	}
}

// texts are the facts that are one text each, by their path.
var texts = map[string]func(*Call) *string{
	"tenantId":                                        func(c *Call) *string { return &c.TenantID },
	"callChainId":                                     func(c *Call) *string { return &c.ChainID },
	"chatInfo.threadId":                               func(c *Call) *string { return &c.ThreadID },
	"meetingInfo.organizer.user.id":                   func(c *Call) *string { return &c.Organizer },
	"source.id":                                       func(c *Call) *string { return &c.SourceID },
	"source.region":                                   func(c *Call) *string { return &c.SourceRegion },
	"source.countryCode":                              func(c *Call) *string { return &c.SourceCountry },
	"incomingContext.observedParticipantId":           func(c *Call) *string { return &c.ObservedParticipant },
	"incomingContext.sourceParticipantId":             func(c *Call) *string { return &c.sourceParticipant },
	"applicationMetadata.botData.mediaHostedRegion":   func(c *Call) *string { return &c.MediaHostedRegion },
	"applicationMetadata.botData.user.clientLocation": func(c *Call) *string { return &c.ClientLocation },
	"applicationMetadata.botData.policyIdentifier":    func(c *Call) *string { return &c.PolicyIdentifier },
}

// keep stores the text at a path, if a fact lives there. Identities are told
// apart by no more than the path's end, because a caller may be a user, a
// phone, a guest, an application or of a kind that does not exist yet.
func (c *Call) keep(path, text []byte) {
	if at := texts[string(path)]; at != nil {
		*at(c) = string(text)
		return
	}
	switch string(path) {
	case "direction":
		c.Direction = strings.ToLower(string(text))
	case "requestedModalities":
		c.Modalities = appendFact(c.Modalities, text)
	case "targets.id":
		if t := c.lastTarget(); t != nil {
			t.participant = string(text)
		}
	case "targets.identity.application.id":
		c.TargetApps = appendFact(c.TargetApps, text)
	case "applicationMetadata.botData.user.onBehalfOf.id":
		c.OnBehalfOf = cmp.Or(c.OnBehalfOf, string(text)) // incomingContext says it better
	case "applicationMetadata.botData.inviteReasons":
		c.InviteReasons = appendFact(c.InviteReasons, text)
	case "resultInfo.code":
		c.Result = string(text) + c.Result
	case "resultInfo.subcode", "resultInfo.subCode":
		c.Result += "/" + string(text)
	default:
		c.keepIdentity(path, text)
	}
}

// keepIdentity reads identity sets: prefix.<kind of identity>.id.
func (c *Call) keepIdentity(path, text []byte) {
	set, leaf, ok := cutLast(path)
	if !ok {
		return
	}
	set, _, ok = cutLast(set)
	if !ok {
		return
	}
	switch string(set) + ">" + string(leaf) {
	case "source.identity>id":
		c.SourceUser = string(text)
	case "targets.identity>id":
		c.toInstance = c.toInstance || bytes.HasSuffix(path, []byte(".applicationInstance.id"))
		if t := c.lastTarget(); t != nil {
			t.identity = string(text)
		}
	case "incomingContext.onBehalfOf>id":
		c.OnBehalfOf = string(text)
	case "incomingContext.transferor>id":
		c.Transferor = string(text)
	}
}

// lastTarget returns the target being read; targets that is no array has none.
func (c *Call) lastTarget() *target {
	if len(c.targets) == 0 {
		return nil
	}
	return &c.targets[len(c.targets)-1]
}

func cutLast(path []byte) (before, after []byte, ok bool) {
	i := bytes.LastIndexByte(path, '.')
	if i < 0 {
		return nil, nil, false
	}
	return path[:i], path[i+1:], true
}

func appendFact(list []string, text []byte) []string {
	if len(list) == maxList {
		return list
	}
	return append(list, string(text))
}
