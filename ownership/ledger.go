package ownership

import "time"

// FormatLedger is the first command format in which the region's table holds a ledger:
// Release.Fate and the acts Note and SetKeep.
const FormatLedger uint32 = 5

// Fate says what became of a call that did not end as calls do. Empty: it did, or the
// table can tell by itself.
type Fate string

// The fates that only the owner of a call knows.
const (
	FateLost     Fate = "lost"     // somebody else answered it, or nobody could
	FateLate     Fate = "late"     // the answer came when the cloud's clock was over
	FateRejected Fate = "rejected" // the bot would not have it
)

// Note puts into the ledger that an operator changed something, or tried to. It changes
// nothing else. Texts are cut to what an entry holds.
type Note struct {
	At      time.Time
	By      string // the name of the token that asked
	From    string // the address that asked
	Action  string // the operation's name
	Subject string // what it was about: a path
	Status  int    // what the admin door answered
	Detail  string
}

// Keep says how long the entries of a region's ledger are kept: whole days.
type Keep struct {
	Days      int `json:"days" doc:"How many days entries are kept."`
	EndedDays int `json:"ended_days" doc:"How many days those of calls that ended as calls do; 0: such calls leave none."`
}

// MaxKeepDays bounds both: a hundred years.
const MaxKeepDays = 36500

// Valid reports whether a ledger can be kept so.
func (k Keep) Valid() bool {
	return k.Days >= 1 && k.Days <= MaxKeepDays && k.EndedDays >= 0 && k.EndedDays <= MaxKeepDays
}

// SetKeep changes how long the region's ledger is kept. It is a fact of the region, so
// that no node's configuration deletes what another's would keep.
type SetKeep struct {
	At   time.Time
	Keep Keep
}

func (a Note) at() time.Time           { return a.At }
func (a Note) from(t time.Time) Act    { a.At = t; return a }
func (a SetKeep) at() time.Time        { return a.At }
func (a SetKeep) from(t time.Time) Act { a.At = t; return a }
