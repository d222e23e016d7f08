package webhook

import (
	"strconv"
	"strings"
	"time"

	"tandem/ownership"
)

// Mark is what a redirect of ours says to the node that receives it: which hops
// were used up, and when the first node saw the notification, because the
// cloud's clock for the answer started there.
//
// It stands in the query as h=… and is signed together with the region it
// leads to and the call, so it is good for nothing else.
type Mark struct {
	RegionHop bool      // a region redirect brought the request here
	NodeHop   bool      // a node redirect did
	Received  time.Time // when the first node saw the notification, to the millisecond
	Expires   time.Time // past it the mark is not believed
}

// MarkLife is how long a hop mark is good: far longer than any cloud follows a
// redirect, far shorter than a call.
const MarkLife = 2 * time.Minute

// Mark signs a hop mark that leads to a region, for one call.
func (h *Handles) Mark(to ownership.Region, call ownership.CallID, m Mark) string {
	var room [maxMark]byte
	return string(h.appendMark(room[:0], to, call, m))
}

// maxMark bounds the length of a hop mark.
const maxMark = 128

// appendMark writes a signed hop mark behind b.
func (h *Handles) appendMark(b []byte, to ownership.Region, call ownership.CallID, m Mark) []byte {
	start := len(b)
	b = m.append(b)
	text := b[start:]
	return h.sign(append(b, '.'), func(b []byte) []byte { return appendMarked(b, to, call, text) })
}

// ReadMark reads a hop mark as the region it should lead to, for the call that
// the body names. Every failure, an expiry too, is ErrForged.
func (h *Handles) ReadMark(here ownership.Region, call ownership.CallID, s string, now time.Time) (Mark, error) {
	text, signed, ok := cutMark(s)
	if !ok {
		return Mark{}, ErrForged
	}
	m, ok := parseMark(text)
	if !ok {
		return Mark{}, ErrForged
	}
	if err := h.verify(signed, func(b []byte) []byte { return appendMarked(b, here, call, []byte(text)) }); err != nil {
		return Mark{}, err
	}
	if !now.Before(m.Expires) || m.Received.After(m.Expires) {
		return Mark{}, ErrForged
	}
	return m, nil
}

// append writes hops.received.expires, the times as milliseconds in base 36.
func (m Mark) append(b []byte) []byte {
	if m.RegionHop {
		b = append(b, 'r')
	}
	if m.NodeHop {
		b = append(b, 'n')
	}
	b = append(b, '.')
	b = strconv.AppendInt(b, m.Received.UnixMilli(), 36)
	b = append(b, '.')
	return strconv.AppendInt(b, m.Expires.UnixMilli(), 36)
}

func appendMarked(b []byte, to ownership.Region, call ownership.CallID, text []byte) []byte {
	b = append(b, "tandem hop 1\n"...)
	b = append(b, to...)
	b = append(b, '\n')
	b = append(b, call...)
	b = append(b, '\n')
	return append(b, text...)
}

// cutMark parts hops.received.expires from the signature behind them.
func cutMark(s string) (text, signed string, ok bool) {
	if len(s) > maxMark {
		return "", "", false
	}
	at := 0
	for range 3 {
		i := strings.IndexByte(s[at:], '.')
		if i < 0 {
			return "", "", false
		}
		at += i + 1
	}
	return s[:at-1], s[at:], true
}

func parseMark(text string) (Mark, bool) {
	hops, times, _ := strings.Cut(text, ".")
	received, expires, _ := strings.Cut(times, ".")
	m := Mark{}
	switch hops {
	case "r":
		m.RegionHop = true
	case "n":
		m.NodeHop = true
	case "rn":
		m.RegionHop, m.NodeHop = true, true
	default:
		return Mark{}, false
	}
	var ok bool
	if m.Received, ok = parseMilli(received); !ok {
		return Mark{}, false
	}
	m.Expires, ok = parseMilli(expires)
	return m, ok
}

func parseMilli(s string) (time.Time, bool) {
	n, err := strconv.ParseInt(s, 36, 64)
	// 1<<47 milliseconds are 4,460 years: past that time.Time's arithmetic is
	// nobody's friend.
	if err != nil || n <= 0 || n > 1<<47 {
		return time.Time{}, false
	}
	return time.UnixMilli(n), true
}
