package shadow

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Counts are the verdicts on calls, summed up.
type Counts struct {
	Calls                 int `json:"calls"`
	BeginningUnseen       int `json:"beginning_unseen"`        // calls that rang before the shadow saw them: nothing tells which instance has them
	Split                 int `json:"split"`                   // of these: calls whose notifications went to several instances
	Misrouted             int `json:"misrouted"`               // deliveries to another instance than the one that took the call
	MisroutedCalls        int `json:"misrouted_calls"`         // the calls of these
	HandledTwice          int `json:"handled_twice"`           // deliveries answered with 2xx after the same notification had been
	HandledTwiceElsewhere int `json:"handled_twice_elsewhere"` // of these: by another instance, which cannot know it for a repeat
	AnsweredInTime        int `json:"answered_in_time"`        // calls that showed to be answered within their clock
	AnsweredLate          int `json:"answered_late"`           // calls that showed so only after their clock, 15 s, or 5 s for policy recording
	Unanswered            int `json:"unanswered"`              // calls that an instance took, and that never showed to be answered; also calls rejected without a callback URI
	NeverTaken            int `json:"never_taken"`             // new calls that no instance took
	LostCalls             int `json:"lost_calls"`              // calls that lost their instance: 5xx, 404, 410 or no response, and no repeat brought it home
	NotificationsLost     int `json:"notifications_lost"`      // their notifications
}

func (a *Counts) add(b Counts) {
	for _, p := range []struct {
		to *int
		by int
	}{
		{&a.Calls, b.Calls}, {&a.BeginningUnseen, b.BeginningUnseen}, {&a.Split, b.Split}, {&a.Misrouted, b.Misrouted},
		{&a.MisroutedCalls, b.MisroutedCalls}, {&a.HandledTwice, b.HandledTwice}, {&a.HandledTwiceElsewhere, b.HandledTwiceElsewhere},
		{&a.AnsweredInTime, b.AnsweredInTime}, {&a.AnsweredLate, b.AnsweredLate}, {&a.Unanswered, b.Unanswered}, {&a.NeverTaken, b.NeverTaken},
		{&a.LostCalls, b.LostCalls}, {&a.NotificationsLost, b.NotificationsLost},
	} {
		*p.to += p.by
	}
}

// Decisions are what Tandem would have decided.
type Decisions struct {
	Refused    map[string]int `json:"refused,omitempty"` // requests refused, by the reason
	Handshakes int            `json:"handshakes"`        // legacy notifications answered with 204
	Homes      map[string]int `json:"homes,omitempty"`   // new calls by the region that the rules give them
	Placed     int            `json:"placed"`            // deliveries of first notifications: the call is given an owner
	ToOwner    int            `json:"to_owner"`          // deliveries of later ones, brought to the call's owner
	Repeats    int            `json:"repeats"`           // deliveries that the bot is not handed again
}

// Unjudged is what nothing can be said about.
type Unjudged struct {
	NoInstance     int   `json:"no_instance"`     // deliveries whose response does not tell which instance it is of
	TokenUndecided int   `json:"token_undecided"` // requests whose token could not be verified: the issuer's keys were not there
	Nameless       int   `json:"nameless"`        // bodies that name no call
	Cut            int   `json:"cut"`             // requests answered before their body was over
	ForgottenEarly int   `json:"forgotten_early"` // live calls forgotten for want of room
	Dropped        int64 `json:"dropped"`         // requests passed on unseen: judging could not keep up
	Crashed        int64 `json:"crashed"`         // requests on which judging crashed
}

// Traffic is what passed, whatever it was.
type Traffic struct {
	Requests    int64            `json:"requests"`
	Statuses    map[string]int64 `json:"statuses"`    // of the upstream, by class: 2xx, 3xx, …
	Unreachable int64            `json:"unreachable"` // requests answered with 502 here: no upstream did
	HungUp      int64            `json:"hung_up"`     // the caller left before there was a response
	ResponseMS  Quantiles        `json:"response_ms"` // until the response's header; of the last 4,096 that were judged
}

// Quantiles of a duration in milliseconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Instance is what one instance got.
type Instance struct {
	Calls   int `json:"calls"`   // that it took
	Later   int `json:"later"`   // deliveries of later notifications
	Strange int `json:"strange"` // of these: of calls that another instance took
}

// Example is one call with which something was wrong.
type Example struct {
	Call                 string         `json:"call"` // not its id: a name that only says which are the same, new at each start
	Rang                 time.Time      `json:"rang,omitzero"`
	Last                 time.Time      `json:"last"`
	TakenBy              string         `json:"taken_by,omitempty"`
	LaterAt              map[string]int `json:"later_at,omitempty"`
	Misrouted            int            `json:"misrouted,omitempty"`
	Split                bool           `json:"split,omitempty"`
	HandledTwice         int            `json:"handled_twice,omitempty"`
	AnsweredAfterSeconds float64        `json:"answered_after_seconds,omitempty"`
	Unanswered           bool           `json:"unanswered,omitempty"`
	NeverTaken           bool           `json:"never_taken,omitempty"`
	NotificationsLost    int            `json:"notifications_lost,omitempty"`
}

