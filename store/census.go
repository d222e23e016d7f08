package store

import (
	"slices"

	"tandem/ownership"
	"tandem/store/index"
)

// Census counts the calls of a node that have not ended, by app and state: those that it
// acts for, and the orphans for its bot to rejoin. It looks at one partition at a time, so that no act waits for all.
func (t *Table) Census(id ownership.NodeID) map[ownership.AppID]map[ownership.CallState]int {
	out := map[ownership.AppID]map[ownership.CallState]int{}
	for _, p := range t.Partitions() {
		if p.Owner == id || slices.ContainsFunc(p.Reserved, func(r ownership.Reservation) bool { return r.Node == id }) {
			t.census(id, p.ID, out)
		}
	}
	return out
}

func (t *Table) census(id ownership.NodeID, in ownership.PartitionID, into map[ownership.AppID]map[ownership.CallState]int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	p, ok := t.st.parts[in]
	if !ok {
		return
	}
	t.st.inPartition(p, func(_ uint32, e *index.Entry) {
		at := t.st.stands(e)
		if at.Owner != id || !at.State.Live() && at.State != ownership.CallOrphaned {
			return
		}
		app := t.st.calls.App(e.App)
		if into[app] == nil {
			into[app] = map[ownership.CallState]int{}
		}
		into[app][at.State]++
	})
}
