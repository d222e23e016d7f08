package bot

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"tandem/ownership"
)

// key names a handled message, on every node alike. What the cloud could make
// two of is not guessed at: 128 bits of SHA-256.
type key [16]byte

// keyOf names a hand-over for the memory of repeats. The cloud keeps the message
// id on its retries (X-Microsoft-Skype-Message-ID, Skype Calling API); where it
// sent none, the body stands in.
func keyOf(h ownership.HandOver) key {
	if h.MessageID != "" {
		return keyOfText("id:" + h.MessageID)
	}
	sum := sha256.Sum256(h.Body)
	return keyOfText("body:" + hex.EncodeToString(sum[:]))
}

func keyOfText(s string) key {
	sum := sha256.Sum256([]byte(s))
	return key(sum[:16])
}

// handledMessage is one handled message.
type handledMessage struct {
	key    key
	first  ownership.Epoch // of a first notification: the epoch at which it was taken
	at     moment
	reply  *ownership.Reply // nil: nothing but the status
	status int16
	own    bool // Tandem's own
}

func (k *handledMessage) answer() ownership.Reply {
	if k.reply != nil {
		return *k.reply
	}
	return ownership.Reply{Status: int(k.status)}
}

// accepted is the reply to what is taken without asking the bot.
func accepted() ownership.Reply { return ownership.Reply{Status: http.StatusAccepted} }

// handled reports whether a reply ends the matter. A 5xx makes the cloud send
// the notification again, so it must be delivered again.
func handled(r ownership.Reply) bool { return r.Status < http.StatusInternalServerError }

// find looks for a message that is under way or was handled. The lock is held.
func (l *callQueue) find(k key) (*delivery, *handledMessage) {
	return l.search(func(e *delivery) bool { return e.key == k }, func(m *handledMessage) bool { return m.key == k })
}

func (l *callQueue) search(waits func(*delivery) bool, was func(*handledMessage) bool) (*delivery, *handledMessage) {
	for _, e := range l.queue {
		if waits(e) {
			return e, nil
		}
	}
	for i := range l.handled {
		if was(&l.handled[i]) {
			return nil, &l.handled[i]
		}
	}
	return nil, nil
}

// Handled returns the reply to a message that this dispatcher has handled. It acts on
// nothing, so it needs no lease. An end is not answered so: should the call be
// given to another node meanwhile, its repeat tells the bot there.
func (d *queues) Handled(h ownership.HandOver) (ownership.Reply, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.parts[h.Partition]
	if p == nil || h.Ends {
		return ownership.Reply{}, false
	}
	l := p.queues[h.Call]
	if l == nil || l.app.ID != h.App {
		return ownership.Reply{}, false
	}
	_, old := l.find(keyOf(h))
	if old == nil {
		return ownership.Reply{}, false
	}
	d.count.repeats.WithLabelValues(string(h.Event)).Inc()
	d.stepRepeated(&h, repeatHandled)
	return old.answer(), true
}

// findFirst looks for the first notification at an epoch. The lock is held.
func (l *callQueue) findFirst(epoch ownership.Epoch) (*delivery, *handledMessage) {
	if epoch == 0 {
		return nil, nil
	}
	return l.search(func(e *delivery) bool { return e.first == epoch }, func(m *handledMessage) bool { return m.first == epoch })
}

// repeated tells of a message that was handled before, or whose delivery is under way: then
// that one is to be waited for. The lock is held.
func (d *queues) repeated(h *ownership.HandOver, e *delivery, old *handledMessage) (*delivery, ownership.Reply) {
	d.count.repeats.WithLabelValues(string(h.Event)).Inc()
	if old != nil {
		d.stepRepeated(h, repeatHandled)
		return nil, old.answer()
	}
	d.stepRepeated(h, repeatWaits)
	return e, ownership.Reply{}
}

// remember keeps a message that was handled. Of Tandem's own events only the
// answer of a ringing call matters later. The lock is held.
func (d *queues) remember(l *callQueue, e *delivery) {
	if l.dropped || e.own && !e.outside && e.first == 0 {
		return
	}
	k := handledMessage{key: e.key, first: e.first, at: d.now(), own: !e.outside, status: int16(e.reply.Status)}
	if len(e.reply.Body) > 0 || e.reply.Status/100 != 2 && len(e.reply.Header) > 0 {
		r := e.reply // not the delivery's own, which would stay along with it
		k.reply = &r
	}
	l.keep(k)
}

// keep adds a message; the oldest go when there are too many or they are too old
// for a retry. The lock is held.
func (l *callQueue) keep(k handledMessage) {
	l.prune(k.at)
	if n := len(l.handled); n >= rememberIDs {
		l.handled = l.handled[n+1-rememberIDs:]
	}
	l.handled = append(l.handled, k)
}

// prune forgets what is too old for a retry. The lock is held.
func (l *callQueue) prune(now moment) {
	n := 0
	for n < len(l.handled) && now.since(l.handled[n].at) > rememberFor {
		n++
	}
	if l.handled = l.handled[n:]; len(l.handled) == 0 {
		l.handled = nil
	}
}

// spelled writes a call's id for Graph's URLs as Graph's documentation writes
// GUIDs.
func spelled(id string) string {
	if len(id) != 32 {
		return id
	}
	return strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
}

// rawID returns the call's id for Graph's URLs: as the cloud spelled it, or, for
// a record without that, as spelled does.
func rawID(c ownership.Call) string {
	return cmp.Or(c.RawCall, spelled(string(c.ID)))
}
