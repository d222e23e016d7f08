package api

import "tandem/ownership"

// BotVersion is one version of an app's bot: what is known of it, and the rule for it.
type BotVersion struct {
	ownership.VersionState
	Rule *ownership.Rollout `json:"rule,omitempty" doc:"The rule for it; absent: there is none, and it is treated as any version."`
	// Stands is one of the words below.
	Stands string `json:"stands" enum:"halted,alone,unproven,proven,watched,usual" doc:"How it stands: halted; alone (no other version is there); unproven or proven, with a rule; watched, without; usual (what newcomers are compared with)."`
}

// The words of BotVersion.Stands.
const (
	StandsHalted   = "halted"
	StandsAlone    = "alone"
	StandsUnproven = "unproven"
	StandsProven   = "proven"
	StandsWatched  = "watched"
	StandsUsual    = "usual"
)

// RolloutOf names a version of an app's bot.
type RolloutOf struct {
	App     ownership.AppID `json:"app" minLength:"1" maxLength:"64"`
	Version string          `json:"version" minLength:"1" maxLength:"64"`
}

// RolloutAsk is the rule that a version is to have.
type RolloutAsk struct {
	RolloutOf
	Percent float64 `json:"percent" exclusiveMinimum:"0" maximum:"100" doc:"Of the app's new calls that are placed freely, to a hundredth of a percent."`
	Steps   bool    `json:"steps,omitempty" doc:"Let the share grow by itself once the version is proven: 1 %, 10 %, 50 %, all."`
	Note    string  `json:"note,omitempty" maxLength:"250"`
}

// RolloutNote is a change of a version's rule, with what the operator says about it.
type RolloutNote struct {
	RolloutOf
	Note string `json:"note,omitempty" maxLength:"250"`
}
