package ownership

import (
	"fmt"
	"time"
)

// FormatRollouts is the first command format in which the region's table holds rules for
// versions of bots: Claims.Turns and the acts SetRollout, EndRollout and TellRollout.
const FormatRollouts uint32 = 6

// WholeShare is the share of all calls: shares are counted in parts of ten thousand, so
// that every replica draws alike.
const WholeShare = 10_000

// MaxRollouts bounds the rules for versions that a region holds, MaxRolloutText the bytes
// of what they say to people.
const (
	MaxRollouts    = 64
	MaxRolloutText = 300
)

// Rollout is the rule for one version of an app's bot: how many of the new calls go to it.
type Rollout struct {
	App     AppID     `json:"app"`
	Version string    `json:"version"`
	Share   int       `json:"share" doc:"Parts of ten thousand of the app's new calls; 100: one percent."`
	Steps   bool      `json:"steps" doc:"Once the version is proven, its share grows by itself: 1 %, 10 %, 50 %, all."`
	Halted  bool      `json:"halted" doc:"It gets no new calls as long as another version can take them."`
	Reason  string    `json:"reason,omitempty" doc:"Why it stands as it does, a sentence for people."`
	By      string    `json:"by,omitempty" doc:"Who changed it last: the name of a token, or tandem."`
	At      time.Time `json:"at,omitzero" doc:"When."`
	Number  uint64    `json:"number" doc:"Grows with each change of it."`
	// Base is what had become of the version's calls when it was resumed: they count for
	// nothing any more. Ended is how many of its calls were over when its share last changed.
	Base  VersionTally `json:"-"`
	Ended uint64       `json:"-"`
}

// ParseShare reads parts of ten thousand from percent, from 0.01 to 100.
func ParseShare(percent float64) (int, error) {
	parts := int(percent*100 + 0.5)
	if !(percent > 0 && percent <= 100) || parts < 1 {
		return 0, fmt.Errorf("a share is above 0 and up to 100 percent, to a hundredth of one")
	}
	return parts, nil
}

// Turn says which of an app's new calls may go to the nodes of one version. The leader makes
// it for a batch of claims.
type Turn struct {
	App     AppID
	Version string
	Nodes   []NodeID // whose bots are of the version, by id
	Share   int      // parts of ten thousand of the calls that are placed freely
	Left    int      // how many calls it may take in this batch; negative: any number
	Halted  bool
}

// VersionState is what the leader knows of one version of an app's bot.
type VersionState struct {
	VersionTally
	Nodes  []NodeID `json:"nodes" doc:"Nodes whose bots are of it now."`
	Live   uint64   `json:"live" doc:"Calls that are under way."`
	Since  uint64   `json:"since" doc:"New calls of the app since the version was first seen."`
	Fresh  bool     `json:"fresh" doc:"It came when another version was there: it is watched."`
	Proven bool     `json:"proven" doc:"Enough of its calls have ended as the others' do."`
	Alone  bool     `json:"alone" doc:"No node runs another version."`
	Hurt   uint64   `json:"hurt" doc:"Calls of it that have not ended well, those under way among them."`
	Bound  uint64   `json:"bound" doc:"How many that may be while it is not proven: 5, or one in a hundred of the new calls."`
}

// SetRollout makes, or changes, the rule for a version. One that the leader wants by itself
// (Auto) is refused with ErrConflict unless the rule still has the number Expect (0: there is
// none), so that it never undoes an operator's change; and where the region holds as many
// rules as it may, the oldest that halts nothing makes way for it.
type SetRollout struct {
	At      time.Time
	Rollout Rollout // without At and Number: those are the act's and the table's
	Auto    bool
	Expect  uint64
}

// EndRollout takes the rule for a version out: it is treated as any. ErrUnknown: there is none.
type EndRollout struct {
	At      time.Time
	App     AppID
	Version string
	By      string
}

// TellRollout puts a sentence about a version into the history. It changes nothing.
type TellRollout struct {
	At   time.Time
	App  AppID
	Text string
}

func (a SetRollout) at() time.Time         { return a.At }
func (a SetRollout) from(t time.Time) Act  { a.At = t; return a }
func (a EndRollout) at() time.Time         { return a.At }
func (a EndRollout) from(t time.Time) Act  { a.At = t; return a }
func (a TellRollout) at() time.Time        { return a.At }
func (a TellRollout) from(t time.Time) Act { a.At = t; return a }
