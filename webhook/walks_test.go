package webhook

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/graph"
	"tandem/ownership"
	"tandem/policy"
)

// TestWalk1_Handshake: a legacy notification gets 204 after its token was
// verified, and no state is touched.
func TestWalk1_Handshake(t *testing.T) {
	nd := oneNode(t, setup{})
	for _, name := range []string{"legacy-teams-incoming-2020.json", "legacy-skype-incoming.json", "legacy-skype-conversationresult.json"} {
		a := post(t, nd.url+hookPath, sampleBody(t, name), header("Client-Request-Id", "cr-1"), header("Scenario-Id", "sc-1"))
		if a.status != http.StatusNoContent || a.body != "" {
			t.Errorf("%s: %d %q", name, a.status, a.body)
		}
		if a.header.Get("Client-Request-Id") != "cr-1" || a.header.Get("Scenario-Id") != "sc-1" {
			t.Errorf("the ids do not come back: %v", a.header)
		}
	}
	if nd.tokens.asked != 3 {
		t.Errorf("the token was verified %d times of 3", nd.tokens.asked)
	}
	nd.in.untouched(t)
	if n := nd.counter(t, "tandem_webhook_requests_total", "handshake"); n != 3 {
		t.Errorf("%v handshakes counted", n)
	}
}

// TestNothingBeforeTheToken: not even the 204 comes without a token, and no byte
// of the body decides.
func TestNothingBeforeTheToken(t *testing.T) {
	nd := oneNode(t, setup{})
	for name, body := range map[string]string{
		"legacy": legacyBody, "graph": incoming("c1"), "malformed": "{", "empty": "",
	} {
		a := post(t, nd.url+hookPath, body, header("Authorization"))
		if a.status != http.StatusUnauthorized || a.code(t) != "invalid_token" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if a.header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
			t.Errorf("%s: WWW-Authenticate is %q", name, a.header.Get("WWW-Authenticate"))
		}
	}
	if a := post(t, nd.url+hookPath, incoming("c1"), header("Authorization", "Bearer "+mint(t, ourApp, badTenant))); a.status != http.StatusForbidden || a.code(t) != "tenant_not_allowed" {
		t.Errorf("another tenant: %d %s", a.status, a.body)
	}
	nd.in.untouched(t)
}

// TestMicrosoftsPage: the request that Microsoft's page shows has the header
// Authentication and a body that is no JSON: 401, and 400 with a good token.
func TestMicrosoftsPage(t *testing.T) {
	nd := oneNode(t, setup{})
	body := sampleBody(t, "malformed-notification.txt")
	a := post(t, nd.url+hookPath, body, header("Authorization"), header("Authentication", "Bearer "+mint(t, ourApp, ourTenant)))
	if a.status != http.StatusUnauthorized {
		t.Errorf("B02: %d %s", a.status, a.body)
	}
	if a := post(t, nd.url+hookPath, body); a.status != http.StatusBadRequest || a.code(t) != "malformed_notification" {
		t.Errorf("B75: %d %s", a.status, a.body)
	}
}

// TestPublishedSamples posts every published sample: the door does with each
// what its name says.
func TestPublishedSamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "graph", "testdata", "samples", "*"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d samples: %v", len(files), err)
	}
	nd := oneNode(t, setup{})
	for _, f := range files {
		name := filepath.Base(f)
		want := http.StatusBadRequest
		switch {
		case name == "SOURCES.txt", name == "legacy-workflow-answer.json", name == "seen-botdata-compliance-2023.json":
		case strings.HasPrefix(name, "legacy-"):
			want = http.StatusNoContent
		case strings.HasPrefix(name, "graph-"), strings.HasPrefix(name, "seen-"):
			want = http.StatusAccepted
		}
		if a := post(t, nd.url+hookPath, sampleBody(t, name)); a.status != want {
			t.Errorf("%s: %d, want %d: %s", name, a.status, want, a.body)
		}
	}
	for _, h := range nd.handed() {
		if h.Event == ownership.EventIncoming && h.Deadline.IsZero() || h.Event == ownership.EventUpdate && !h.Deadline.IsZero() {
			t.Errorf("call %s: %s with deadline %s", h.Call, h.Event, h.Deadline)
		}
	}
}

