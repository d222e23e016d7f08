// Package plant builds the product, as it is or with one guard taken out.
package plant

import (
	"slices"
	"strings"
)

// Plant is one guard taken out of the product, to see that the rig notices. The
// product itself has no switch for it: copies of source files are changed and
// put over the real ones when the program is built.
type Plant struct {
	Name  string
	What  string
	Edits []Edit
	Finds string // the fault that must bring it to light
	Shows string // how the sentences about it begin
}

// Edit is one changed place. Old stands in the file exactly once.
type Edit struct {
	Module string // of the file; empty: the product's own
	File   string // below the module's directory
	Old    string
	New    string
}

// All are the bugs that the rig must find.
func All() []Plant {
	return append([]Plant{
		{
			Name: "no-lease", What: "a node acts as owner without a lease, at whatever epoch it believes in",
			Edits: []Edit{{
				File: "cluster/lease/lease.go",
				Old:  "	return l.Acts(applied, now)\n",
				New:  "	return l.granted.Load() != nil || l.Acts(applied, now)\n",
			}},
			Finds: "F13", Shows: "I5: stale Graph actions",
		},
		{
			// A log without any fsync loses its structure as well, and a table that
			// is ahead of its log is noticed: either way the nodes refuse to start.
			// This is the mistake that shows nowhere but in what is lost.
			Name: "no-sync", What: "claims are acknowledged before fsync, which comes every two seconds",
			Edits: []Edit{
				{
					Module: "github.com/hashicorp/raft-wal", File: "fs/file.go",
					Old: "	if err := f.File.Sync(); err != nil {\n		return err\n	}\n",
					New: "	if at := atomic.LoadInt64(&f.synced); at != 0 && time.Now().UnixNano()-at < int64(2*time.Second) {\n		return nil\n	}\n" +
						"	atomic.StoreInt64(&f.synced, time.Now().UnixNano())\n	if err := f.File.Sync(); err != nil {\n		return err\n	}\n",
				},
				{
					Module: "github.com/hashicorp/raft-wal", File: "fs/file.go",
					Old: "	dir string\n	os.File\n",
					New: "	dir    string\n	synced int64\n	os.File\n",
				},
				{
					Module: "github.com/hashicorp/raft-wal", File: "fs/file.go",
					Old: "	\"sync/atomic\"\n",
					New: "	\"sync/atomic\"\n	\"time\"\n",
				},
				{
					File: "store/options.go",
					Old:  "cmp.Or(o.FlushEvery, 100*time.Millisecond)",
					New:  "cmp.Or(o.FlushEvery, time.Hour)",
				},
			},
			Finds: "F06", Shows: "I3: ",
		},
		{
			Name: "stale-read", What: "a linearizable read is answered from this node's memory",
			Edits: []Edit{{
				File: "cluster/propose.go",
				Old:  "	const doing = \"waiting for the table to be up to date\"\n",
				New:  "	const doing = \"waiting for the table to be up to date\"\n	if doing != \"\" {\n		return nil\n	}\n",
			}},
			Finds: "F01", Shows: "I2: no order explains",
		},
		{
			Name: "no-epoch", What: "a node acts at an epoch that has passed",
			Edits: []Edit{{
				File: "cluster/claim.go",
				Old:  "	switch {\n	case !st.Owns(call, id, epoch):\n",
				New:  "	p, ok := st.tb.Partition(id)\n	switch {\n	case ok && !p.Retired && p.Epoch >= epoch:\n		return true\n	case !st.Owns(call, id, epoch):\n",
			}},
			Finds: "F13", Shows: "I5: stale Graph actions",
		},
		{
			Name: "no-watchdog", What: "nobody looks whether the disk still answers",
			Edits: []Edit{{
				File: "cluster/disk/watchdog.go",
				Old:  "	w.last.Store(int64(time.Since(w.base)))\n	failures := make(chan error, 1)\n",
				New:  "	w.last.Store(int64(time.Since(w.base)))\n	if w != nil {\n		return\n	}\n	failures := make(chan error, 1)\n",
			}},
			Finds: "F11", Shows: "claims did not resume while the leader's disk stood still",
		},
	}, factPlants()...)
}

// Shown returns those of the sentences that the plant must bring; none: it was not
// found.
func (p *Plant) Shown(broken []string) []string {
	return slices.DeleteFunc(slices.Clone(broken), func(b string) bool { return !strings.HasPrefix(b, p.Shows) })
}
