package webhook

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"tandem/ownership"
)

// TestF33_StaleCallbackURI: a URI of an older epoch leads to the present owner
// and is never handled where the call used to be.
func TestF33_StaleCallbackURI(t *testing.T) {
	for _, midcall := range []string{MidcallRelay, MidcallRedirect} {
		t.Run(midcall, func(t *testing.T) {
			r := newRegion(t, newWorld(), "emea", 2, setup{config: func(c *Config) { c.Midcall = midcall }})
			one, two := r.nodes["emea-1"], r.nodes["emea-2"]
			r.knows("c1", 1, ownership.CallAnswered)
			old := one.uri(1, 1, "c1")
			r.moves(1, "emea-2")
			all := follow(t, old, update("c1"), 3)
			if last := all[len(all)-1]; last.status != 202 || len(all) > 2 {
				t.Fatalf("%+v", all)
			}
			got := two.handed()
			if len(one.handed()) != 0 || len(got) != 1 || got[0].Epoch != 2 || !strings.Contains(got[0].CallbackURI, "/emea/1/2/c1?s=") {
				t.Errorf("old owner %d, new owner %+v", len(one.handed()), got)
			}
			if midcall == MidcallRedirect && !strings.Contains(all[0].location(), "/emea/1/2/c1?s=") {
				t.Errorf("the redirect names the old epoch: %s", all[0].location())
			}
		})
	}
}

// TestF34_RedirectLoop: two nodes whose views contradict each other. The second
// one relays once or answers 503; it never redirects again.
func TestF34_RedirectLoop(t *testing.T) {
	for _, midcall := range []string{MidcallRelay, MidcallRedirect} {
		t.Run(midcall, func(t *testing.T) {
			r := newRegion(t, newWorld(), "emea", 2, setup{config: func(c *Config) { c.Midcall = midcall }})
			one, two := r.nodes["emea-1"], r.nodes["emea-2"]
			r.knows("c1", 1, ownership.CallClaimed)
			one.view[1] = ownership.Owner{Node: "emea-2", Partition: 1, Epoch: 2, PublicURL: two.url}
			two.view[1] = ownership.Owner{Node: "emea-1", Partition: 1, Epoch: 1, PublicURL: one.url}
			for _, body := range []string{incoming("c1"), update("c1")} {
				all := follow(t, one.url+hookPath, body, 8)
				redirects := 0
				for _, a := range all {
					if a.location() != "" {
						redirects++
					}
				}
				if redirects > 1 || all[len(all)-1].status != 503 {
					t.Errorf("%d redirects: %+v", redirects, all)
				}
			}
			if len(one.handed())+len(two.handed()) != 0 {
				t.Error("a node that is not the owner handled it")
			}
			// Once the second node's view is right, the same way ends at the owner.
			delete(two.view, 1)
			r.moves(1, "emea-2")
			all := follow(t, one.url+hookPath, incoming("c1"), 8)
			if len(all) != 2 || all[1].status != 202 || len(two.handed()) != 1 {
				t.Errorf("%+v", all)
			}
		})
	}
}

// TestF35_OwnerDown: a relay to a dead owner is 503 with Retry-After, and after
// the failover the repeat reaches the new owner.
func TestF35_OwnerDown(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 3, setup{})
	one := r.nodes["emea-1"]
	r.knows("c1", 2, ownership.CallAnswered)
	r.mu.Lock()
	r.owners[2] = ownership.Owner{Node: "emea-9", Partition: 2, Epoch: 1} // nobody answers there
	r.mu.Unlock()
	a := post(t, one.uri(2, 1, "c1"), update("c1"))
	if a.status != 503 || a.code(t) != "owner_unreachable" || a.header.Get("Retry-After") == "" {
		t.Fatalf("%+v", a)
	}
	r.moves(2, "emea-3")
	if a := post(t, one.uri(2, 1, "c1"), update("c1")); a.status != 202 || len(r.nodes["emea-3"].handed()) != 1 {
		t.Errorf("%+v", a)
	}
	// So does a first notification that was redirected before the failover.
	if a := post(t, one.uri(2, 1, "c1"), incoming("c1")); a.status != 202 || len(r.nodes["emea-3"].handed()) != 2 {
		t.Errorf("%+v", a)
	}
}

// TestF36_DisorderlyNotifications: repeats carry the same message id, late ones
// for ended calls are taken and ignored, and one body may hold a hundred.
func TestF36_DisorderlyNotifications(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one := r.nodes["emea-1"]
	for range 3 {
		if a := post(t, one.url+hookPath, incoming("c1")); a.status != 202 {
			t.Fatalf("%+v", a)
		}
	}
	got := one.handed()
	if len(r.claimed()) != 1 || len(got) != 3 {
		t.Fatalf("%d claims, %d hand-overs", len(r.claimed()), len(got))
	}
	for _, h := range got {
		if h.MessageID != "m-1" || h.Event != ownership.EventIncoming {
			t.Errorf("%+v", h)
		}
	}
	r.knows("c1", 1, ownership.CallEnded)
	for name, body := range map[string]string{"late first": incoming("c1"), "late update": update("c1"), "second end": end("c1")} {
		for _, to := range []string{one.url + hookPath, one.uri(1, 1, "c1"), r.nodes["emea-2"].uri(1, 1, "c1")} {
			if a := post(t, to, body); a.status != 202 {
				t.Errorf("%s: %+v", name, a)
			}
		}
	}
	if len(one.handed()) != 3 {
		t.Error("a late notification reached the bot")
	}
	var hundred []string
	for i := range 100 {
		call := ownership.CallID(fmt.Sprintf("n%d", i))
		if i%2 == 0 {
			r.knows(call, ownership.PartitionID(1+i%4/2), ownership.CallAnswered)
		}
		hundred = append(hundred, entry("deleted", string(call), `"state":"terminated"`)) // the odd ones are not ours
	}
	before := len(one.handed())
	if a := post(t, one.url+hookPath, `{"value":[`+strings.Join(hundred, ",")+`]}`); a.status != 202 {
		t.Fatalf("%+v", a)
	}
	if a, b := len(one.handed())-before, len(r.nodes["emea-2"].handed()); a != 25 || b != 25 {
		t.Errorf("%d and %d of 50 notifications of ours were handled", a, b)
	}
	if len(r.claimed()) != 1 {
		t.Error("ends of unknown calls were claimed")
	}
}

// TestF37_LegacyStorm: always 204, no claim, no state, also after the Graph form
// of the call and on its callback URI.
func TestF37_LegacyStorm(t *testing.T) {
	nd := oneNode(t, setup{})
	token := "Bearer " + mint(t, ourApp, ourTenant)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 40 {
				r, err := http.NewRequest(http.MethodPost, nd.url+hookPath, strings.NewReader(legacyBody))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", token)
				if a := send(t, r); a.status != http.StatusNoContent {
					t.Errorf("%+v", a)
				}
			}
		})
	}
	wg.Wait()
	nd.in.untouched(t)
	if a := post(t, nd.url+hookPath, incoming("c1")); a.status != 202 {
		t.Fatalf("%+v", a)
	}
	for _, to := range []string{nd.url + hookPath, nd.uri(1, 1, "c1")} {
		if a := post(t, to, legacyBody); a.status != 204 {
			t.Errorf("%s: %+v", to, a)
		}
	}
	if len(nd.in.claimed()) != 1 || len(nd.handed()) != 1 {
		t.Error("a legacy notification left a trace")
	}
}
