package admin

import (
	"sync"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// movedFor is how long a partition counts as just moved.
const movedFor = time.Minute

// moves remembers which partitions changed owner in the last minute. It reads the history's
// events of owners when somebody asks, from where it stopped.
type moves struct {
	mu    sync.Mutex
	after uint64
	all   map[ownership.PartitionID]api.Moved
}

// recent returns them.
func (m *moves) recent(j Journal, now time.Time) (map[ownership.PartitionID]api.Moved, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	events, err := j.Owning(m.after)
	if err != nil {
		return nil, err
	}
	if m.all == nil {
		m.all = map[ownership.PartitionID]api.Moved{}
	}
	for _, e := range events {
		m.after = max(m.after, e.ID)
		if e.Kind == history.Moved {
			m.all[e.Partition] = api.Moved{From: e.From, At: e.At}
		}
	}
	out := map[ownership.PartitionID]api.Moved{}
	for id, moved := range m.all {
		if now.Sub(moved.At) > movedFor {
			delete(m.all, id)
			continue
		}
		out[id] = moved
	}
	return out, nil
}
