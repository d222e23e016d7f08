// Package tablepb holds the protobuf messages of the table: the commands in the
// raft log, the records in table.db and the head of a snapshot.
package tablepb

//go:generate protoc --go_out=../.. --go_opt=module=tandem -I . table.proto
