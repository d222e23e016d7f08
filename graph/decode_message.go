package graph

import (
	"bytes"
	"strings"
)

const (
	typeNotifications = "#microsoft.graph.commsNotifications"
	typeNotification  = "#microsoft.graph.commsNotification"
	typePrefix        = "#microsoft.graph."
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
	var found struct{ value, legacy bool }
	var list []Notification
	err := r.object(func(name []byte) error {
		switch string(name) {
		case "@odata.type":
			return r.expectType(typeNotifications)
		case "value":
			found.value = true
			var err error
			list, err = r.notifications(limits.Notifications)
			return err
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
	case found.value:
		return Message{Kind: Graph, Notifications: list}, nil
	case found.legacy:
		return Message{Kind: Legacy}, nil
	default:
		return Message{}, malformed("it is neither a Graph notification nor a legacy one")
	}
}

// expectType reads an @odata.type that must be the wanted one, in any letter
// case, or null.
func (r *reader) expectType(want string) error {
	got, err := r.optional()
	if err != nil {
		return err
	}
	if got != nil && !strings.EqualFold(string(got), want) {
		return malformed("its @odata.type is unknown")
	}
	return nil
}

func (r *reader) notifications(most int) ([]Notification, error) {
	if r.dec.PeekKind() != '[' {
		return nil, malformed("its value is no array")
	}
	list := make([]Notification, 0, 1) // every body seen so far holds one
	err := r.array(func() error {
		if len(list) == most {
			return ErrTooMany
		}
		n, err := r.notification()
		if err != nil {
			return err
		}
		list = append(list, n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, malformed("its value is empty")
	}
	return list, nil
}

func (r *reader) notification() (Notification, error) {
	if r.dec.PeekKind() != '{' {
		return Notification{}, malformed("an element of its value is no object")
	}
	var n Notification
	var short, long resource // `resource` and `resourceUrl`
	var data data
	err := r.object(func(name []byte) (err error) {
		switch string(name) {
		case "@odata.type":
			err = r.expectType(typeNotification)
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
		return Notification{}, err
	}
	at, err := short.join(long)
	if err != nil {
		return Notification{}, err
	}
	return n.fill(at, data)
}

// fill puts resource and resourceData together.
func (n Notification) fill(at resource, d data) (Notification, error) {
	n.RawCallID, n.SubResource = at.id, at.sub
	n.CallID = normalise(at.id)
	n.Type = d.kind
	if n.SubResource == "" {
		// An id under another type, such as a notice about a joining
		// participant, names that thing and not the call.
		if about := d.kind == "" || d.kind == "call"; about && d.id != "" && normalise(d.id) != n.CallID {
			return Notification{}, malformed("resource and resourceData name different calls")
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
}

// data reads resourceData: an object, an array of objects (a roster), or null.
func (r *reader) data() (data, error) {
	var d data
	switch r.dec.PeekKind() {
	case 'n', '[':
		return d, r.skip()
	case '{':
	default:
		return d, malformed("resourceData is neither an object nor an array")
	}
	err := r.object(func(name []byte) error {
		switch string(name) {
		case "@odata.type":
			kind, err := r.optional()
			d.kind = typeWord(kind)
			return err
		case "id":
			id, err := r.optional()
			d.id = string(id[:min(len(id), maxID+1)])
			return err
		case "state":
			word, err := r.optional()
			d.state = parseState(word)
			return err
		}
		return r.fact(&d.call, name)
	})
	if d.call != nil {
		d.call.resolve()
	}
	return d, err
}

// typeWord cuts "#microsoft.graph.call" to "call".
func typeWord(b []byte) string {
	if len(b) > 128 {
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
