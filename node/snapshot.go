package node

import (
	"io"

	"tandem/store"
	"tandem/store/snapfile"
)

// SnapshotInfo says whose a snapshot is and what it holds.
type SnapshotInfo = store.SnapshotInfo

// InspectSnapshot reads a whole saved snapshot of any region, signed or not, and
// verifies its checksum and every record. It needs no running node. The signature is
// the region's to check.
func InspectSnapshot(r io.ReaderAt, size int64) (SnapshotInfo, error) {
	saved, err := snapfile.OpenSaved(r, size)
	if err != nil {
		return SnapshotInfo{}, err
	}
	return store.Inspect(saved)
}
