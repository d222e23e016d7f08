package policy

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/ownership"
)

func TestRouteRegion(t *testing.T) {
	soft := func(home ownership.Region, overflow ...ownership.Region) RegionVerdict {
		return RegionVerdict{Region: home, Overflow: overflow, Why: "because"}
	}
	hard := func(home ownership.Region) RegionVerdict {
		return RegionVerdict{Region: home, Hard: true, Why: "because"}
	}
	stay := func(home ownership.Region, here string, overflow ...ownership.Region) RegionVerdict {
		return RegionVerdict{Region: home, Here: here, Overflow: overflow, Why: "because"}
	}
	well := RegionLook{Up: true, Room: 5, Detour: 200 * time.Millisecond}
	full, down := RegionLook{Up: true}, RegionLook{}
	type world = map[ownership.Region]RegionLook
	tests := []struct {
		name    string
		verdict RegionVerdict
		query   RouteQuery
		world   world
		want    Step
		region  ownership.Region
		why     string
	}{
		{"home is here", soft("here"), RouteQuery{Room: 5}, world{"there": well}, StepHere, "here", "because"},
		{"no verdict", RegionVerdict{}, RouteQuery{Room: 5}, nil, StepHere, "here", ""},
		{"home is here and marked", hard("here"), RouteQuery{Marked: true, Room: 5}, nil, StepHere, "here", "because"},
		{"home is elsewhere", soft("there"), RouteQuery{Room: 5}, world{"there": well}, StepRedirect, "there", "because"},
		{"hard home is elsewhere", hard("there"), RouteQuery{Room: 5}, world{"there": well}, StepRedirect, "there", "because"},
		{"F22 home is down", soft("there"), RouteQuery{Room: 5}, world{"there": down}, StepHere, "here", "region there is down, so it stays"},
		{"F22 hard home is down", hard("there"), RouteQuery{Room: 5}, world{"there": down}, StepRefuse, "there", "its residency is hard"},
		{"F34 marked is not sent on", soft("there"), RouteQuery{Marked: true, Room: 5}, world{"there": well}, StepHere, "here", "so it stays, though it belongs to there"},
		{"F34 marked and hard is refused, not sent on", hard("there"), RouteQuery{Marked: true, Room: 5}, world{"there": well}, StepRefuse, "there", "by a hard rule"},
		{"marked stays where there is no room", soft("here", "there"), RouteQuery{Marked: true}, world{"there": well}, StepHere, "here", "because"},
		{"nobody looks", soft("there"), RouteQuery{Room: 5}, nil, StepHere, "here", "is down"},

		{"a full home that nobody may stand in for", soft("there"), RouteQuery{Room: 5}, world{"there": full}, StepRedirect, "there", "because"},
		{"a full home here that nobody may stand in for", soft("here"), RouteQuery{}, world{"there": well}, StepHere, "here", "because"},
		{"a hard home that is full", hard("there"), RouteQuery{Room: 5}, world{"there": full}, StepRedirect, "there", "because"},
		{"a full home", soft("there", "third"), RouteQuery{Room: 5}, world{"there": full, "third": well}, StepRedirect, "third", "region there has no room, and third stands in"},
		{"a home of unknown room", soft("there", "third"), RouteQuery{Room: 5}, world{"there": {Up: true, Room: RoomUnknown}, "third": well}, StepRedirect, "there", "because"},
		{"a home that is down", soft("there", "third"), RouteQuery{Room: 5}, world{"there": down, "third": well}, StepRedirect, "third", "region there is down, and third stands in"},
		{"in their order", soft("there", "full", "down", "here", "third"), RouteQuery{Room: 5}, world{"full": full, "third": well}, StepHere, "here", "and here stands in"},
		{"here is full, too", soft("there", "here", "third"), RouteQuery{}, world{"there": full, "third": well}, StepRedirect, "third", "stands in"},
		{"this home is full", soft("here", "third"), RouteQuery{}, world{"third": well}, StepRedirect, "third", "region here has no room"},
		{"all are full", soft("there", "third"), RouteQuery{Room: 5}, world{"there": full, "third": full}, StepRedirect, "there", "no other can stand in"},
		{"all are down", soft("there", "third"), RouteQuery{Room: 5}, nil, StepHere, "here", "region there is down, so it stays"},

		{"here is preferred", stay("there", HerePrefer), RouteQuery{Room: 1}, world{"there": well}, StepHere, "here", "prefers where it arrived"},
		{"here is preferred, room unknown", stay("there", HerePrefer), RouteQuery{Room: RoomUnknown}, world{"there": well}, StepHere, "here", "prefers where it arrived"},
		{"here is preferred and full", stay("there", HerePrefer), RouteQuery{}, world{"there": well}, StepRedirect, "there", "because"},
		{"here is preferred and all full", stay("there", HerePrefer, "third"), RouteQuery{}, world{"there": full, "third": well}, StepRedirect, "third", "stands in"},
		{"here is forced", stay("there", HereForce), RouteQuery{}, world{"there": well}, StepHere, "here", "keeps it where it arrived"},

		{"time enough", soft("there"), RouteQuery{Room: 5, Left: 1200 * time.Millisecond}, world{"there": well}, StepRedirect, "there", "because"},
		{"no time for the detour", soft("there"), RouteQuery{Room: 5, Left: 1199 * time.Millisecond}, world{"there": well}, StepHere, "here", "the way to region there takes 200ms"},
		{"late already", soft("there"), RouteQuery{Room: 5, Left: -time.Second}, world{"there": well}, StepHere, "here", "only 0s are left"},
		{"a hard rule knows no clock", hard("there"), RouteQuery{Room: 5, Left: time.Millisecond}, world{"there": well}, StepRedirect, "there", "because"},
		{"no time for who stands in", soft("there", "third"), RouteQuery{Room: 5, Left: time.Second}, world{"there": full, "third": well}, StepHere, "here", "the way to region third"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := tt.query
			q.Here = "here"
			if tt.world != nil {
				q.Look = func(r ownership.Region) RegionLook { return tt.world[r] }
			}
			got := RouteRegion(tt.verdict, q)
			if got.Step != tt.want || got.Region != tt.region || !strings.Contains(got.Why, tt.why) {
				t.Errorf("got %s to %s (%s), want %s to %s (%s)", got.Step, got.Region, got.Why, tt.want, tt.region, tt.why)
			}
		})
	}
}

