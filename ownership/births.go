package ownership

// FirstEpoch is the epoch of a partition under its first owner.
const FirstEpoch Epoch = 1

// Births returns the k partitions that are born on a node when it joins, numbered
// from next on. The caller keeps the region's highest number, so that none is
// ever used again. With k below 1 there are none.
func Births(nodeID NodeID, next PartitionID, k int) []Partition {
	if k < 1 {
		return nil
	}
	born := make([]Partition, k)
	for i := range born {
		born[i] = Partition{ID: next + PartitionID(i), Owner: nodeID, Epoch: FirstEpoch, BornOn: nodeID}
	}
	return born
}
