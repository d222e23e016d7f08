// Package store is everything that one node keeps on disk: the raft log, raft's
// snapshots, and the ownership table, which is what the log's acts make.
//
// # One writer, many readers
//
// The table is changed by one goroutine only: raft's, which calls Apply,
// Snapshot and Restore one after the other. Everything else reads, from any
// goroutine, under a read lock that is held for as long as one look into memory
// takes; listings and snapshots read bbolt's own frozen view and hold no lock.
// A second goroutine writes behind: it takes what has changed and commits it to
// table.db. It never changes the table, so readers and Apply do not wait for
// the disk.
//
// What a renewal of a lease asks for (nodes, partitions, counts, the applied index,
// sums) is answered from a frozen roster and atomic counts, without any lock: an act
// or a restore that takes long must not make a living node look dead.
//
// # Who acts for a call
//
// A call's record does not say it alone. It keeps the epoch at which the call was
// claimed, answered or taken up; with the record of its partition
// (ownership.Partition.Stands) that gives who acts for it now. So a change of owner
// writes one record a partition, whatever is in it, and everything that the table
// tells of calls is told as they stand. What a record means may be counted but is
// never stored: a start, a snapshot and a restore count it anew.
//
// # What lies where
//
// The raft log (hashicorp/raft-wal, in raft/) is the durable copy of every act:
// an act is acknowledged once a quorum has it there. table.db (bbolt) follows
// at most FlushEvery later, each time in one transaction with fsync that also
// says how far in the log it is. A start proves and reads table.db and replays
// the log from there. In memory stand the nodes, the partitions, and of each
// call about 70 to 100 bytes without a pointer; whole records of calls are read
// from the file, or from what still waits for it.
//
// An fsync in Apply would cost a factor of twenty, and no bbolt at all would
// make a start replay everything: etcd writes behind in the same way.
//
// # How to set raft up
//
// Before raft starts, ask RestoreOnStart and set NoSnapshotRestoreOnStart to its
// opposite. Give raft a LogCache over Log, Stable, Snapshots and Table. Close
// the store after raft has stopped. To restore a saved snapshot, read it with
// Inspect first and pass raft its Applied and Term in the raft.SnapshotMeta;
// raft panics when a snapshot turns out to be refused later.
//
// # What is refused
//
// Data of another deployment, region or node; a file with a wrong checksum, a
// wrong sum over its records or a wrong structure; a command that this software
// cannot read. The first two keep the node from starting, the last one stops
// it. None of them is ever skipped: a table that differs from the others is
// worse than a node less.
package store