// TestWalk2_FirstNotification: claimed at the node that received it, handled
// there, with everything that the bot and the table need.
func TestWalk2_FirstNotification(t *testing.T) {
	nd := oneNode(t, setup{pins: []policy.PinSpec{{When: `call.tenant == "932899f8-2ea1-4604-8413-27bd2892079f"`, Pin: ownership.Pin{Zone: "a"}}}})
	body := sampleBody(t, "graph-incoming-policy-recording.json")
	before := time.Now()
	a := post(t, nd.url+hookPath, body, header("X-Microsoft-Skype-Chain-ID", "A590EFBA"), header("Tandem-Event", "adopted"), header("X-Custom", "kept"))
	if a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
	claims, got := nd.in.claimed(), nd.handed()
	if len(claims) != 1 || len(got) != 1 {
		t.Fatalf("%d claims, %d hand-overs", len(claims), len(got))
	}
	c, h := claims[0], got[0]
	if c.Call != "e71f03009c1f4d99b5f42722e877d497" || c.RawCall != "e71f0300-9c1f-4d99-b5f4-2722e877d497" || c.App != ourApp || c.Answered ||
		c.Tenant != "932899f8-2ea1-4604-8413-27bd2892079f" || !c.Paired || c.Pinned || c.Pin.Zone != "a" || c.Via != "emea-1" ||
		c.Observed != "30fad2ce-8989-41a1-8a66-f6636e629a2a" {
		t.Errorf("the claim is %+v", c)
	}
	wantGroups := []ownership.GroupKey{"chain:05f2f70f-3a9c-47c1-80a9-cc79e91d8cec", "chain:a590efba"}
	if fmt.Sprint(c.Groups) != fmt.Sprint(wantGroups) {
		t.Errorf("groups %v, want %v", c.Groups, wantGroups)
	}
	if d := h.Deadline.Sub(h.Received); d != graph.RecordingAnswerIn || !h.Recording {
		t.Errorf("policy recording has %s to answer, recording %v", d, h.Recording)
	}
	if h.Received.Before(before) || !c.Received.Equal(h.Received) || !c.Deadline.Equal(h.Deadline) {
		t.Errorf("times: received %s and %s, deadline %s and %s", c.Received, h.Received, c.Deadline, h.Deadline)
	}
	if string(h.Body) != body {
		t.Error("the body is not what was sent, byte for byte")
	}
	if h.Event != ownership.EventIncoming || h.MessageID != "m-1" || h.Partition != 1 || h.Epoch != 1 || h.Ends {
		t.Errorf("the hand-over is %+v", h)
	}
	if h.CallbackURI != nd.uri(1, 1, "e71f03009c1f4d99b5f42722e877d497") {
		t.Errorf("the callback URI is %s", h.CallbackURI)
	}
	if hd := http.Header(h.Header); hd.Get("Tandem-Event") != "" || hd.Get("X-Custom") != "kept" || hd.Get("Authorization") != "" || hd.Get("Connection") != "" {
		t.Errorf("the headers are %v", h.Header)
	}
}

// TestPinnedApp: calls of an app-hosted app cannot move.
func TestPinnedApp(t *testing.T) {
	nd := oneNode(t, setup{})
	post(t, nd.url+hookPath, incoming("c1"), header("Authorization", "Bearer "+mint(t, mediaApp, badTenant)))
	if c := nd.in.claimed(); len(c) != 1 || !c[0].Pinned || c[0].App != mediaApp || c[0].Tenant != badTenant {
		t.Errorf("%+v", c)
	}
	if h := nd.handed(); len(h) != 1 || h[0].Deadline.Sub(h[0].Received) != graph.AnswerIn {
		t.Errorf("%+v", h)
	}
}

