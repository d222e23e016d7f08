package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// Kind says in one word what an entry tells.
type Kind string

// The kinds of entries.
const (
	Change   Kind = "change"   // an operator changed something, or tried to
	Ended    Kind = "ended"    // a call ended as calls do
	Lost     Kind = "lost"     // a call was over before anybody had answered it
	Late     Kind = "late"     // the answer came when the cloud's clock was over
	Rejected Kind = "rejected" // no node could take the call, or its bot would not
	Orphaned Kind = "orphaned" // its media went with a node; without a call: so many of a partition
	Deleted  Kind = "deleted"  // old entries were deleted by the region's policy
)

// Kinds are all kinds, as they are told to people.
var Kinds = []Kind{Change, Ended, Lost, Late, Rejected, Orphaned, Deleted}

// Bounds.
const (
	// MaxEntry bounds an entry's line, in bytes: the proof of one in a ledger of a million
	// has then less than 2 KB.
	MaxEntry = 640
	maxWord  = 64  // bytes of a name or an id
	maxText  = 160 // of a sentence
	// MaxEntries bounds a ledger: 2^48 entries are more than a region can write.
	MaxEntries = 1 << 48
)

// Entry is one line of a region's ledger. Which fields are set depends on its kind.
type Entry struct {
	N    uint64    `json:"n" doc:"Its number: the first entry has 0."`
	At   time.Time `json:"at" doc:"When it happened, by the clock of the node that proposed it."`
	Kind Kind      `json:"kind"`

	// Of a call.
	Call       string    `json:"call,omitempty"`
	App        string    `json:"app,omitempty"`
	Tenant     string    `json:"tenant,omitempty"`
	Chain      string    `json:"chain,omitempty" doc:"The cloud's callChainId, which is the id of its call record."`
	Thread     string    `json:"thread,omitempty"`
	ClaimedAt  time.Time `json:"claimed_at,omitzero"`
	AnsweredAt time.Time `json:"answered_at,omitzero"`

	Node      string `json:"node,omitempty" doc:"Who acted for the call; of orphans, whose media are lost."`
	Partition uint32 `json:"partition,omitempty"`
	Reason    string `json:"reason,omitempty" doc:"A sentence for people."`

	// Of a change.
	By      string `json:"by,omitempty" doc:"The name of the token that asked."`
	From    string `json:"from,omitempty" doc:"The address that asked."`
	Action  string `json:"action,omitempty"`
	Subject string `json:"subject,omitempty"`
	Status  int    `json:"status,omitempty" doc:"What the admin door answered."`

	Count uint64    `json:"count,omitempty" doc:"How many: calls that were orphaned, or that no node could take after the first ones of a minute; entries that were deleted."`
	First time.Time `json:"first,omitzero" doc:"When the first of the calls came that no node could take."`
	Last  time.Time `json:"last,omitzero" doc:"When the last one of them came."`
	Total uint64    `json:"total,omitempty" doc:"Entries deleted so far, with these."`
}

// ErrNoEntry says that a line is no entry, or not as one is written.
var ErrNoEntry = errors.New("it is no entry of a ledger")

// Encode writes an entry as its line, without a line feed. Texts that are too long are cut, the
// same everywhere, so that the line fits into MaxEntry.
func Encode(e Entry) []byte {
	for _, t := range []*time.Time{&e.At, &e.ClaimedAt, &e.AnsweredAt, &e.First, &e.Last} {
		*t = plain(*t)
	}
	for _, s := range []*string{(*string)(&e.Kind), &e.Call, &e.App, &e.Tenant, &e.Chain, &e.Node, &e.By, &e.From, &e.Action} {
		*s = cut(*s, maxWord)
	}
	for _, s := range []*string{&e.Thread, &e.Reason, &e.Subject} {
		*s = cut(*s, maxText)
	}
	line := encode(&e)
	for _, s := range []*string{&e.Reason, &e.Subject, &e.From, &e.By, &e.Thread, &e.Action, &e.Node, &e.Chain, &e.Tenant, &e.App, &e.Call} {
		for ; len(line) > MaxEntry && *s != ""; line = encode(&e) {
			*s = cut(*s, len(*s)/2)
		}
	}
	return line
}

// plain is a time as a line can tell it: in UTC, of the years that RFC 3339 knows.
func plain(t time.Time) time.Time {
	t = t.UTC()
	if t.Year() < 0 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

func encode(e *Entry) []byte {
	line, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Sprintf("writing an entry of the ledger: %v", err)) // of a time that plain has kept out
	}
	return line
}

// cut shortens a text to n bytes, between two characters.
func cut(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return s
}

// Decode reads an entry's line. The error is ErrNoEntry, also for a line that Encode
// would spell in another way.
func Decode(line []byte) (Entry, error) {
	var e Entry
	if err := strictly(line, &e); err != nil {
		return Entry{}, err
	}
	switch {
	case !slices.Contains(Kinds, e.Kind):
		return Entry{}, fmt.Errorf("its kind is %.20q: %w", e.Kind, ErrNoEntry)
	case e.N >= MaxEntries:
		return Entry{}, fmt.Errorf("its number is %d: %w", e.N, ErrNoEntry)
	case !bytes.Equal(Encode(e), line):
		return Entry{}, fmt.Errorf("it is not spelled as entries are: %w", ErrNoEntry)
	}
	return e, nil
}

// strictly reads one JSON object that has no other fields than into's.
func strictly(line []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrNoEntry, err)
	}
	if dec.More() {
		return fmt.Errorf("something follows it: %w", ErrNoEntry)
	}
	return nil
}
