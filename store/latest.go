package store

import (
	"encoding/binary"
	"fmt"
	"slices"

	"tandem/ownership/history"
)

// Latest returns the newest events, at most limit, oldest first.
func (t *Table) Latest(limit int) ([]history.Event, error) {
	pending, tx, err := t.pendingEvents(0)
	if err != nil {
		return nil, fmt.Errorf("reading the end of the history: %w", err)
	}
	pending = pending[max(0, len(pending)-limit):]
	var out []history.Event // newest first
	for _, e := range slices.Backward(pending) {
		read, err := readEvent(eventKey(e.id), e.value)
		if err != nil {
			return nil, fmt.Errorf("reading the end of the history: %w", err)
		}
		out = append(out, read)
	}
	if tx != nil {
		defer func() { _ = tx.Rollback() }() // of a read transaction: it cannot fail
		c := tx.Bucket(bucketEvents).Cursor()
		for k, v := c.Last(); k != nil && len(out) < limit; k, v = c.Prev() {
			if len(pending) > 0 && len(k) == 8 && binary.BigEndian.Uint64(k) >= pending[0].id {
				continue // the file has caught up with what was pending
			}
			read, err := readEvent(k, v)
			if err != nil {
				return nil, fmt.Errorf("reading the end of the history: %w", err)
			}
			out = append(out, read)
		}
	}
	slices.Reverse(out)
	return out, nil
}
