package api

import (
	"time"

	"tandem/ownership"
)

// RulesVersion is one version of the rules with its text.
type RulesVersion struct {
	ownership.Rules
	Text string `json:"text" doc:"The document: rules, tables and pins, in YAML or JSON."`
}

// RulesNow is the answer of GET /v1/rules. Number 0: none were ever set, and each node
// goes by its configuration, as the answering one shows it.
type RulesNow struct {
	RulesVersion
	Unused  bool          `json:"unused,omitempty" doc:"The configuration of the answering node holds rules, which are not used."`
	Nodes   []RulesHolder `json:"nodes" doc:"What each node of this region has in force."`
	Regions []RulesHolder `json:"regions" doc:"What the other regions have, as last heard."`
	Differ  []string      `json:"differ" doc:"Who has had other rules for longer than a change takes to travel."`
}

// RulesHolder is a node or a region and its rules.
type RulesHolder struct {
	Name    string `json:"name"`
	Number  uint64 `json:"number"`
	Digest  string `json:"digest,omitempty"`
	Same    bool   `json:"same" doc:"They are those of this answer."`
	Trouble string `json:"trouble,omitempty" doc:"Why it has others, or why it could not be asked."`
}

// RulesAsk is the body of PUT /v1/rules.
type RulesAsk struct {
	Text   string `json:"text" minLength:"1" maxLength:"262144" doc:"The document: rules, tables and pins, in YAML or JSON."`
	Expect uint64 `json:"expect" doc:"Number of the rules that it was made from, 0 where none were ever set: 409 when there are others by now."`
	Note   string `json:"note,omitempty" maxLength:"300" doc:"Why, for the history."`
}

// RulesBack is the body of POST /v1/rules/rollback.
type RulesBack struct {
	Number uint64 `json:"number" minimum:"1" doc:"Of the version in the history whose text becomes the newest, under a number of its own."`
	Expect uint64 `json:"expect" minimum:"1" doc:"Number of the newest version: 409 when there are others by now."`
	Note   string `json:"note,omitempty" maxLength:"300" doc:"Why, for the history."`
}

// RulesTrial is the body of POST /v1/rules/test.
type RulesTrial struct {
	Notification string             `json:"notification" maxLength:"1048576" doc:"Body of a webhook, as the cloud sends it."`
	Header       map[string]string  `json:"header,omitempty" doc:"Headers that it would carry."`
	App          ownership.AppID    `json:"app,omitempty" maxLength:"64" doc:"The app that its token would name; absent: the one that the body or the configuration leaves."`
	Tenant       ownership.TenantID `json:"tenant,omitempty" maxLength:"64" doc:"The tenant that its token would name."`
	Text         string             `json:"text,omitempty" maxLength:"262144" doc:"A document to judge by; absent: the rules in force."`
}

// RulesTried is its answer: what the rules say of each call in the body.
type RulesTried struct {
	Number uint64     `json:"number" doc:"Of the rules that were asked; 0: the candidate, or the configuration's."`
	Calls  []RuledOne `json:"calls"`
	Answer string     `json:"answer" doc:"What the webhook would answer, in a sentence."`
}

// RuledOne is what the rules say of one call.
type RuledOne struct {
	Call     ownership.CallID   `json:"call"`
	Kind     string             `json:"kind" doc:"new call, update, end of call"`
	Facts    map[string]any     `json:"facts,omitempty" doc:"What the rules could see. Absent for a call that is known already: rules are asked about new ones."`
	Rule     int                `json:"rule" doc:"Number of the rule that matches, from 1; 0: none."`
	Home     ownership.Region   `json:"home,omitempty" doc:"The region that the call belongs to."`
	Hard     bool               `json:"hard,omitempty" doc:"No other region may handle it."`
	Here     string             `json:"here,omitempty" doc:"prefer or force: it is handled where it arrives."`
	Overflow []ownership.Region `json:"overflow,omitempty" doc:"Who stands in for its home, in this order."`
	Step     string             `json:"step,omitempty" doc:"here, redirect or refuse, at this moment."`
	To       ownership.Region   `json:"to,omitempty" doc:"Where it is handled at this moment, or would have to be."`
	Why      string             `json:"why"`
	Pin      *ownership.Pin     `json:"pin,omitempty"`
	Errors   []string           `json:"errors,omitempty" doc:"Rules that could not be evaluated for this call, and so did not match."`
}

// RulesCandidate is the body of POST /v1/rules/diff.
type RulesCandidate struct {
	Text string `json:"text" minLength:"1" maxLength:"262144" doc:"The document to hold against the recorded calls."`
}

// RulesDiff says where a candidate would have sent the calls that the region's nodes
// remember: the last 4,096 new ones at each.
type RulesDiff struct {
	Recorded  int          `json:"recorded" doc:"Calls that are remembered."`
	Since     time.Time    `json:"since,omitzero" doc:"The oldest of them."`
	Elsewhere int          `json:"elsewhere" doc:"Of them would have another home."`
	Repinned  int          `json:"repinned" doc:"Of them would have another pin."`
	Failing   int          `json:"failing" doc:"Of them are such that a rule or pin of the candidate could not be evaluated."`
	Moves     []RulesMoves `json:"moves" doc:"By regions, most calls first."`
	Examples  []RulesMoved `json:"examples" doc:"The newest at each node."`
	Heard     []string     `json:"heard" doc:"Nodes whose calls are in it."`
	Missing   []string     `json:"missing" doc:"Nodes that could not be asked, and why."`
}

// RulesMoves counts the calls that would have one home instead of another.
type RulesMoves struct {
	From  ownership.Region `json:"from"`
	To    ownership.Region `json:"to"`
	Calls int              `json:"calls"`
}

// RulesMoved is one of them.
type RulesMoved struct {
	At   time.Time        `json:"at"`
	Call ownership.CallID `json:"call"`
	From ownership.Region `json:"from"`
	To   ownership.Region `json:"to"`
	Was  string           `json:"was" doc:"Why, by the rules in force."`
	Why  string           `json:"why" doc:"Why, by the candidate."`
}
