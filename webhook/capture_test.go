package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
	"tandem/policy"
)

// TestCapture: what rang is told without a word of who it was, the same person by the same
// name; it can be held against other rules; and nothing is captured for nobody.
func TestCapture(t *testing.T) {
	_, emea, _ := twoRegions(t, setup{rules: toAmer})
	nd := emea.nodes["emea-1"]
	follow(t, nd.url+hookPath, incoming("c1", fromUS), 5)
	var got []Captured
	enough := errors.New("enough")
	done := make(chan error)
	go func() {
		_, err := Captures{nd.door}.Capture(t.Context(), true, func(c Captured) error {
			if got = append(got, c); len(got) == 2 {
				return enough
			}
			return nil
		})
		done <- err
	}()
	awaitFollowers(t, nd.door, 1)
	post(t, nd.url+hookPath, incoming("c2", `"source":{"countryCode":"DE"}`))
	if err := <-done; !errors.Is(err, enough) || len(got) != 2 || got[0].To != "amer" || got[1].To != "emea" {
		t.Fatalf("%v, %+v", err, got)
	}
	if n := nd.door.followers(); n != 0 {
		t.Errorf("%d followers are left", n)
	}
	if got[0].Call == "c1" || got[0].Facts.CountryCode != "US" || got[0].Call == got[1].Call {
		t.Errorf("%+v", got)
	}
	// By other rules both would go elsewhere than they went; by the rules in force, none.
	other := mustDocument(t, []policy.RuleSpec{{When: `call.source.countryCode == "DE"`, Region: "amer"}})
	if d := (Captures{nd.door}).Replay(got, other, false); d.Recorded != 2 || d.Elsewhere != 2 || d.Examples[0].From != "emea" || d.Examples[0].To != "amer" || d.Examples[0].Was != "as it was captured" {
		t.Errorf("%+v", d)
	}
	same := mustDocument(t, toAmer)
	for _, diff := range []bool{true, false} {
		if d := (Captures{nd.door}).Replay(got, same, diff); d.Recorded != 2 || d.Elsewhere != 0 {
			t.Errorf("by the same rules, diff %t: %+v", diff, d)
		}
	}
}

// followers counts who captures.
func (h *Handler) followers() int {
	h.traffic.mu.Lock()
	defer h.traffic.mu.Unlock()
	return len(h.traffic.heard)
}

// TestTheVeilHidesPersons: every fact is either one that rules are about, or hidden; so a
// new one cannot be forgotten here.
func TestTheVeilHidesPersons(t *testing.T) {
	t.Parallel()
	plain := map[string]bool{ // what is no person and no meeting
		"App": true, "Tenant": true, "PolicyIdentifier": true, "Direction": true, "CallerRegion": true, "CountryCode": true,
		"SourceRegion": true, "MediaHostedRegion": true, "ClientLocation": true,
	}
	var f policy.Facts
	v := reflect.ValueOf(&f).Elem()
	for i := range v.NumField() {
		v.Field(i).SetString("canary-" + v.Type().Field(i).Name)
	}
	one, two := veil{[]byte("a key")}, veil{[]byte("another")}
	c := one.captured(recorded{call: "canary-call", facts: f})
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if kept := strings.Contains(string(text), "canary-"+name); kept != plain[name] {
			t.Errorf("%s is kept: %t", name, kept)
		}
	}
	if strings.Contains(string(text), "canary-call") {
		t.Error("the call's id is kept")
	}
	if again := one.name("x"); again != one.name("x") || one.name("x") == one.name("y") || one.name("x") == two.name("x") || one.name("") != "" {
		t.Error("the names do not tell persons apart, or tell too much")
	}
}

// TestI9_ASlowFollowerHoldsNobodyUp: it misses calls, and is told how many.
func TestI9_ASlowFollowerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	_, emea, _ := twoRegions(t, setup{rules: toAmer})
	door := emea.nodes["emea-1"].door
	held, ctx := make(chan struct{}), context.Background()
	result := make(chan int64)
	go func() {
		n := 0
		missed, _ := Captures{door}.Capture(ctx, false, func(Captured) error {
			if n++; n == 1 {
				<-held
			}
			if n == followerCalls {
				return errors.New("enough")
			}
			return nil
		})
		result <- missed
	}()
	awaitFollowers(t, door, 1)
	for i := range 3 * followerCalls {
		door.traffic.note(door.now(), ownership.CallID(strings.Repeat("x", 1+i%100)+string(rune('a'+i/100%26))+strings.Repeat("y", i/2600)), policy.Facts{}, "emea")
	}
	close(held)
	if missed := <-result; missed < followerCalls {
		t.Errorf("it missed %d", missed)
	}
}

// awaitFollowers waits until so many capture.
func awaitFollowers(t *testing.T, h *Handler, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for h.followers() != n {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d capture, want %d", h.followers(), n)
		}
	}
}
