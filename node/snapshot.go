package node

import (
	"io"

	"tandem/store"
)

// InspectSnapshot reads a whole snapshot of any region and verifies its checksum and
// every record. It needs no running node.
func InspectSnapshot(r io.Reader) (store.SnapshotInfo, error) { return store.Inspect(r) }
