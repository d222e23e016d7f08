// Package transport carries bytes between the nodes of a region: one port for raft and
// the peer link under mutual TLS, the connections that a node opens, the certificates
// that say who speaks, and the errors that keep their meaning on the way. It knows no
// table and no leader: who may speak is asked of whoever made it.
package transport
