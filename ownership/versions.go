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