// TestRouteRegionHolds: whatever the rules and the moment, a hard rule's call is
// handled at home or not at all, a marked one is not sent on, one that is sent goes to
// a region that answers, and the same question has the same answer.
func TestRouteRegionHolds(t *testing.T) {
	regions := []ownership.Region{"emea", "amer", "apac"}
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SampledFrom(regions)
		world := map[ownership.Region]RegionLook{}
		for _, r := range regions {
			world[r] = RegionLook{
				Up: rapid.Bool().Draw(t, "up"), Room: rapid.IntRange(-1, 2).Draw(t, "room"),
				Detour: time.Duration(rapid.IntRange(0, 3000).Draw(t, "detour")) * time.Millisecond,
			}
		}
		spec := RuleSpec{When: "true"}
		switch rapid.IntRange(0, 1).Draw(t, "kind") {
		case 0:
			spec.Region = some.Draw(t, "home")
		default:
			spec.Spread, spec.By = regions, "call.thread"
		}
		switch rapid.SampledFrom([]string{"", ResidencyHard, HerePrefer, HereForce}).Draw(t, "mode") {
		case ResidencyHard:
			spec.Residency = ResidencyHard
		case HerePrefer:
			spec.Here = HerePrefer
		case HereForce:
			spec.Here = HereForce
		default:
			if spec.Region != "" {
				spec.Overflow = rapid.SliceOfDistinct(some, rapid.ID[ownership.Region]).Draw(t, "overflow")
			}
		}
		rules, err := CompileRules([]RuleSpec{spec})
		if err != nil {
			t.Fatal(err)
		}
		q := RouteQuery{
			Here: some.Draw(t, "here"), Marked: rapid.Bool().Draw(t, "marked"), Room: rapid.IntRange(-1, 2).Draw(t, "our room"),
			Left: time.Duration(rapid.IntRange(-100, 5000).Draw(t, "left")) * time.Millisecond,
			Look: func(r ownership.Region) RegionLook { return world[r] },
		}
		v := rules.Home(Facts{Thread: rapid.StringN(1, 20, 40).Draw(t, "thread")}, q.Here)
		got := RouteRegion(v, q)
		switch {
		case got != RouteRegion(v, q):
			t.Fatalf("the same question has two answers: %+v", got)
		case v.Hard && got.Region != v.Region:
			t.Fatalf("a hard rule's call left %s: %+v", v.Region, got)
		case q.Marked && got.Step == StepRedirect:
			t.Fatalf("a marked call is sent on: %+v", got)
		case got.Step == StepRedirect && (!world[got.Region].Up || got.Region == q.Here):
			t.Fatalf("it is sent to a region that does not answer: %+v", got)
		case got.Step == StepHere && got.Region != q.Here, got.Step == StepRefuse && !v.Hard, got.Why == "":
			t.Fatalf("odd: %+v", got)
		case v.Here == HereForce && got.Step != StepHere:
			t.Fatalf("a forced call leaves: %+v", got)
		case !v.Hard && got.Step == StepRedirect && q.Left != 0 && q.Left < world[got.Region].Detour+HopMargin:
			t.Fatalf("it is sent away without the time for it: %+v", got)
		}
	})
}

// TestSpread: every region computes one home for a meeting, texts spread evenly, a
// region less moves its own texts only, and paired apps keep apart.
func TestSpread(t *testing.T) {
	all := []ownership.Region{"emea", "amer", "apac"}
	turned := []ownership.Region{"apac", "emea", "amer"}
	of := map[ownership.Region]int{}
	for i := range 3000 {
		text := "19:meeting_" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + time.Duration(i).String()
		order := spread(all, text, 0, 0)
		of[order[0]]++
		if other := spread(turned, text, 0, 0); !slices.Equal(order, other) {
			t.Fatalf("%q: in another order of the list it goes to %v, not %v", text, other, order)
		}
		if fewer := spread(all[:2], text, 0, 0); order[0] != "apac" && fewer[0] != order[0] {
			t.Fatalf("%q moved from %s to %s when apac went", text, order[0], fewer[0])
		}
		a, b := spread(all, text, 0, 2), spread(all, text, 1, 2)
		if a[0] == b[0] || a[1] != b[1] || len(a) != 3 || a[2] != b[0] {
			t.Fatalf("%q: two apps kept apart go to %v and %v", text, a, b)
		}
	}
	for r, n := range of {
		if n < 900 || n > 1100 {
			t.Errorf("%s has %d of 3000", r, n)
		}
	}
	// A fact of the deployment: regions of two releases must agree.
	if got := spread(all, "19:meeting", 0, 0); !reflect.DeepEqual(got, []ownership.Region{"apac", "emea", "amer"}) {
		t.Errorf("the hash has changed: %v", got)
	}
}
