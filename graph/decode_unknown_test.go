package graph

import (
	"errors"
	"os"
	"testing"
)

// Elements of a body that are about something else than a call.
var unknowns = map[string]string{
	"another resource":               `{"changeType":"updated","resourceUrl":"/communications/onlineMeetings/m1","resourceData":{"@odata.type":"#microsoft.graph.onlineMeeting","id":"m1"}}`,
	"another type":                   `{"@odata.type":"#microsoft.graph.chatMessage","resource":"/app/calls/c9"}`,
	"no resource":                    `{"changeType":"updated","resourceData":{"id":"x"}}`,
	"data that no call has":          `{"resource":"/users/u1","resourceData":"text"}`,
	"numbers where calls' are texts": `{"resource":"/users/u1","resourceData":{"id":7,"state":{"on":true},"Id":"x"}}`,
}

// TestO15_TheUnknownVoidsNothing: what is known of a body counts, wherever in it
// something else stands.
func TestO15_TheUnknownVoidsNothing(t *testing.T) {
	end := `{"changeType":"deleted","resourceUrl":"/communications/calls/c1"}`
	for name, other := range unknowns {
		t.Run(name, func(t *testing.T) {
			for _, b := range []string{
				`{"value":[` + other + "," + end + `]}`, `{"value":[` + end + "," + other + `]}`, `{"value":[` + other + "," + end + "," + other + `]}`,
			} {
				got, err := Decode([]byte(b), Limits{})
				if err != nil || got.Kind != Graph || len(got.Notifications) != 1 || got.Unknown == 0 {
					t.Fatalf("%s: %+v, %v", b, got, err)
				}
				if n := got.Notifications[0]; n.Kind != EndOfCall || n.CallID != "c1" {
					t.Errorf("the known one is %+v", n)
				}
			}
			alone := []byte(`{"value":[` + other + `]}`)
			if got, err := Decode(alone, Limits{}); !errors.Is(err, ErrMalformed) {
				t.Errorf("alone, addressed to nobody: %+v, %v", got, err)
			}
			if got, err := Decode(alone, Limits{Addressed: true}); err != nil || got.Kind != Graph || len(got.Notifications) != 0 || got.Unknown != 1 {
				t.Errorf("alone, addressed: %+v, %v", got, err)
			}
		})
	}
}

// TestO15_TheMalformedVoidsAll: what two readers could see differently is refused
// beside a good notification, and on a callback URI.
func TestO15_TheMalformedVoidsAll(t *testing.T) {
	for name, odd := range map[string]string{
		"a path up and away":      `{"resource":"/app/calls/../../users"}`,
		"an id with a line break": `{"resource":"/app/calls/c1\nX"}`,
		"two calls":               `{"resource":"/app/calls/c1","resourceUrl":"/communications/calls/c2"}`,
		"a call and a user":       `{"resource":"/app/calls/c1","resourceUrl":"/users/c1"}`,
		"duplicate names":         `{"resource":"/users/u1","resource":"/app/calls/c2"}`,
		"names in two cases":      `{"resource":"/users/u1","Resource":"/app/calls/c2"}`,
		"a resource as a number":  `{"resource":7}`,
		"a number":                `7`,
		"null":                    `null`,
	} {
		b := []byte(`{"value":[{"resource":"/app/calls/c1"},` + odd + `]}`)
		for _, l := range []Limits{{}, {Addressed: true}} {
			if got, err := Decode(b, l); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	}
	many := `{"value":[{},{},{}]}`
	if _, err := Decode([]byte(many), Limits{Addressed: true, Notifications: 2}); !errors.Is(err, ErrTooMany) {
		t.Errorf("unknown ones do not count: %v", err)
	}
}

// TestO37_WithoutAnEnvelope: Microsoft's pages show notices of a recording group as
// bare objects. A callback URI says whose they are; without one they are nothing,
// and never legacy.
func TestO37_WithoutAnEnvelope(t *testing.T) {
	for _, name := range []string{"shape-participantjoiningnotification.json", "shape-participantleftnotification.json", "shape-deltaparticipants.json"} {
		b, err := os.ReadFile("testdata/samples/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(b, Limits{Addressed: true}); err != nil || got.Kind != Graph || got.Unknown != 1 || len(got.Notifications) != 0 {
			t.Errorf("%s, addressed: %+v, %v", name, got, err)
		}
		if got, err := Decode(b, Limits{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s, addressed to nobody: %+v, %v", name, got, err)
		}
	}
	for _, b := range []string{
		`{"@odata.type":"#microsoft.graph.participantJoiningNotification","callState":"incoming"}`,
		`{"@odata.type":"#microsoft.graph.participantJoiningNotification","value":[{"resource":"/app/calls/c1"}]}`,
		`{"@odata.type":"#microsoft.graph."}`, `{"@odata.type":"participantJoiningNotification"}`, `{"@odata.type":7}`, `{"call":{}}`, `{}`,
	} {
		if got, err := Decode([]byte(b), Limits{Addressed: true}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", b, got, err)
		}
	}
	if got, err := Decode([]byte(`{"callState":"incoming"}`), Limits{Addressed: true}); err != nil || got.Kind != Legacy {
		t.Errorf("legacy on a callback URI: %+v, %v", got, err)
	}
}
