// Package clocks holds the timings of a region.
package clocks

import "time"

// Timings are the clocks of a region; zero fields take the shipped default.
// They must be the same on all nodes of a region.
type Timings struct {
	Heartbeat     time.Duration // raft: silence before an election; 350 ms
	Election      time.Duration // raft: silence of a candidate; 350 ms
	LeaderLease   time.Duration // raft: a leader without quorum steps down; 300 ms
	Commit        time.Duration // raft: how soon followers learn of a commit when idle; 25 ms
	Renew         time.Duration // a node renews its lease this often; 500 ms
	Lease         time.Duration // how long a lease lasts; 2 s
	Drift         time.Duration // margin over a lease for clocks of different speed; 250 ms
	Settle        time.Duration // how long a new leader waits to hear from the nodes before it places calls; 100 ms
	Decide        time.Duration // bound of Claim and Do, elections included; 1 s
	Handshake     time.Duration // TLS handshake or preface of a new connection; 5 s
	Relay         time.Duration // bound of a relay whose context has none; 10 s
	Canary        time.Duration // disk watchdog: writes this often; 500 ms
	DiskStall     time.Duration // disk watchdog: a write may take this long; 3 s
	Announce      time.Duration // how often a node that is not yet in asks again; 250 ms
	Stabilise     time.Duration // how long a non-voter must be well before it gets a vote; 10 s
	DeadVoter     time.Duration // how long a voter may be silent before a well non-voter takes its vote; 30 s
	SnapshotEvery time.Duration // raft: how often it looks whether a snapshot is due; 2 min
}

// Shipped are the timings of a region that sets none.
var Shipped = Timings{
	Heartbeat: 350 * time.Millisecond, Election: 350 * time.Millisecond,
	LeaderLease: 300 * time.Millisecond, Commit: 25 * time.Millisecond,
	Renew: 500 * time.Millisecond, Lease: 2 * time.Second, Drift: 250 * time.Millisecond,
	Settle: 100 * time.Millisecond, Decide: time.Second,
	Handshake: 5 * time.Second, Relay: 10 * time.Second,
	Canary: 500 * time.Millisecond, DiskStall: 3 * time.Second,
	Announce: 250 * time.Millisecond, Stabilise: 10 * time.Second,
	DeadVoter: 30 * time.Second, SnapshotEvery: 2 * time.Minute,
}

// Fill puts what is shipped where nothing is set.
func (t *Timings) Fill() {
	d := Shipped
	for _, f := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&t.Heartbeat, d.Heartbeat}, {&t.Election, d.Election}, {&t.LeaderLease, d.LeaderLease},
		{&t.Commit, d.Commit}, {&t.Renew, d.Renew}, {&t.Lease, d.Lease}, {&t.Drift, d.Drift},
		{&t.Settle, d.Settle}, {&t.Decide, d.Decide}, {&t.Handshake, d.Handshake},
		{&t.Relay, d.Relay}, {&t.Canary, d.Canary}, {&t.DiskStall, d.DiskStall},
		{&t.Announce, d.Announce}, {&t.Stabilise, d.Stabilise}, {&t.DeadVoter, d.DeadVoter},
		{&t.SnapshotEvery, d.SnapshotEvery},
	} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
}