// TestWalk2_RedirectToOwner and walk 3: the owner's node gets the handle in the
// path, needs no lookup, and keeps the first node's clock.
func TestWalk2_RedirectToOwner(t *testing.T) {
	for _, status := range []int{302, 307} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			r := newRegion(t, newWorld(), "emea", 2, setup{config: func(c *Config) { c.RedirectStatus = status }})
			r.place = func(ownership.Claim) ownership.PartitionID { return 2 }
			one, two := r.nodes["emea-1"], r.nodes["emea-2"]
			before := time.Now()
			all := follow(t, one.url+hookPath, incoming("C-1"), 2)
			if len(all) != 2 || all[0].status != status || all[1].status != http.StatusAccepted {
				t.Fatalf("%+v", all)
			}
			if want := two.url + hookPath + "/emea/2/1/c1?s="; !strings.HasPrefix(all[0].location(), want) || !strings.Contains(all[0].location(), "&h=n.") {
				t.Errorf("Location is %s", all[0].location())
			}
			got := two.handed()
			if len(got) != 1 || len(one.handed()) != 0 || len(one.relayed()) != 0 {
				t.Fatalf("%+v", got)
			}
			h, c := got[0], r.claimed()[0]
			if h.Event != ownership.EventIncoming || h.Received.UnixMilli() != c.Received.UnixMilli() || h.Received.Before(before.Truncate(time.Millisecond)) {
				t.Errorf("received %s at the owner, %s at the first node", h.Received, c.Received)
			}
			if len(r.claimed()) != 1 {
				t.Error("the owner claimed again")
			}
			if one.counter(t, "tandem_webhook_hops_total", "node") != 1 || two.counter(t, "tandem_webhook_hops_total", "node") != 0 {
				t.Error("the hops are not counted")
			}
		})
	}
}

// TestWalk2_OwnerWithoutAddress is relayed to.
func TestWalk2_OwnerWithoutAddress(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	r.place = func(ownership.Claim) ownership.PartitionID { return 2 }
	r.owners[2] = ownership.Owner{Node: "emea-2", Partition: 2, Epoch: 1}
	r.nodes["emea-2"].reply = func(ownership.HandOver) (ownership.Reply, error) {
		return ownership.Reply{Status: 200, Header: map[string][]string{"X-Bot": {"yes"}, "Location": {"https://evil.example"}, "Connection": {"close"}}, Body: []byte("own")}, nil
	}
	a := post(t, r.nodes["emea-1"].url+hookPath, incoming("c1"))
	if a.status != 200 || a.body != "own" || a.header.Get("X-Bot") != "yes" || a.location() != "" {
		t.Errorf("the owner's answer is not passed through: %+v", a)
	}
	if n := len(r.nodes["emea-1"].relayed()); n != 1 {
		t.Errorf("relayed %d times", n)
	}
}

// TestNeverToItself: nodes behind one address are relayed to, since a redirect
// could end at the node that sent it.
func TestNeverToItself(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	r.place = func(ownership.Claim) ownership.PartitionID { return 2 }
	one := r.nodes["emea-1"]
	r.owners[2] = ownership.Owner{Node: "emea-2", Partition: 2, Epoch: 1, PublicURL: one.url}
	if a := post(t, one.url+hookPath, incoming("c1")); a.status != 202 || len(r.nodes["emea-2"].handed()) != 1 {
		t.Errorf("%+v", a)
	}
}

