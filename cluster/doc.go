// Package cluster is one region's raft group: who belongs to it, who leads it,
// how acts reach the table, and which node may act as an owner right now.
//
// One listening port carries two protocols under mutual TLS, told apart by
// ALPN: the raft stream and the peer link (Connect over HTTP/2). A node's
// certificate names it with the URI tandem://{deployment}/{region}/{node}; both
// sides check it, and every raft message and every peer request is held against
// the certificate of the connection that carried it, because whoever may speak
// raft controls the region.
//
// The way of a claim: a known call is answered from memory. Else the claim goes
// to the leader, combined with the others that are waiting; the leader combines
// again, adds the time and what it knows of the nodes' fitness, and writes one
// raft entry. Nothing here waits for raft without a deadline: with a stalled
// disk, Apply and VerifyLeader block for ever.
//
// Leadership is not ownership. An owner acts on a lease that it renews with the
// leader, counted from the moment the request was sent, and granted only after
// the leader made sure of its leadership with a quorum in the same round. So a
// lease is over before the leader (this one, or the next after waiting a whole
// lease) gives the partitions to others. See the rooms lease
// and leader.
package cluster
