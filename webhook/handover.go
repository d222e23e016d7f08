package webhook

import (
	"context"
	"fmt"
	"net/http"

	"tandem/ownership"
	"tandem/ownership/history"
)

// HandOver takes a notification that another node relayed: the receiving side
// of Table.Relay. It never relays on. Where this node may not act as the owner
// the error is one of ownership's (ErrUnknown, ErrStaleEpoch, ErrFutureEpoch,
// ErrFenced), and the relaying side answers 503; for a call of another app it is
// ErrOtherApp, and the answer 401.
func (h *Handler) HandOver(ctx context.Context, ho ownership.HandOver) (ownership.Reply, error) {
	if ho.Event != ownership.EventIncoming && ho.Event != ownership.EventUpdate {
		h.count.handed[handedRefused].Inc()
		return ownership.Reply{}, fmt.Errorf("taking a relayed notification: %q is no event of a notification: %w", ho.Event, ownership.ErrConflict)
	}
	h.diary.handed(&ho, history.Received, "relayed by a node of the region")
	ctx, end := h.traces.Span(h.traces.From(ctx, ho.Header), "relayed notification", ho.Call, ho.Partition, ho.Epoch)
	ho.Header = h.traces.Carry(ctx, ho.Header)
	reply, err := h.deliver(ctx, ho)
	end(err)
	if err != nil {
		h.diary.handed(&ho, history.Refused, short(err.Error()))
	}
	switch {
	case err == nil:
		h.count.handed[handedOver].Inc()
	case isOwnership(err):
		h.count.handed[handedRefused].Inc()
	default:
		h.count.handed[handedFailed].Inc()
	}
	return reply, err
}

// deliver is the one way from this door to the dispatcher, for notifications that
// arrived here and for relayed ones. It makes sure, at the last moment, that
// this node acts for the call and has a valid lease: as the partition's owner, or
// as the node that the call is reserved for, at its older epoch.
func (h *Handler) deliver(ctx context.Context, ho ownership.HandOver) (ownership.Reply, error) {
	owner, ok := h.table.OwnerOf(ho.Call, ho.Partition)
	switch {
	case !ok:
		return ownership.Reply{}, fmt.Errorf("handing over call %s: partition %d: %w", ho.Call, ho.Partition, ownership.ErrUnknown)
	case !owner.Here:
		return ownership.Reply{}, fmt.Errorf("handing over call %s of partition %d: it belongs to %s: %w", ho.Call, ho.Partition, owner.Node, ownership.ErrStaleEpoch)
	case ho.Epoch > owner.Epoch:
		return ownership.Reply{}, fmt.Errorf("handing over call %s of partition %d: it is at epoch %d here, not %d: %w", ho.Call, ho.Partition, owner.Epoch, ho.Epoch, ownership.ErrFutureEpoch)
	case !owner.Acting || !h.table.Holds(ho.Call, ho.Partition, owner.Epoch):
		if reply, ok := h.dispatcher.Handled(ho); ok {
			return reply, nil // the fence stands before acts, and this is none
		}
		return ownership.Reply{}, fmt.Errorf("handing over call %s: partition %d: %w", ho.Call, ho.Partition, ownership.ErrFenced)
	}
	if known, ok := h.table.Find(ho.Call); ok {
		switch {
		case known.App != ho.App: // whoever relayed it knew of no such call
			return ownership.Reply{}, fmt.Errorf("handing over call %s to the bot of app %s: %w", ho.Call, ho.App, ownership.ErrOtherApp)
		case known.State == ownership.CallEnded:
			h.diary.handed(&ho, history.Replied, "the call has ended: its bot is not told")
			return ownership.Reply{Status: http.StatusAccepted}, nil
		}
	}
	// An older epoch means that the call was adopted since: its present owner is
	// this node, and what the bot hears is the present epoch.
	ho.Epoch = owner.Epoch
	ho.CallbackURI = h.CallbackURI(ho.Partition, owner.Epoch, string(ho.Call))
	if ho.Event == ownership.EventIncoming {
		return h.dispatcher.Incoming(ctx, ho)
	}
	return h.dispatcher.Update(ctx, ho)
}
