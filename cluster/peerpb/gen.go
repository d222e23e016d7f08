// Package peerpb holds the messages of the peer link. See peer.proto.
package peerpb

//go:generate protoc -I.. --go_out=.. --go_opt=module=tandem/cluster ../peerpb/peer.proto
