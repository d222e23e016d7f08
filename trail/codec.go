package trail

import (
	"encoding/binary"
	"slices"
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
)

// A step in the ring: its length, then its numbers as varints, then its texts, each with
// its length. What only a received notification tells stands at the end, and only there.

// Longest texts in bytes: of ids, and of sentences.
const (
	longestID   = 256
	longestText = 512
)

// kinds numbers the kinds. It only grows at its end while a process runs; nothing of it is
// kept.
var kinds = []history.StepKind{
	history.Received, history.Ruled, history.Placed, history.Redirected, history.Relayed, history.Lettered, history.Repeated, history.Handed,
	history.AnsweredAt, history.RejectedAt, history.Told, history.Rejoin, history.Lost, history.Over, history.Replied, history.Refused,
}

// whole reports whether a step of the kind tells all that a notification can be found by.
func whole(k history.StepKind) bool { return k == history.Received || k == history.Refused }

// appendStep writes a step behind b.
func appendStep(b []byte, s *history.Step) []byte {
	start := len(b)
	b = append(b, 0, 0) // the length
	b = append(b, byte(slices.Index(kinds, s.Kind)))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.At.UnixNano()))
	b = binary.AppendUvarint(b, uint64(s.Partition))
	b = binary.AppendUvarint(b, uint64(s.Epoch))
	b = binary.AppendUvarint(b, uint64(max(s.Status, 0)))
	b = binary.AppendUvarint(b, uint64(max(s.Took, 0)))
	b = appendText(b, string(s.Call), longestID)
	b = appendText(b, s.Message, longestID)
	b = appendText(b, s.To, longestID)
	b = appendText(b, s.Text, longestText)
	if whole(s.Kind) {
		b = appendText(b, s.Chain, longestID)
		b = appendText(b, s.Scenario, longestID)
		b = appendText(b, s.Request, longestID)
		b = appendText(b, string(s.App), longestID)
		b = appendText(b, string(s.Tenant), longestID)
	}
	binary.LittleEndian.PutUint16(b[start:], uint16(len(b)-start))
	return b
}

// longestStep bounds a step in bytes: its length fits into the two bytes for it.
const longestStep = 2 + 1 + 8 + 4*binary.MaxVarintLen64 + 9*(longestID+2) + longestText + 2

func appendText(b []byte, s string, most int) []byte {
	s = s[:min(len(s), most)]
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// next parts the first step of a segment from the rest; nil at its end.
func next(b []byte) (step, rest []byte) {
	if len(b) < 2 {
		return nil, nil
	}
	n := int(binary.LittleEndian.Uint16(b))
	if n < 2 || n > len(b) {
		return nil, nil
	}
	return b[2:n], b[n:]
}

// reader takes the fields of a step off its bytes; bad bytes leave the rest empty.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// readStep reads what appendStep wrote, without the length; false: it is no step.
func readStep(b []byte) (history.Step, bool) {
	if len(b) < 9 || int(b[0]) >= len(kinds) {
		return history.Step{}, false
	}
	s := history.Step{Kind: kinds[b[0]], At: time.Unix(0, int64(binary.LittleEndian.Uint64(b[1:]))).UTC()}
	r := reader{b: b[9:]}
	s.Partition, s.Epoch = ownership.PartitionID(r.number()), ownership.Epoch(r.number())
	s.Status, s.Took = int(r.number()), time.Duration(r.number())
	s.Call, s.Message, s.To, s.Text = ownership.CallID(r.text()), r.text(), r.text(), r.text()
	if whole(s.Kind) {
		s.Chain, s.Scenario, s.Request = r.text(), r.text(), r.text()
		s.App, s.Tenant = ownership.AppID(r.text()), ownership.TenantID(r.text())
	}
	return s, !r.bad && len(r.b) == 0
}
