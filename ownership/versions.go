package ownership

// VersionTally counts what became of the calls that one version of an app's bot took,
// since a node's process began. Taken less the other counts are under way. A bot that
// calls itself nothing has the empty version.
type VersionTally struct {
	App     AppID  `json:"app"`
	Version string `json:"version"`
	Runs    bool   `json:"-"`     // the node's bot is of this version now
	Taken   uint64 `json:"taken"` // calls that it was handed first, not adopted ones
	Well    uint64 `json:"well"`  // ended as calls do
	Bad     uint64 `json:"bad"`   // ended by a failure, or never answered, or rejected
	Short   uint64 `json:"short"` // ended as calls do, but within seconds of the answer
	Other   uint64 `json:"other"` // hung up while it rang, or another node's now: nobody's fault
	Code    string `json:"code,omitempty"`
}

// Ended counts the calls that are over, and those that are another node's now.
func (t *VersionTally) Ended() uint64 { return t.Well + t.Bad + t.Short + t.Other }

// Live counts the calls that are under way.
func (t *VersionTally) Live() uint64 { return t.Taken - min(t.Ended(), t.Taken) }

// MaxVersions bounds the versions of one app's bot that a process tells of, and a
// leader keeps of each app.
const MaxVersions = 8

// Add puts another process's counts to these.
func (t *VersionTally) Add(o *VersionTally) {
	t.Taken += o.Taken
	t.Well += o.Well
	t.Bad += o.Bad
	t.Short += o.Short
	t.Other += o.Other
	if o.Code != "" {
		t.Code = o.Code
	}
}

// Since is what has happened after base. Counts of processes that have ended are in base
// only: less than nothing is nothing.
func (t *VersionTally) Since(base *VersionTally) VersionTally {
	after := func(n, b uint64) uint64 { return n - min(n, b) }
	out := *t
	out.Taken, out.Well, out.Bad = after(t.Taken, base.Taken), after(t.Well, base.Well), after(t.Bad, base.Bad)
	out.Short, out.Other = after(t.Short, base.Short), after(t.Other, base.Other)
	return out
}
