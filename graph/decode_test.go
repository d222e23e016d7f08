package graph

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// body makes a notification body around one entry's members.
func body(members string) string {
	return `{"@odata.type":"#microsoft.graph.commsNotifications","value":[{"@odata.type":"#microsoft.graph.commsNotification",` + members + `}]}`
}

const callURL = `"resourceUrl":"/communications/calls/c1"`

// TestShapes walks through the shapes and the traps of the wire.
func TestShapes(t *testing.T) {
	for _, c := range []struct {
		name string
		body string
		want Notification
	}{
		{"only resource, as in 2019", body(`"changeType":"created","resource":"/app/calls/c1","resourceData":{"state":"incoming"}`),
			Notification{Kind: NewCall, Change: Created, State: StateIncoming}},
		{"resource and resourceUrl", body(`"changeType":"updated","resource":"/app/calls/C-1",` + callURL),
			Notification{Change: Updated, Kind: Update}},
		{"no @odata.type at all, with callRoutes", `{"value":[{"changeType":"created","resource":"/app/calls/c1","resourceData":{"state":"incoming","callRoutes":[{"routingType":"forwarded"}]}}]}`,
			Notification{Kind: NewCall, Change: Created, State: StateIncoming}},
		{"@odata.type null", `{"@odata.type":null,"value":[{"@odata.type":null,"changeType":"updated",` + callURL + `,"resource":null,"resourceData":null}]}`,
			Notification{Kind: Update, Change: Updated}},
		{"capitalised words", body(`"changeType":"Created",` + callURL + `,"resourceData":{"@odata.type":"#microsoft.graph.call","state":"Incoming"}`),
			Notification{Kind: NewCall, Change: Created, State: StateIncoming, Type: "call"}},
		{"shouted end", body(`"changeType":"UPDATED",` + callURL + `,"resourceData":{"state":"TERMINATED"}`),
			Notification{Kind: EndOfCall, Change: Updated, State: StateTerminated}},
		{"deleted without state ends the call", body(`"changeType":"deleted",` + callURL + `,"resourceData":{"@odata.type":"#microsoft.graph.call"}`),
			Notification{Kind: EndOfCall, Change: Deleted, Type: "call"}},
		{"deleted without resourceData ends the call", body(`"changeType":"deleted",` + callURL),
			Notification{Kind: EndOfCall, Change: Deleted}},
		{"deleted operation ends nothing", body(`"changeType":"deleted","resourceUrl":"/communications/calls/c1/operations/o1","resourceData":{"state":"terminated"}`),
			Notification{Kind: Update, Change: Deleted, SubResource: "operations/o1"}},
		{"deleted operation by one of two names ends nothing", body(`"changeType":"deleted","resource":"/app/calls/c1",` + `"resourceUrl":"/communications/calls/c1/operations/o1"`),
			Notification{Kind: Update, Change: Deleted, SubResource: "operations/o1"}},
		{"deleted operation by the other of two names ends nothing", body(`"changeType":"deleted","resource":"/app/calls/c1/operations/o1",` + callURL),
			Notification{Kind: Update, Change: Deleted, SubResource: "operations/o1"}},
		{"created content sharing is no call", body(`"changeType":"created","resourceUrl":"/communications/calls/c1/contentsharingsessions/s1"`),
			Notification{Kind: Update, Change: Created, SubResource: "contentsharingsessions/s1"}},
		{"created but not incoming is no new call", body(`"changeType":"created",` + callURL + `,"resourceData":{"state":"establishing"}`),
			Notification{Kind: Update, Change: Created, State: StateEstablishing}},
		{"updated to incoming is no new call", body(`"changeType":"updated",` + callURL + `,"resourceData":{"state":"incoming"}`),
			Notification{Kind: Update, Change: Updated, State: StateIncoming}},
		{"roster as an array", body(`"changeType":"updated","resourceUrl":"/communications/calls/c1/participants","resourceData":[{"@odata.type":"#microsoft.graph.participant","id":"p1"},{"id":"p2"}]`),
			Notification{Kind: Update, Change: Updated, SubResource: "participants"}},
		{"roster as deltaParticipants", body(`"changeType":"updated","resourceUrl":"/communications/calls/c1/participants","resourceData":{"@odata.type":"#microsoft.graph.deltaParticipants","sequenceNumber":9223372036854775807,"participants":[]}`),
			Notification{Kind: Update, Change: Updated, SubResource: "participants", Type: "deltaparticipants"}},
		{"the odd /operations/participants", body(`"changeType":"updated","resourceUrl":"/communications/calls/c1/operations/participants"`),
			Notification{Kind: Update, Change: Updated, SubResource: "operations/participants"}},
		{"unknown words are updates", body(`"changeType":"renamed",` + callURL + `,"resourceData":{"state":"levitating","new":{"deep":[1,{"x":null}]}}`),
			Notification{Kind: Update, Change: ChangeOther, State: "levitating"}},
		{"callbackUri beside resourceData", body(`"changeType":"updated",` + callURL + `,"callbackUri":"https://bot.example/cb","resourceData":{"state":"established"}`),
			Notification{Kind: Update, Change: Updated, State: StateEstablished}},
		{"another thing's id is not the call's", body(`"changeType":"updated",` + callURL + `,"resourceData":{"@odata.type":"#microsoft.graph.participantJoiningNotification","id":"p9","call":{"id":"other"}}`),
			Notification{Kind: Update, Change: Updated, Type: "participantjoiningnotification"}},
		{"escaped names and words", body(`"changeType":"\u0063reated","resour\u0063e":"\/app\/calls\/c1","resourceData":{"state":"incomin\u0067"}`),
			Notification{Kind: NewCall, Change: Created, State: StateIncoming}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Decode([]byte(c.body), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Kind != Graph || len(got.Notifications) != 1 {
				t.Fatalf("got %+v", got)
			}
			n := got.Notifications[0]
			if n.CallID != "c1" {
				t.Errorf("call %q, want c1", n.CallID)
			}
			n.CallID, n.RawCallID, n.Call = "", "", nil
			if diff := cmp.Diff(c.want, n); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSeveral keeps the order of several notifications in one body.
func TestSeveral(t *testing.T) {
	var list []string
	for i := range 100 {
		list = append(list, fmt.Sprintf(`{"changeType":"updated","resource":"/app/calls/c%d"}`, i))
	}
	got, err := Decode([]byte(`{"value":[`+strings.Join(list, ",")+`]}`), Limits{})
	if err != nil || len(got.Notifications) != 100 {
		t.Fatalf("%d notifications, %v", len(got.Notifications), err)
	}
	for i, n := range got.Notifications {
		if n.CallID != fmt.Sprintf("c%d", i) {
			t.Fatalf("notification %d is of call %s", i, n.CallID)
		}
	}
}

// TestFacts covers what the samples do not show.
func TestFacts(t *testing.T) {
	got, err := Decode([]byte(body(`"changeType":"created",`+callURL+`,"resourceData":{
		"state":"incoming","source":null,
		"targets":[{"id":"T1","identity":{"user":{"id":"u1"}}},{"id":"T2","identity":{"phone":{"id":"u2"}}}],
		"incomingContext":{"observedParticipantId":"T2","onBehalfOf":{"user":{"id":"boss"}},"transferor":{"user":{"id":"reception"}}},
		"resultInfo":{"subCode":"8537","code":408},
		"tenantId":17,"chatInfo":"none","requestedModalities":["audio",7,{"x":1},"video"],
		"applicationMetadata":{"botData.policyIdentifier":"fake","botData":{"user":{"onBehalfOf":{"id":"other"}},"pairedRecorders":[{},{}]}}}`)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c := got.Notifications[0].Call
	for _, f := range []struct{ name, got, want string }{
		{"observed user, among the targets", c.ObservedUser, "u2"},
		{"on behalf of, by incomingContext", c.OnBehalfOf, "boss"},
		{"transferor", c.Transferor, "reception"},
		{"result, whatever order and type", c.Result, "408/8537"},
		{"modalities, texts and numbers", strings.Join(c.Modalities, " "), "audio 7 video"},
		{"a name with a dot is no path", c.PolicyIdentifier, ""},
		{"paired recorders", fmt.Sprint(c.PairedRecorders), "2"},
	} {
		if f.got != f.want {
			t.Errorf("%s: %q, want %q", f.name, f.got, f.want)
		}
	}
	if !c.Recording() {
		t.Error("an observed participant makes it a policy recording")
	}
	if (*Call)(nil).Recording() {
		t.Error("no facts, no recording")
	}
}

// TestRefusedBodies carries the numbers of the list of bad inputs.
func TestRefusedBodies(t *testing.T) {
	deep := func(n int) string {
		return body(callURL + `,"x":` + strings.Repeat("[", n) + strings.Repeat("]", n))
	}
	many := strings.TrimSuffix(strings.Repeat(`{"resource":"/app/calls/c1"},`, 10001), ",")
	ok := body(`"changeType":"updated",` + callURL)
	for _, c := range []struct {
		name, body string
		want       error
	}{
		{"B75 the malformed sample of Microsoft's page", string(sample(t, "malformed-notification.txt")), ErrMalformed},
		{"B76 empty", "", ErrMalformed},
		{"B76 null", "null", ErrMalformed},
		{"B76 array", "[]", ErrMalformed},
		{"B76 text", `""`, ErrMalformed},
		{"B76 number", "7", ErrMalformed},
		{"B76 empty object", "{}", ErrMalformed},
		{"B77 two values", `{"value":[{` + callURL + `}],"value":[{` + callURL + `}]}`, ErrMalformed},
		{"B77 two resources", body(`"resource":"/app/calls/c1","resource":"/app/calls/c2"`), ErrMalformed},
		{"B77 value and Value", `{"value":[{` + callURL + `}],"Value":[]}`, ErrMalformed},
		{"B77 only Value", `{"Value":[{` + callURL + `}]}`, ErrMalformed},
		{"B77 resource and RESOURCE", body(`"resource":"/app/calls/c1","RESOURCE":"/app/calls/c2"`), ErrMalformed},
		{"B77 resource and a long s", body(`"resource":"/app/calls/c1","re\u017fource":"/app/calls/c2"`), ErrMalformed},
		{"B77 state and State", body(callURL + `,"resourceData":{"state":"established","State":"terminated"}`), ErrMalformed},
		{"B77 two unknown, deep inside", body(callURL + `,"resourceData":{"x":{"y":1,"y":2}}`), ErrMalformed},
		{"B77 two names that differ by escapes", body(`"resource":"/app/calls/c1","\u0072esource":"/app/calls/c2"`), ErrMalformed},
		{"B78 depth 65", deep(62), ErrMalformed},
		{"B78 depth 10001", deep(10001), ErrMalformed},
		{"B78 depth 100000", deep(100000), ErrMalformed},
		{"B79 invalid UTF-8 in a text", body(callURL + ",\"x\":\"\xff\""), ErrMalformed},
		{"B79 invalid UTF-8 in a name", body(callURL + ",\"\xc3(\":1"), ErrMalformed},
		{"B79 overlong UTF-8", body(callURL + ",\"x\":\"\xc0\xaf\""), ErrMalformed},
		{"B79 lone surrogate", body(callURL + `,"x":"\ud800"`), ErrMalformed},
		{"B79 NUL, escaped", body(callURL + `,"x":"a\u0000b"`), ErrMalformed},
		{"B79 NUL, bare", body(callURL + ",\"x\":\"a\x00b\""), ErrMalformed},
		{"B80 10001 notifications", `{"value":[` + many + `]}`, ErrTooMany},
		{"B80 none", `{"value":[]}`, ErrMalformed},
		{"B80 value is an object", `{"value":{},"callState":"incoming"}`, ErrMalformed},
		{"B80 value of numbers", `{"value":[1]}`, ErrMalformed},
		{"B82 unknown @odata.type", `{"@odata.type":"#microsoft.graph.user","value":[{` + callURL + `}]}`, ErrMalformed},
		{"B82 unknown @odata.type of a notification", `{"value":[{"@odata.type":"#microsoft.graph.chatMessage",` + callURL + `}]}`, ErrMalformed},
		{"B82 neither form", `{"id":"x","participants":[]}`, ErrMalformed},
		{"B82 legacy words of the wrong type", `{"callState":7,"presentedModalityTypes":"audio","operationOutcome":[]}`, ErrMalformed},
		{"B83 up and away", body(`"resource":"/app/calls/../../users"`), ErrMalformed},
		{"B83 nothing but dots", body(`"resource":"/app/calls/.."`), ErrMalformed},
		{"B83 two slashes", body(`"resource":"/app/calls//c1"`), ErrMalformed},
		{"B83 no id", body(`"resource":"/app/calls/"`), ErrMalformed},
		{"B83 nothing but dashes", body(`"resource":"/app/calls/---"`), ErrMalformed},
		{"B83 escaped dots", body(`"resource":"/app/calls/%2e%2e"`), ErrMalformed},
		{"B83 4 KiB", body(`"resource":"/app/calls/` + strings.Repeat("a", 4096) + `"`), ErrMalformed},
		{"B83 129 bytes", body(`"resource":"/app/calls/` + strings.Repeat("a", 129) + `"`), ErrMalformed},
		{"B83 newline", body(`"resource":"/app/calls/c1\nX"`), ErrMalformed},
		{"B83 look-alike letter", body(`"resource":"/app/calls/с1"`), ErrMalformed},
		{"B83 dots below the call", body(`"resource":"/app/calls/c1/../c2"`), ErrMalformed},
		{"B83 slash at the end", body(`"resource":"/app/calls/c1/"`), ErrMalformed},
		{"B83 query", body(`"resource":"/app/calls/c1?x=1"`), ErrMalformed},
		{"B83 another resource", body(`"resource":"/users/c1"`), ErrMalformed},
		{"B83 a number", body(`"resource":7`), ErrMalformed},
		{"B83 no resource at all", body(`"changeType":"updated"`), ErrMalformed},
		{"B84 resourceData names another call", body(callURL + `,"resourceData":{"@odata.type":"#microsoft.graph.call","id":"c2"}`), ErrMalformed},
		{"B84 resourceData without type names another call", body(callURL + `,"resourceData":{"id":"c2"}`), ErrMalformed},
		{"B84 resourceData's id is endless", body(callURL + `,"resourceData":{"id":"` + strings.Repeat("c", 500) + `"}`), ErrMalformed},
		{"B84 resource and resourceUrl differ", body(`"resource":"/app/calls/c2",` + callURL), ErrMalformed},
		{"B85 leading zero", body(callURL + `,"x":01`), ErrMalformed},
		{"B85 NaN", body(callURL + `,"x":NaN`), ErrMalformed},
		{"B86 a second document", ok + `{}`, ErrMalformed},
		{"B86 a bracket", ok + `]`, ErrMalformed},
		{"B86 a NUL", ok + "\x00", ErrMalformed},
		{"B86 a comment", ok + `// end`, ErrMalformed},
		{"B87 byte order mark", "\ufeff" + ok, ErrMalformed},
		{"B87 UTF-16", utf16(ok), ErrMalformed},
		{"cut off", ok[:len(ok)-3], ErrMalformed},
		{"trailing comma", strings.Replace(ok, "}]}", "},]}", 1), ErrMalformed},
		{"resourceData is a text", body(callURL + `,"resourceData":"x"`), ErrMalformed},
		{"changeType is a number", body(callURL + `,"changeType":1`), ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Decode([]byte(c.body), Limits{})
			if !errors.Is(err, c.want) {
				t.Fatalf("got %+v, %v; want %v", got, err, c.want)
			}
			if n := len(err.Error()); n > 200 {
				t.Errorf("the error has %d bytes: it quotes the body", n)
			}
		})
	}
}

// TestOddButGood keeps the strictness from eating what must pass.
func TestOddButGood(t *testing.T) {
	for name, members := range map[string]string{
		"B78 depth 64":                   callURL + `,"x":` + strings.Repeat("[", 61) + strings.Repeat("]", 61),
		"B79 an escaped backslash, u000": callURL + `,"x":"\\u0000"`,
		"B79 a pair of surrogates":       callURL + `,"x":"\ud83d\ude00"`,
		"B85 1e999":                      callURL + `,"resourceData":{"resultInfo":{"code":1e999}}`,
		"B85 minus zero":                 callURL + `,"resourceData":{"resultInfo":{"code":-0}}`,
		"B85 2^63":                       callURL + `,"resourceData":{"resultInfo":{"code":9223372036854775808}}`,
		"B88 255 KiB in a fact":          callURL + `,"resourceData":{"tenantId":"` + strings.Repeat("x", 255<<10) + `"}`,
		"brackets within a text":         callURL + `,"x":"` + strings.Repeat("[", 1000) + `\"]"`,
		"targets without a list":         callURL + `,"resourceData":{"targets":{"id":"x","identity":{"user":{"id":"y"}}}}`,
		"128 bytes of id":                `"resource":"/app/calls/` + strings.Repeat("a", 128) + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Decode([]byte(body(members)), Limits{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLegacyByPositiveRecognition: only what looks like the Skype form gets the
// handshake.
func TestLegacyByPositiveRecognition(t *testing.T) {
	for _, b := range []string{
		`{"callState":"incoming"}`, `{"presentedModalityTypes":["audio"]}`, `{"operationOutcome":{"type":"answerOutcome"}}`,
	} {
		if got, err := Decode([]byte(b), Limits{}); err != nil || got.Kind != Legacy || got.Notifications != nil {
			t.Errorf("%s: %+v, %v", b, got, err)
		}
	}
	both := `{"callState":"incoming","value":[{` + callURL + `}]}`
	if got, err := Decode([]byte(both), Limits{}); err != nil || got.Kind != Graph {
		t.Errorf("a value array makes it Graph: %+v, %v", got, err)
	}
	typed := `{"@odata.type":"#microsoft.graph.commsNotifications","callState":"incoming"}`
	if got, err := Decode([]byte(typed), Limits{}); err != nil || got.Kind != Legacy {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestErrorsQuoteNothing: an error's text may reach a log.
func TestErrorsQuoteNothing(t *testing.T) {
	for _, b := range []string{`{"CANARY":`, `{"value":[{"resource":"/app/calls/CANARY!"}]}`, body(`"CANARY":1,"CANARY":2`), `{"@odata.type":"CANARY"}`} {
		if _, err := Decode([]byte(b), Limits{}); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v", b, err)
		}
	}
}

// TestDecodeLeavesTheBodyAlone: the same bytes go on to the bot, and the pooled
// reader must not mix two bodies up.
func TestDecodeLeavesTheBodyAlone(t *testing.T) {
	b := []byte(body(`"changeType":"\u0075pdated","resourceUrl":"/communications/calls/AB-12"`))
	before := string(b)
	first, err := Decode(b, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode([]byte(strings.ReplaceAll(before, "AB-12", "ZZ-99")), Limits{}); err != nil {
		t.Fatal(err)
	}
	if string(b) != before {
		t.Error("the body was changed")
	}
	if n := first.Notifications[0]; n.RawCallID != "AB-12" || n.CallID != "ab12" {
		t.Errorf("the first message has become %+v", n)
	}
}

// TestUpdateAllocations guards the cost of a follow-up.
func TestUpdateAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes allocations of its own")
	}
	b := sample(t, "graph-established.json")
	if n := testing.AllocsPerRun(200, func() {
		if _, err := Decode(b, Limits{}); err != nil {
			t.Fatal(err)
		}
	}); n > 6 {
		t.Errorf("decoding a follow-up costs %.0f allocations", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"graph-established.json", "graph-incoming-policy-recording.json"} {
		b.Run(name, func(b *testing.B) {
			text := sample(b, name)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(text, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func utf16(s string) string {
	var b strings.Builder
	b.WriteString("\xff\xfe")
	for i := range len(s) {
		b.WriteByte(s[i])
		b.WriteByte(0)
	}
	return b.String()
}
