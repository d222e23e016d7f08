package transport

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// faultKinds pairs the errors that keep their meaning across the peer link with
// their number on the wire and the Connect code they travel under.
var faultKinds = []struct {
	err  error
	kind peerpb.Fault_Kind
	code connect.Code
}{
	{ownership.ErrFull, peerpb.Fault_KIND_FULL, connect.CodeResourceExhausted},
	{ownership.ErrNoLeader, peerpb.Fault_KIND_NO_LEADER, connect.CodeUnavailable},
	{ownership.ErrFenced, peerpb.Fault_KIND_FENCED, connect.CodeFailedPrecondition},
	{ownership.ErrStaleEpoch, peerpb.Fault_KIND_STALE_EPOCH, connect.CodeFailedPrecondition},
	{ownership.ErrFutureEpoch, peerpb.Fault_KIND_FUTURE_EPOCH, connect.CodeFailedPrecondition},
	{ownership.ErrUnknown, peerpb.Fault_KIND_UNKNOWN, connect.CodeNotFound},
	{ownership.ErrConflict, peerpb.Fault_KIND_CONFLICT, connect.CodeAlreadyExists},
	{ownership.ErrOtherApp, peerpb.Fault_KIND_OTHER_APP, connect.CodePermissionDenied},
	{ownership.ErrNoBot, peerpb.Fault_KIND_NO_BOT, connect.CodeResourceExhausted},
	{ownership.ErrTwin, peerpb.Fault_KIND_TWIN, connect.CodePermissionDenied},
	{ownership.ErrBehind, peerpb.Fault_KIND_BEHIND, connect.CodeUnavailable},
	{ownership.ErrNotLeader, peerpb.Fault_KIND_NOT_LEADER, connect.CodeUnavailable},
	{ownership.ErrGone, peerpb.Fault_KIND_GONE, connect.CodePermissionDenied},
	{ownership.ErrForeign, peerpb.Fault_KIND_FOREIGN, connect.CodePermissionDenied},
	{ownership.ErrDiffers, peerpb.Fault_KIND_DIFFERS, connect.CodeDataLoss},
	{ownership.ErrUninvited, peerpb.Fault_KIND_UNINVITED, connect.CodePermissionDenied},
}

// peerError is an error that another node gave: its words, and the kind that it
// stands for here.
type peerError struct {
	text string
	kind error // nil: none that the caller acts on
}

func (e *peerError) Error() string { return e.text }
func (e *peerError) Unwrap() error { return e.kind }

// ToFault writes an error for the wire; nil becomes an empty fault.
func ToFault(err error) *peerpb.Fault {
	f := &peerpb.Fault{}
	if err == nil {
		return f
	}
	f.Text = err.Error()
	for _, k := range faultKinds {
		if errors.Is(err, k.err) {
			f.Kind = k.kind
			return f
		}
	}
	return f
}

// FromFault reads what ToFault wrote: an empty fault is no error.
func FromFault(f *peerpb.Fault) error {
	if f.GetKind() == peerpb.Fault_KIND_UNSPECIFIED && f.GetText() == "" {
		return nil
	}
	e := &peerError{text: f.GetText()}
	for _, k := range faultKinds {
		if f.GetKind() == k.kind {
			e.kind = k.err
		}
	}
	return e
}

// toConnect gives the error of a handler the code and detail that fromConnect
// reads on the other side.
func toConnect(err error) error {
	code := connect.CodeUnknown
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		code = connect.CodeDeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = connect.CodeCanceled
	}
	for _, k := range faultKinds {
		if errors.Is(err, k.err) {
			code = k.code
			break
		}
	}
	ce := connect.NewError(code, err)
	if d, derr := connect.NewErrorDetail(ToFault(err)); derr == nil {
		ce.AddDetail(d)
	}
	return ce
}

// fromConnect reads the error of a peer call: what the other node said, or
// ownership.ErrUnreachable when it said nothing in time.
func fromConnect(node string, err error) error {
	var ce *connect.Error
	// Its words do not count when it only says that it, too, ran out of time.
	if errors.As(err, &ce) && ce.Code() != connect.CodeDeadlineExceeded && ce.Code() != connect.CodeCanceled {
		for _, d := range ce.Details() {
			if v, verr := d.Value(); verr == nil {
				if f, ok := v.(*peerpb.Fault); ok {
					return FromFault(f)
				}
			}
		}
	}
	return fmt.Errorf("asking node %s: %w: %w", node, ownership.ErrUnreachable, err)
}
