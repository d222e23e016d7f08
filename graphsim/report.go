package graphsim

import "fmt"

// Quantiles of a duration in milliseconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// PerKind counts something for region hops and node hops.
type PerKind struct {
	Region int `json:"region"`
	Node   int `json:"node"`
}

// Report is what the cloud saw, in its own observations: the nodes' word counts
// for nothing. NotificationsSent = NotificationsHandled + Ignored + Lost, and what a
// foreign bot did not take. As JSON it is
// one flat object.
type Report struct {
	Summary
	Details
	Allowed
	Violations []string   `json:"violations"`    // the first of each kind, 20 at most, as sentences
	Bot        *BotReport `json:"bot,omitempty"` // of a foreign bot; nil: the bots were the cloud's own

	alike map[string]int // sentences by their form
}

// Summary is how calls and notifications fared.
type Summary struct {
	Calls                int            `json:"calls"`                 // calls whose first notification was posted
	Answered             int            `json:"answered"`              // answered inside the clock
	AnsweredLate         int            `json:"answered_late"`         // answered after the clock, or never
	Handshakes           int            `json:"handshakes"`            // legacy notifications that got 204
	Redirects            PerKind        `json:"redirects"`             // followed, by the kind of target
	Relays               int            `json:"relays"`                // handled by a node that was not posted to
	NotificationsSent    int            `json:"notifications_sent"`    // distinct ones, without duplicates and retries
	NotificationsHandled int            `json:"notifications_handled"` // distinct ones that a bot was handed
	DuplicatesSent       int            `json:"duplicates_sent"`       // deliberate repeats; retries are not among them
	HandledTwice         int            `json:"handled_twice"`
	Misrouted            int            `json:"misrouted"`   // hand-overs to a node that was not the owner
	Lost                 int            `json:"lost"`        // never 2xx, or 2xx and never handed to a bot
	HopsMax              PerKind        `json:"hops_max"`    // of one POST
	DecisionMS           Quantiles      `json:"decision_ms"` // first notification: arrival at a node to its redirect, answer or hand-over
	AnswerMS             Quantiles      `json:"answer_ms"`   // first POST to the arrival of the answer
	CallsByNode          map[string]int `json:"calls_by_node"`
}

// Details tell the summary's calls and notifications apart, and what must not be.
type Details struct {
	Unanswered   int `json:"unanswered"`    // part of answered_late: no answer at all
	Rejected     int `json:"rejected"`      // rejected inside the clock
	Ignored      int `json:"ignored"`       // 2xx without a hand-over, where that is allowed: the call was ending or ended, or its bot had been told `adopted` instead
	OutOfOrder   int `json:"out_of_order"`  // hand-overs in the wrong order, or two of one call at once
	Altered      int `json:"altered"`       // the bot got another body than was sent
	RepliesLost  int `json:"replies_lost"`  // the bot's response did not pass through
	StaleActions int `json:"stale_actions"` // actions on the calls API with a past epoch or a second callback URI
	StrayHops    int `json:"stray_hops"`    // redirects to an unknown base, to itself, or too many
	WrongEvents  int `json:"wrong_events"`  // `adopted`, `rejoin`, `lost` or a second `incoming` that a bot must not hear
}

// Allowed is what is told and breaks no promise.
type Allowed struct {
	OnTheirWay   int            `json:"on_their_way"`  // hand-overs with a past epoch that were past the fence when their node was paused: allowed
	HungUp       int            `json:"hung_up"`       // the caller hung up while it rang
	HandledAgain int            `json:"handled_again"` // repeated after an adoption, before any 2xx: allowed
	Adopted      int            `json:"adopted"`       // calls that changed their owner
	Invited      int            `json:"invited"`       // calls that rang on the callback URI of another one
	Clashed      int            `json:"clashed"`       // answers refused because another region had answered: allowed, the answer of one counts
	Retries      int            `json:"retries"`       // POSTs repeated after a failure
	Responses    map[string]int `json:"responses"`     // statuses of all POSTs, "none" where there was no response
	Refusals     map[string]int `json:"refusals"`      // the statuses from 500 on, with the code of the error in the body
	GroupsSplit  int            `json:"groups_split"`  // live calls of one meeting and region on different nodes: told, not judged
	PairsBeside  int            `json:"pairs_beside"`  // paired invites on one node: told, not judged
	Abandoned    int            `json:"abandoned"`     // calls cut off by the end of the run: not judged
}

// MaxViolations bounds the sentences of a report, maxAlike those of one form:
// one bug must not hide the others.
const (
	MaxViolations = 20
	maxAlike      = 5
)

// OK reports whether the deployment kept its promises: nothing lost, misrouted,
// handled twice, answered late, altered, out of order, or redirected more than
// once by kind. A run without calls shows nothing and is not OK.
func (r Report) OK() bool {
	return r.Calls > 0 && r.AnsweredLate == 0 && r.HandledTwice == 0 && r.Misrouted == 0 && r.Lost == 0 &&
		r.OutOfOrder == 0 && r.Altered == 0 && r.RepliesLost == 0 && r.StaleActions == 0 && r.StrayHops == 0 && r.WrongEvents == 0 &&
		r.HopsMax.Region <= 1 && r.HopsMax.Node <= 1
}

// notTaken are the notifications that a foreign bot did not take.
func (r Report) notTaken() int {
	if r.Bot == nil {
		return 0
	}
	return r.Bot.NotTaken
}

func (r *Report) violation(format string, a ...any) {
	if r.alike == nil {
		r.alike = map[string]int{}
	}
	r.alike[format]++
	if len(r.Violations) < MaxViolations && r.alike[format] <= maxAlike {
		r.Violations = append(r.Violations, fmt.Sprintf(format, a...))
	}
}