// TestPlacementAheadOfMemory: a claim's answer is newer than the memory of a
// node that lags behind, so it is the answer that counts.
func TestPlacementAheadOfMemory(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	r.moves(1, "emea-2")
	one.view[1] = ownership.Owner{Node: "emea-1", Partition: 1, Epoch: 1, PublicURL: one.url}
	if a := post(t, one.url+hookPath, incoming("c1")); a.status != 202 || len(two.handed()) != 1 || len(one.handed()) != 0 {
		t.Errorf("%+v", a)
	}
	r.answer = func(p ownership.Placement) ownership.Placement { p.Owner, p.Epoch = "emea-1", 7; return p }
	if a := post(t, one.url+hookPath, incoming("c2")); a.status != 503 || len(one.handed()) != 0 {
		t.Errorf("an epoch that this node's memory has not reached: %+v", a)
	}
	r.answer = func(p ownership.Placement) ownership.Placement { p.Reason = ownership.ReasonEnded; return p }
	if a := post(t, one.url+hookPath, incoming("c3")); a.status != 202 || len(one.handed())+len(two.handed()) != 1 {
		t.Errorf("ended by another node's word: %+v", a)
	}
}

// TestWalk4_FollowUps: on the callback URI at any node the owner gets it, in one
// relay, and the bot's response passes through.
func TestWalk4_FollowUps(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	r.knows("c1", 2, ownership.CallAnswered)
	two.reply = func(ownership.HandOver) (ownership.Reply, error) {
		return ownership.Reply{Status: 200, Header: map[string][]string{"Content-Type": {"application/json"}}, Body: []byte(`{"ok":1}`)}, nil
	}
	for i, nd := range []*node{one, two} {
		a := post(t, nd.uri(2, 1, "c1"), update("c1"))
		if a.status != 200 || a.body != `{"ok":1}` || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("at %s: %+v", nd.id, a)
		}
		got := two.handed()
		if len(got) != i+1 || got[i].Event != ownership.EventUpdate || got[i].Epoch != 1 || got[i].CallbackURI != testKeys().CallbackURI(one.url+hookPath, Handle{Region: "emea", Partition: 2, Epoch: 1, Ref: "c1"}) {
			t.Errorf("at %s: %+v", nd.id, got)
		}
	}
	if len(one.relayed()) != 1 || len(two.relayed()) != 0 || len(one.handed()) != 0 {
		t.Errorf("relays: %d and %d", len(one.relayed()), len(two.relayed()))
	}
	if a := post(t, one.uri(2, 1, "c1"), end("c1")); a.status != 200 {
		t.Errorf("%+v", a)
	}
	if got := two.handed(); !got[2].Ends {
		t.Error("the end of the call is not marked")
	}
}

// TestWalk4_Unclaimed: the handle alone names the owner; the table may not have
// shown the claim to this node yet.
func TestWalk4_Unclaimed(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	two := r.nodes["emea-2"]
	if a := post(t, r.nodes["emea-1"].uri(2, 1, "c1"), update("c1")); a.status != 202 || len(two.handed()) != 1 {
		t.Errorf("%+v", a)
	}
	if len(r.claimed()) != 0 {
		t.Error("it was claimed")
	}
}

// TestMidcallRedirect: by configuration, follow-ups are redirected, once.
func TestMidcallRedirect(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{config: func(c *Config) { c.Midcall = MidcallRedirect }})
	r.knows("c1", 2, ownership.CallAnswered)
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	all := follow(t, one.uri(2, 1, "c1"), update("c1"), 3)
	if len(all) != 2 || all[0].status != 302 || all[1].status != 202 || len(two.handed()) != 1 {
		t.Fatalf("%+v", all)
	}
	// On the plain path as well, where a bot answered with a URI of its own.
	if a := post(t, one.url+hookPath, update("c1")); a.status != 302 {
		t.Errorf("%+v", a)
	}
}

// TestKnownCallOnThePlainPath: updates are relayed by default, repeats of the
// first notification redirected.
func TestKnownCallOnThePlainPath(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	r.knows("c1", 2, ownership.CallClaimed)
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	if a := post(t, one.url+hookPath, update("c1")); a.status != 202 || len(two.handed()) != 1 {
		t.Errorf("update: %+v", a)
	}
	if a := post(t, one.url+hookPath, incoming("c1")); a.status != 302 || len(r.claimed()) != 0 {
		t.Errorf("repeat: %+v", a)
	}
}

