package webhook

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"tandem/ownership"
)

// spy is a message id that the call's own bot has replied to.
func spy(r *http.Request) { r.Header.Set("X-Microsoft-Skype-Message-ID", "m-1") }

// refusedAsForeign wants the fixed answer to a token that is not ours.
func (a answered) refusedAsForeign(t *testing.T) {
	t.Helper()
	if a.status != 401 || a.code(t) != "invalid_token" || a.location() != "" {
		t.Errorf("%+v, want 401 invalid_token", a)
	}
}

// TestB51_CallOfAnotherBot: a good token of one app says nothing about a call of
// another, whichever way it comes in, and whoever its owner is.
func TestB51_CallOfAnotherBot(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{config: func(c *Config) { c.Midcall = MidcallRedirect }})
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	for call, p := range map[ownership.CallID]ownership.PartitionID{"here": 1, "there": 2} {
		r.knows(call, p, ownership.CallAnswered)
	}
	r.knows("gone", 1, ownership.CallEnded)
	theirs := header("Authorization", "Bearer "+mint(t, mediaApp, ourTenant))
	for name, target := range map[string]string{
		"B51 plain path": one.url + hookPath, "B51 leaked callback URI": one.uri(1, 1, "here"),
		"B51 leaked callback URI of a node elsewhere": one.uri(2, 1, "there"), "B51 outgoing ref": one.uri(1, 1, "o-x"),
	} {
		t.Run(name, func(t *testing.T) {
			call := "here"
			if target == one.uri(2, 1, "there") {
				call = "there"
			}
			for _, body := range []string{end(call), update(call), incoming(call)} {
				post(t, target, body, theirs, spy).refusedAsForeign(t)
			}
		})
	}
	t.Run("B51 a call that has ended", func(t *testing.T) {
		post(t, one.url+hookPath, update("gone"), theirs).refusedAsForeign(t)
	})
	t.Run("B51 among calls of its own", func(t *testing.T) {
		body := `{"value":[` + entry("created", "own", `"state":"incoming"`) + "," + entry("deleted", "here", `"state":"terminated"`) + `]}`
		post(t, one.url+hookPath, body, theirs).refusedAsForeign(t)
	})
	t.Run("B51 a call that only the leader knows yet", func(t *testing.T) {
		one.forgot.Store(true)
		defer one.forgot.Store(false)
		post(t, one.url+hookPath, update("here"), theirs).refusedAsForeign(t)
	})
	r.untouched(t)
	if n := len(one.relayed()); n != 0 {
		t.Errorf("%d notifications were relayed", n)
	}
	t.Run("B51 a relay from a node that knows no such call", func(t *testing.T) {
		one.forgot.Store(true)
		defer one.forgot.Store(false)
		one.door.cfg.Midcall = MidcallRelay
		post(t, one.uri(2, 1, "there"), end("there"), theirs).refusedAsForeign(t)
		if len(one.relayed()) != 1 || len(two.handed()) != 0 {
			t.Errorf("%d relayed, %d handed over", len(one.relayed()), len(two.handed()))
		}
	})
	t.Run("the call's own app, of any tenant", func(t *testing.T) {
		r.mu.Lock()
		r.calls["media"] = ownership.Known{App: mediaApp, Partition: 1, Epoch: 1, State: ownership.CallAnswered}
		r.mu.Unlock()
		for _, tenant := range []string{ourTenant, badTenant} { // mediaApp takes all
			if a := post(t, one.url+hookPath, update("media"), header("Authorization", "Bearer "+mint(t, mediaApp, tenant))); a.status != 202 {
				t.Errorf("%+v", a)
			}
		}
	})
}

// What explain is asked without a token it explains as if there were a good one.
func TestB51_Explain(t *testing.T) {
	nd := oneNode(t, setup{})
	nd.in.knows("c1", 1, ownership.CallAnswered)
	for auth, want := range map[string]int{"": 0, "Bearer " + mint(t, ourApp, ourTenant): 0, "Bearer " + mint(t, mediaApp, ourTenant): 401} {
		h := http.Header{}
		if auth != "" {
			h.Set("Authorization", auth)
		}
		if e := nd.door.Explain(context.Background(), ownership.Supposed{Header: h, Body: []byte(update("c1"))}); e.Response.Status != want {
			t.Errorf("%+v, want %d", e.Response, want)
		}
	}
}

// TestB51_HandOver: the owner asks its own table, whatever another node let pass.
func TestB51_HandOver(t *testing.T) {
	nd := oneNode(t, setup{})
	nd.in.knows("c1", 1, ownership.CallAnswered)
	ho := ownership.HandOver{Event: ownership.EventUpdate, App: mediaApp, Call: "c1", Partition: 1, Epoch: 1, Ends: true}
	if reply, err := nd.door.HandOver(context.Background(), ho); !errors.Is(err, ownership.ErrOtherApp) || len(nd.handed()) != 0 {
		t.Errorf("%+v, %v", reply, err)
	}
	if n := nd.counter(t, "tandem_webhook_relayed_in_total", "refused"); n != 1 {
		t.Errorf("%v refusals counted", n)
	}
}
