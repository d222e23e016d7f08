// Package peerpb holds the procedures and messages of the peer link. See peer.proto.
package peerpb

//go:generate protoc -I.. --go_out=.. --go_opt=module=tandem/cluster --connect-go_out=.. --connect-go_opt=module=tandem/cluster,package_suffix=,simple ../peerpb/peer.proto