// TestUnknownCallsUpdate is claimed as answered; its end is not.
func TestUnknownCallsUpdate(t *testing.T) {
	nd := oneNode(t, setup{})
	if a := post(t, nd.url+hookPath, end("c1")); a.status != 202 {
		t.Errorf("%+v", a)
	}
	nd.in.untouched(t)
	if a := post(t, nd.url+hookPath, update("c2")); a.status != 202 {
		t.Errorf("%+v", a)
	}
	if c := nd.in.claimed(); len(c) != 1 || !c[0].Answered || !c[0].Deadline.IsZero() {
		t.Errorf("%+v", c)
	}
	if a := post(t, nd.url+hookPath, `{"value":[`+entry("created", "c3", `"state":"incoming"`)+","+entry("deleted", "c3", `"state":"terminated"`)+`]}`); a.status != 202 || len(nd.in.claimed()) != 1 {
		t.Errorf("a call that ended before anybody knew it was claimed: %+v", a)
	}
}

// TestOutgoingCalls: the first notification on an outgoing callback URI places
// the call on the node that asked for the URI.
func TestOutgoingCalls(t *testing.T) {
	w := newWorld()
	w.urls["amer"] = "https://amer.bot.example"
	r := newRegion(t, w, "emea", 2, setup{rules: []policy.RuleSpec{{When: "true", Region: "amer"}}})
	r.place = func(c ownership.Claim) ownership.PartitionID {
		if c.Pin.Node == "emea-2" {
			return 2
		}
		return 1
	}
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	ref := OutgoingRef(ourApp)
	if a := post(t, one.uri(2, 1, ref), notification("updated", "c1", `"state":"establishing"`)); a.status != 202 {
		t.Fatalf("%+v", a)
	}
	got := two.handed()
	if len(got) != 1 || !strings.Contains(got[0].CallbackURI, "/emea/2/1/c1?s=") {
		t.Errorf("%+v", got)
	}
	if c := r.claimed(); len(c) != 1 || !c[0].Answered || c[0].Pin.Node != "emea-2" {
		t.Errorf("%+v", c)
	}
	// Later ones find the call in the table.
	if a := post(t, one.uri(2, 1, ref), update("c1")); a.status != 202 || len(two.handed()) != 2 || len(r.claimed()) != 1 {
		t.Errorf("%+v", a)
	}
	if a := post(t, one.uri(2, 1, ref), end("c9")); a.status != 202 || len(r.claimed()) != 1 {
		t.Errorf("the end of an unknown outgoing call: %+v", a)
	}
}

// TestJoinNotice: a recording group's notice belongs to the call on whose
// callback URI it arrives, and the bot's answer is the point of it.
func TestJoinNotice(t *testing.T) {
	nd := oneNode(t, setup{})
	nd.in.knows("c1", 1, ownership.CallAnswered)
	nd.reply = func(ownership.HandOver) (ownership.Reply, error) {
		return ownership.Reply{Status: 200, Body: []byte(`{"@odata.type":"#microsoft.graph.inviteNewBotResponse","inviteUri":"https://bot.example/"}`)}, nil
	}
	body := `{"value":[{"changeType":"created","resourceUrl":"/communications/calls/newcomer","resourceData":{"@odata.type":"#microsoft.graph.participantJoiningNotification","call":{"id":"x"}}}]}`
	a := post(t, nd.uri(1, 1, "c1"), body)
	if a.status != 200 || !strings.Contains(a.body, "inviteUri") {
		t.Errorf("%+v", a)
	}
	if h := nd.handed(); len(h) != 1 || h[0].Call != "c1" {
		t.Errorf("%+v", h)
	}
}