// Report is what the shadow saw, and what Tandem would have done. It holds no body, token,
// person or id of a call.
type Report struct {
	Since     time.Time `json:"since"`
	At        time.Time `json:"at"`
	Traffic   Traffic   `json:"traffic"`
	Exchanges int       `json:"judged"` // requests that were judged
	Counts
	HandshakesWrong   map[string]int      `json:"handshakes_wrong,omitempty"` // legacy notifications not answered with 204, by status
	RefusedButHandled int                 `json:"refused_but_handled"`        // requests that Tandem would refuse for their token, answered with 2xx
	Tandem            Decisions           `json:"tandem"`
	Unjudged          Unjudged            `json:"unjudged"`
	Instances         map[string]Instance `json:"instances,omitempty"`
	Examples          []Example           `json:"examples,omitempty"` // the newest 50
}

// Line is one line of a report for people.
type Line struct{ What, Figure, Tandem string }

// Lines are what a person reads first.
func (r Report) Lines() []Line {
	wrong := 0
	for _, n := range r.HandshakesWrong {
		wrong += n
	}
	refused := 0
	for _, n := range r.Tandem.Refused {
		refused += n
	}
	lines := []Line{
		{"passed", fmt.Sprintf("%d requests, %d judged; %d not reached, %d hung up", r.Traffic.Requests, r.Exchanges, r.Traffic.Unreachable, r.Traffic.HungUp), ""},
		{"calls", fmt.Sprintf("%d, %d of them seen from their beginning", r.Calls, r.Calls-r.BeginningUnseen), ""},
		{"misrouted", fmt.Sprintf("%d notifications of %d calls", r.Misrouted, r.MisroutedCalls), "each goes to the instance that has the call"},
		{"split", fmt.Sprintf("%d calls of unseen beginning at several instances", r.Split), "the same"},
		{"handled twice", fmt.Sprintf("%d notifications, %d of them by another instance", r.HandledTwice, r.HandledTwiceElsewhere), "a repeat is answered, and not handed over again"},
		{"answered late", fmt.Sprintf("%d calls, %d never; %d in time", r.AnsweredLate, r.Unanswered, r.AnsweredInTime), "answers by itself, or tells the bot the time left"},
		{"never taken", fmt.Sprintf("%d calls", r.NeverTaken), "goes to an instance that is well"},
		{"lost their instance", fmt.Sprintf("%d calls, %d notifications", r.LostCalls, r.NotificationsLost), "another instance adopts them, where their media can move"},
		{"handshakes", fmt.Sprintf("%d, %d of them not answered with 204", r.Tandem.Handshakes, wrong), "204"},
		{"refused", fmt.Sprintf("%d by Tandem, %d of them handled today", refused, r.RefusedButHandled), "no bot hears of them"},
		{"response", fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, longest %.1f ms", r.Traffic.ResponseMS.P50, r.Traffic.ResponseMS.P99, r.Traffic.ResponseMS.Max), ""},
	}
	if len(r.Tandem.Homes) > 0 {
		var homes []string
		for _, region := range slices.Sorted(maps.Keys(r.Tandem.Homes)) {
			homes = append(homes, fmt.Sprintf("%s %d", region, r.Tandem.Homes[region]))
		}
		lines = append(lines, Line{"home regions", "new calls by the rules: " + strings.Join(homes, ", "), "each is answered in its region"})
	}
	u := r.Unjudged
	if u != (Unjudged{}) {
		lines = append(lines, Line{"not judged", fmt.Sprintf("%d deliveries of unknown instance, %d unverified tokens, %d of no named call, %d cut off, %d dropped, %d crashed, %d calls forgotten early",
			u.NoInstance, u.TokenUndecided, u.Nameless, u.Cut, u.Dropped, u.Crashed, u.ForgottenEarly), ""})
	}
	return lines
}

// Write writes the report for people.
func (r Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Shadow report, %s to %s\n", r.Since.Format(time.RFC3339), r.At.Format(time.RFC3339))
	for _, l := range r.Lines() {
		fmt.Fprintf(&b, "  %-20s %s", l.What, l.Figure)
		if l.Tandem != "" {
			fmt.Fprintf(&b, " (Tandem: %s)", l.Tandem)
		}
		b.WriteByte('\n')
	}
	for _, name := range slices.Sorted(maps.Keys(r.Instances)) {
		i := r.Instances[name]
		fmt.Fprintf(&b, "  %-20s took %d calls, got %d later notifications, %d of them of other instances' calls\n", "instance "+name, i.Calls, i.Later, i.Strange)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
