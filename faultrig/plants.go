package faultrig

// Plant is one guard taken out of the product, to see that the rig notices. The
// product itself has no switch for it: a copy of one source file is changed in
// one place and put over the real one when the program is built.
type Plant struct {
	Name   string
	What   string
	Module string // of the file; empty: the product's own
	File   string // below the module's directory
	Old    string // stands in the file exactly once
	New    string
	Finds  string // the fault that must bring it to light
}

// Plants are the bugs that the rig must find.
func Plants() []Plant {
	return []Plant{
		{
			Name: "no-lease", What: "a node acts as owner without a lease, at whatever epoch it believes in",
			File:  "cluster/lease.go",
			Old:   "	if !l.valid(now) {\n		return false\n	}\n	if y := l.yielded.Load()",
			New:   "	if l.granted.Load() != nil {\n		return true\n	}\n	if y := l.yielded.Load()",
			Finds: "F13",
		},
		{
			Name: "no-sync", What: "the raft log is written without fsync",
			Module: "github.com/hashicorp/raft-wal", File: "fs/file.go",
			Old:   "	if err := f.File.Sync(); err != nil {\n		return err\n	}\n",
			New:   "	if f != nil {\n		return nil\n	}\n",
			Finds: "F06",
		},
		{
			Name: "stale-read", What: "a linearizable read is answered from this node's memory",
			File:  "cluster/propose.go",
			Old:   "	const doing = \"waiting for the table to be up to date\"\n",
			New:   "	const doing = \"waiting for the table to be up to date\"\n	if doing != \"\" {\n		return nil\n	}\n",
			Finds: "F01",
		},
		{
			Name: "no-epoch", What: "a node acts at an epoch that has passed",
			File:  "cluster/claim.go",
			Old:   "	return ok && !p.Retired && p.Owner == c.self && p.Epoch == epoch &&\n		c.lease.holds(id, epoch, applied, time.Now())\n",
			New:   "	return ok && !p.Retired && (p.Epoch >= epoch || c.lease.holds(id, epoch, applied, time.Now()))\n",
			Finds: "F13",
		},
		{
			Name: "no-watchdog", What: "nobody looks whether the disk still answers",
			File:  "cluster/watchdog.go",
			Old:   "	w.last.Store(int64(time.Since(w.base)))\n	failures := make(chan error, 1)\n",
			New:   "	w.last.Store(int64(time.Since(w.base)))\n	if w != nil {\n		return\n	}\n	failures := make(chan error, 1)\n",
			Finds: "F11",
		},
	}
}
