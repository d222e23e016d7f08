package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// A node that a call is reserved for was silent once, and may still be: a frozen
// process takes connections and answers nothing. So it is asked for a sign of life
// before the first of such hand-overs, and again when the last sign is old. So is a node
// that the leader calls silent, or that has not been met since this process began, whatever
// the call. Other nodes are asked for the sake of their clock, which runs a little faster or
// slower than the one here.
const (
	signLimit  = 500 * time.Millisecond
	signLasts  = time.Second
	clockLasts = time.Minute
)

// signOf returns a sign of life of the node that a hand-over for the call goes to, a new
// one if need be. A hand-over to a node that may be silent is so refused at once, and not after the time for bots.
func (st *standing) signOf(ctx context.Context, p *transport.Peer, n ownership.Node, call ownership.CallID) (*transport.Sign, error) {
	to := n.ID
	k, reserved := st.reserved(call)
	reserved = reserved && k.Owner == to
	met, silent := st.present.Met(to), st.silent(to)
	doubtful, lasts := reserved || !met || silent, clockLasts
	why := fmt.Sprintf("node %s has not been met yet", to)
	switch {
	case reserved:
		why = fmt.Sprintf("the call is reserved for node %s", to)
	case silent:
		why = fmt.Sprintf("node %s is silent", to)
	}
	if doubtful {
		lasts = signLasts
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, signLimit)
		defer cancel()
	}
	// The clock of a process that has gone says nothing of the one after it.
	if s := p.Sign.Load(); s != nil && time.Since(s.At) < lasts && (n.Process == "" || s.Process == n.Process) {
		return s, nil
	}
	res, err := p.Term(ctx, &peerpb.TermRequest{})
	switch {
	case err != nil && doubtful:
		return nil, fmt.Errorf("%s, which gives no sign of life: %w", why, err)
	case errors.Is(err, ownership.ErrUnreachable):
		return nil, err
	case err != nil:
		return &transport.Sign{}, nil // it is there, and does not tell now
	case (reserved || !met) && !res.GetActing():
		return nil, fmt.Errorf("%s, which has no lease yet: %w", why, ownership.ErrFenced)
	}
	s := &transport.Sign{At: time.Now(), Process: res.GetProcess(), Clock: res.GetClock()}
	st.present.Hears(to, s.Process, s.At)
	p.Sign.Store(s)
	return s, nil
}

// limit puts the deadline of ctx on a hand-over, by the clock of the process that
// takes it and its last sign of life: its own count of the time begins when the request
// comes in, and that may be long after the sender gave it up.
func limit(ctx context.Context, s *transport.Sign, h *peerpb.HandOver) {
	until, ok := ctx.Deadline()
	if ok && s.Clock != 0 {
		h.Until, h.ToProcess = s.Clock+int64(until.Sub(s.At)), s.Process
	}
}

func (st *standing) clock() int64 { return int64(time.Since(st.born)) + 1 }

// inTime bounds a hand-over that came in by when its sender gives it up, and refuses
// it when that is over: the cloud was told so and repeats it, or has gone on.
func (st *standing) inTime(ctx context.Context, h *peerpb.HandOver) (context.Context, context.CancelFunc, error) {
	if h.GetUntil() == 0 {
		return ctx, func() {}, nil
	}
	left := time.Duration(h.GetUntil() - st.clock())
	if left <= 0 || h.GetToProcess() != st.process {
		return nil, nil, fmt.Errorf("taking a relayed notification: it comes too late, its sender has given it up: %w", context.DeadlineExceeded)
	}
	ctx, cancel := context.WithTimeout(ctx, left)
	return ctx, cancel, nil
}
