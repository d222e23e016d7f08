package graph

import (
	"bytes"
	"strings"

	"tandem/spelling"
)

const (
	typeNotifications = "#microsoft.graph.commsNotifications"
	typeNotification  = "#microsoft.graph.commsNotification"
	typePrefix        = "#microsoft.graph."
	maxKind           = 128 // bytes of an @odata.type
)

// The names that decide the way of a body, by the object they stand in.
var (
	messageNames      = []string{"@odata.type", "value", "callState", "presentedModalityTypes", "operationOutcome"}
	notificationNames = []string{"@odata.type", "changeType", "resource", "resourceUrl", "resourceData"}
	dataNames         = []string{"@odata.type", "id", "state"}
)

// message reads the whole body.
func (r *reader) message(limits Limits) (Message, error) {
	if r.dec.PeekKind() != '{' {
		return Message{}, malformed("it is no JSON object")
	}
	var found struct{ value, legacy, bare bool }
	var m Message
	err := r.object(func(name []byte) error {
		switch string(name) {
		case "@odata.type":
			kind, err := r.optional()
			if kind != nil && !strings.EqualFold(string(kind), typeNotifications) {
				if !isGraphs(kind) {
					return malformed("its @odata.type is unknown")
				}
				found.bare = true
			}
			return err
		case "value":
			found.value = true
			return r.notifications(&m, limits.Notifications)
		case "callState":
			found.legacy = found.legacy || r.dec.PeekKind() == '"'
		case "presentedModalityTypes":
			found.legacy = found.legacy || r.dec.PeekKind() == '['
		case "operationOutcome":
			found.legacy = found.legacy || r.dec.PeekKind() == '{'
		default:
			return r.other(name, messageNames)
		}
		return r.skip()
	})
	if err != nil {
		return Message{}, err
	}
	if err := r.end(); err != nil {
		return Message{}, err
	}
	switch {
	case found.bare && (found.value || found.legacy):
		return Message{}, malformed("its @odata.type is unknown")
	case found.bare && limits.Addressed:
		return Message{Kind: Graph, Unknown: 1}, nil
	case found.bare:
		return Message{}, malformed("it has no envelope, and nothing says which call it is about")
	case found.value && len(m.Notifications) == 0 && !limits.Addressed:
		return Message{}, malformed("nothing in it is about a call")
	case found.value:
		m.Kind = Graph
		return m, nil
	case found.legacy:
		return Message{Kind: Legacy}, nil
	default:
		return Message{}, malformed("it is neither a Graph notification nor a legacy one")
	}
}

// isGraphs reports whether an @odata.type is one of Graph's.
func isGraphs(kind []byte) bool {
	return len(kind) > len(typePrefix) && len(kind) <= maxKind && bytes.EqualFold(kind[:len(typePrefix)], []byte(typePrefix))
}

func (r *reader) notifications(m *Message, most int) error {
	if r.dec.PeekKind() != '[' {
		return malformed("its value is no array")
	}
	m.Notifications = make([]Notification, 0, 1) // every body seen so far holds one
	err := r.array(func() error {
		if len(m.Notifications)+m.Unknown == most {
			return ErrTooMany
		}
		n, known, err := r.notification()
		switch {
		case err != nil:
			return err
		case known:
			m.Notifications = append(m.Notifications, n)
		default:
			m.Unknown++
		}
		return nil
	})
	if err == nil && len(m.Notifications)+m.Unknown == 0 {
		return malformed("its value is empty")
	}
	return err
}

// notification reads one element; known says that it is about a call.
func (r *reader) notification() (n Notification, known bool, err error) {
	if r.dec.PeekKind() != '{' {
		return Notification{}, false, malformed("an element of its value is no object")
	}
	var short, long resource // `resource` and `resourceUrl`
	var data data
	other := false // it is of an unknown type
	err = r.object(func(name []byte) (err error) {
		switch string(name) {
		case "@odata.type":
			var kind []byte
			kind, err = r.optional()
			other = kind != nil && !strings.EqualFold(string(kind), typeNotification)
		case "changeType":
			var word []byte
			word, err = r.optional()
			n.Change = parseChange(word)
		case "resource":
			short, err = r.resource("/app/calls/")
		case "resourceUrl":
			long, err = r.resource("/communications/calls/")
		case "resourceData":
			data, err = r.data()
		default:
			err = r.other(name, notificationNames)
		}
		return err
	})
	if err != nil {
		return Notification{}, false, err
	}
	at, err := short.join(long)
	if err != nil || other || at.id == "" {
		return Notification{}, false, err
	}
	n, err = n.fill(at, data)
	return n, err == nil, err
}

// fill puts resource and resourceData together.
func (n Notification) fill(at resource, d data) (Notification, error) {
	if d.odd != "" {
		return Notification{}, malformed(d.odd)
	}
	n.RawCallID, n.CallID, n.SubResource = at.id, at.key, at.sub
	n.Type = d.kind
	if n.SubResource == "" {
		// An id under another type, such as a notice about a joining
		// participant, names that thing and not the call.
		if about := d.kind == "" || d.kind == "call"; about && d.id != "" {
			if key, _ := spelling.CallID(d.id); key != n.CallID {
				return Notification{}, malformed("resource and resourceData name different calls")
			}
		}
		n.State, n.Call = d.state, d.call
	}
	n.Kind = classify(&n)
	return n, nil
}

// data is what resourceData says.
type data struct {
	kind  string
	id    string
	state State
	call  *Call
	odd   string // what no data of a call's have: only something else may have it
}

// data reads resourceData: an object, an array of objects (a roster), or null.
func (r *reader) data() (data, error) {
	var d data
	switch r.dec.PeekKind() {
	case 'n', '[':
		return d, r.skip()
	case '{':
	default:
		d.odd = "resourceData is neither an object nor an array"
		return d, r.skip()
	}
	err := r.object(func(name []byte) error {
		switch string(name) {
		case "@odata.type":
			kind, err := r.loose(&d)
			d.kind = typeWord(kind)
			return err
		case "id":
			id, err := r.loose(&d)
			d.id = string(id[:min(len(id), spelling.MaxCallID+1)])
			return err
		case "state":
			word, err := r.loose(&d)
			d.state = parseState(word)
			return err
		}
		if isVariant(name, dataNames) {
			d.odd = variantName
			return r.skip()
		}
		return r.fact(&d.call, name)
	})
	if d.call != nil {
		d.call.resolve()
	}
	return d, err
}

// loose reads a text of resourceData, which has another type in something that is
// no call.
func (r *reader) loose(d *data) ([]byte, error) {
	if k := r.dec.PeekKind(); k != '"' && k != 'n' {
		d.odd = "a member that is a text has another type"
		return nil, r.skip()
	}
	return r.optional()
}

// typeWord cuts "#microsoft.graph.call" to "call".
func typeWord(b []byte) string {
	if len(b) > maxKind {
		return "unknown"
	}
	if len(b) > len(typePrefix) && bytes.EqualFold(b[:len(typePrefix)], []byte(typePrefix)) {
		b = b[len(typePrefix):]
	}
	if string(b) == "call" {
		return "call"
	}
	return strings.ToLower(string(b))
}
