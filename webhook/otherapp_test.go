package webhook

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"tandem/ownership"
)

// TestD14_ACallThatAnotherAppClaimedFirst: whoever claims a call first need not be
// whose it is. As long as nobody answered it, a first notification for another app
// is told to come again; an answered call is its app's for good.
func TestD14_ACallThatAnotherAppClaimedFirst(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 1, setup{})
	one := r.nodes["emea-1"]
	theirs := header("Authorization", "Bearer "+mint(t, mediaApp, ourTenant))
	for call, state := range map[ownership.CallID]ownership.CallState{"claimed": ownership.CallClaimed, "ended": ownership.CallEnded, "answered": ownership.CallAnswered} {
		r.knows(call, 1, state)
	}
	for _, call := range []string{"claimed", "ended"} {
		if a := post(t, one.url+hookPath, incoming(call), theirs); a.status != 503 || a.code(t) != "call_of_another_app" || a.location() != "" {
			t.Errorf("%s: %+v", call, a)
		}
		post(t, one.url+hookPath, update(call), theirs).refusedAsForeign(t)
	}
	post(t, one.url+hookPath, incoming("answered"), theirs).refusedAsForeign(t)
	one.forgot.Store(true)
	defer one.forgot.Store(false)
	if a := post(t, one.url+hookPath, incoming("claimed"), theirs); a.status != 503 || a.code(t) != "call_of_another_app" {
		t.Errorf("claimed, as only the leader knows yet: %+v", a)
	}
	r.untouched(t)
}

// TestD14_OutgoingURIsBelongToTheirApp: a callback URI that one app's bot asked for
// takes no token of another app, whatever the body says.
func TestD14_OutgoingURIsBelongToTheirApp(t *testing.T) {
	nd := oneNode(t, setup{})
	ours, theirs := nd.uri(1, 1, OutgoingRef(ourApp)), nd.uri(1, 1, OutgoingRef(mediaApp))
	for _, body := range []string{incoming("fresh-1"), update("fresh-2"), end("fresh-3")} {
		post(t, theirs, body).refusedAsForeign(t)
		post(t, ours, body, header("Authorization", "Bearer "+mint(t, mediaApp, ourTenant))).refusedAsForeign(t)
	}
	if n := len(nd.handed()); n != 0 {
		t.Errorf("%d notifications reached a bot", n)
	}
	if a := post(t, ours, update("fresh4")); a.status == 401 || a.status == 404 {
		t.Errorf("the app's own: %+v", a)
	}
	// A URI from before refs told their app is good for the calls that it was made for.
	if a := post(t, nd.uri(1, 1, OutgoingPrefix+"0123456789abcdef"), update("fresh5")); a.status == 401 || a.status == 404 {
		t.Errorf("of before: %+v", a)
	}
	if one, two := OutgoingRef(ourApp), OutgoingRef(ourApp); one == two {
		t.Error("two refs are the same")
	}
}

// TestD14_ExplainLeavesNoTrace: a token that is explained is not remembered as one
// that was verified.
func TestD14_ExplainLeavesNoTrace(t *testing.T) {
	nd := oneNode(t, setup{})
	h := http.Header{"Authorization": {"Bearer " + mint(t, ourApp, ourTenant)}}
	if e := nd.door.Explain(context.Background(), ownership.Supposed{Header: h, Body: []byte(update("c1"))}); e.Token != "valid" {
		t.Errorf("%+v", e)
	}
	if n := nd.tokens.asked; n != 0 {
		t.Errorf("the token was verified %d times, with what that leaves behind", n)
	}
}

// TestO18_AForeignHandshake: the handshake of a Graph change notification is named
// in the answer, which repeats nothing of it, and once in the log.
func TestO18_AForeignHandshake(t *testing.T) {
	nd := oneNode(t, setup{})
	text := header("Content-Type", "text/plain; charset=utf-8")
	for range 3 {
		a := post(t, nd.url+hookPath+"?validationToken=Validation%3a+canary", "", text)
		if a.status != 415 || a.code(t) != "subscription_handshake" || strings.Contains(a.body, "canary") {
			t.Errorf("%+v", a)
		}
	}
	if a := post(t, nd.url+hookPath, "", text); a.status != 415 || a.code(t) != "unsupported_media_type" {
		t.Errorf("plain text: %+v", a)
	}
	if n := strings.Count(nd.log.String(), "handshake of a Graph change notification"); n != 1 || strings.Contains(nd.log.String(), "canary") {
		t.Errorf("said %d times:\n%s", n, nd.log)
	}
}
