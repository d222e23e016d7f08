package webhook

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestBadJSON sends bodies of the list with a good token; graph's own tests have
// many more of each kind.
func TestBadJSON(t *testing.T) {
	nd := oneNode(t, setup{})
	deep := func(n int) string {
		return strings.Replace(update("c1"), `"state"`, `"x":`+strings.Repeat("[", n)+strings.Repeat("]", n)+`,"state"`, 1)
	}
	one := entry("updated", "c1", `"state":"established"`)
	for _, c := range []struct {
		name, body string
		want       int
		code       string
	}{
		{"B76 empty", "", 400, "malformed_notification"},
		{"B76 null", "null", 400, "malformed_notification"},
		{"B76 array", "[]", 400, "malformed_notification"},
		{"B76 text", `""`, 400, "malformed_notification"},
		{"B76 number", "1", 400, "malformed_notification"},
		{"B77 two values", `{"value":[` + one + `],"value":[` + one + `]}`, 400, "malformed_notification"},
		{"B77 Value", `{"value":[` + one + `],"Value":[` + one + `]}`, 400, "malformed_notification"},
		{"B77 RESOURCEURL", `{"value":[{"resourceUrl":"/communications/calls/c1","RESOURCEURL":"/communications/calls/c2"}]}`, 400, "malformed_notification"},
		{"B78 depth 100, which a JSON parser takes", deep(100), 400, "malformed_notification"},
		{"B78 depth 10001", deep(10001), 400, "malformed_notification"},
		{"B78 depth 100000", deep(100000), 400, "malformed_notification"},
		{"B79 invalid UTF-8", update("c1", "\"x\":\"\xff\""), 400, "malformed_notification"},
		{"B79 lone surrogate", update("c1", `"x":"\udc00"`), 400, "malformed_notification"},
		{"B79 NUL", update("c1", `"x":"\u0000"`), 400, "malformed_notification"},
		{"B80 10001 notifications", `{"value":[` + strings.TrimSuffix(strings.Repeat(`{"resource":"/app/calls/c1"},`, 10001), ",") + `]}`, 413, "too_many_notifications"},
		{"B80 none", `{"value":[]}`, 400, "malformed_notification"},
		{"B82 unknown type", `{"@odata.type":"#microsoft.graph.changeNotificationCollection","value":[` + one + `]}`, 400, "malformed_notification"},
		{"B82 neither form", `{"hello":"world"}`, 400, "malformed_notification"},
		{"B83 up and away", notification("updated", "../../users", `"state":"x"`), 400, "malformed_notification"},
		{"B83 escaped", notification("updated", "%2e%2e", `"state":"x"`), 400, "malformed_notification"},
		{"B83 4 KiB", notification("updated", strings.Repeat("a", 4096), `"state":"x"`), 400, "malformed_notification"},
		{"B84 two ids", update("c1", `"id":"c2"`), 400, "malformed_notification"},
		{"B86 trailing", update("c1") + "x", 400, "malformed_notification"},
		{"B87 byte order mark", "\ufeff" + update("c1"), 400, "malformed_notification"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a := post(t, nd.url+hookPath, c.body); a.status != c.want || a.code(t) != c.code {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	nd.in.untouched(t)
	t.Run("B82 no type at all but a value of notifications", func(t *testing.T) {
		if a := post(t, nd.url+hookPath, `{"value":[{"changeType":"created","resource":"/app/calls/c0","resourceData":{"state":"Incoming"}}]}`); a.status != 202 || len(nd.handed()) != 1 {
			t.Errorf("%+v", a)
		}
	})
	t.Run("B85 odd numbers where nobody reads them", func(t *testing.T) {
		if a := post(t, nd.url+hookPath, update("c1", `"a":1e999,"b":-0,"c":9223372036854775808`)); a.status != 202 {
			t.Errorf("%+v", a)
		}
	})
}

// TestB81_MixedOwners is TestSeveralCalls; the number stands here so that a
// search for it ends somewhere.
func TestB81_MixedOwners(t *testing.T) { TestSeveralCalls(t) }

// TestLogs is B88, and what of B109 and B110 concerns this door: long ids are cut,
// odd ones are escaped into one line, and no token or signature appears.
func TestLogs(t *testing.T) {
	nd := oneNode(t, setup{})
	token := "Bearer " + mint(t, ourApp, ourTenant)
	post(t, nd.url+hookPath, incoming("c1", `"meetingInfo":{"token":"CANARY-JOIN"},"tenantId":"`+strings.Repeat("t", 255<<10)+`"`),
		header("Authorization", token), header("Client-Request-Id", strings.Repeat("z", 250)), header("X-Microsoft-Skype-Message-ID"))
	post(t, nd.uri(1, 1, "c1"), update("c1"), header("X-Microsoft-Skype-Message-ID", "red\t\u009b31m"))
	post(t, nd.url+"/api/calls/"+strings.Repeat("q", 8000), "{}")
	post(t, nd.url+hookPath+"/emea/1/1/c1?s=k1.CANARYCANARYCANARYCANA", update("c1"))
	post(t, nd.url+hookPath+"?access_token=CANARY-QUERY", "{")
	log := nd.log.String()
	if n := strings.Count(log, `"public request"`); n != 5 {
		t.Errorf("%d requests logged of 5: %s", n, log)
	}
	for _, bad := range []string{"CANARY", strings.TrimPrefix(token, "Bearer ")[:40], strings.Repeat("z", 140), strings.Repeat("q", 140), strings.Repeat("t", 140), "\x1b", strings.Split(nd.uri(1, 1, "c1"), "?s=")[1]} {
		if strings.Contains(log, bad) {
			t.Errorf("the log holds %.60q", bad)
		}
	}
	for line := range strings.Lines(log) {
		if !json.Valid([]byte(line)) || len(line) > 2000 {
			t.Errorf("not one JSON line: %.200q", line)
		}
	}
}
