package node

import (
	"io"

	"tandem/store"
)

// SnapshotInfo says whose a snapshot is and what it holds.
type SnapshotInfo = store.SnapshotInfo

// InspectSnapshot reads a whole snapshot of any region and verifies its checksum and
// every record. It needs no running node.
func InspectSnapshot(r io.Reader) (SnapshotInfo, error) { return store.Inspect(r) }
