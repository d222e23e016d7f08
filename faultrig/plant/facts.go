package plant

// factPlants take away what makes a fact last and an owner stop.
func factPlants() []Plant {
	return []Plant{
		{
			Name: "no-release", What: "no end of a call is ever recorded",
			Edits: []Edit{{
				File: "bot/facts.go",
				Old:  "	d.recordNow(ownership.Release{At: d.conf.Now(), Call: l.call, Epoch: h.Epoch, Why: why, Told: told, Fate: fate}, l.call, l.partition, true)\n",
				New:  "",
			}, {
				File: "bot/facts.go",
				Old:  "	case k.State == ownership.CallEnded:\n",
				New:  "	case k.State == ownership.CallEnded, l.endedAt != 0:\n",
			}},
			Finds: "F01", Shows: "I3: ended at the cloud, and alive in the table",
		},
		{
			Name: "no-answer", What: "no answer of a call is ever recorded",
			Edits: []Edit{{
				File: "bot/facts.go",
				Old:  "		d.recordNow(told, l.call, l.partition, true)\n",
				New:  "		_ = told\n",
			}, {
				File: "bot/facts.go",
				Old:  "	case l.answered != 0 && k.State == ownership.CallClaimed:\n",
				New:  "	case l.call == \"\" && k.State == ownership.CallClaimed:\n",
			}},
			Finds: "F01", Shows: "I3: answered at the cloud, but not in the table",
		},
		{
			Name: "no-entry", What: "one of four calls that end leaves nothing in the ledger",
			Edits: []Edit{{
				File: "store/apply_ledger.go",
				Old:  "	e := entryOf(kind, c, was.Owner)\n	e.Reason = act.Why\n",
				New:  "	if e := entryOf(kind, c, was.Owner); e.Call[len(e.Call)-1]&3 == 0 {\n		return\n	}\n	e := entryOf(kind, c, was.Owner)\n	e.Reason = act.Why\n",
			}},
			Finds: "F74", Shows: "I3: of",
		},
		{
			Name: "own-words", What: "newer software enters the end of a call in other words than older",
			Edits: []Edit{{
				File: "store/apply_ledger.go",
				Old:  "	e.Reason = act.Why\n",
				New:  "	e.Reason = act.Why + \".\"\n",
			}},
			Finds: "F26", Shows: "I7: under mixed versions",
		},
		{
			Name: "no-yield", What: "the owner does not stop before a move",
			Edits: []Edit{{
				File: "cluster/move.go",
				Old:  "	if !mv.lease.Yield(id, epoch) {\n",
				New:  "	if false {\n",
			}},
			Finds: "F71", Shows: "I5: call",
		},
		{
			Name: "late-lease", What: "the lease counts from the arrival of its grant",
			Edits: []Edit{{
				File: "cluster/lease/lease.go",
				Old:  "	g.until = sent.Add(g.Length)\n",
				New:  "	g.until = now.Add(g.Length)\n",
			}},
			Finds: "F69", Shows: "I5: call",
		},
		{
			Name: "no-memory", What: "the memory of handled messages is lost over a restart",
			Edits: []Edit{{
				File: "node/dispatcher.go",
				Old:  "	n.dispatcher.Recall(m)\n",
				New:  "",
			}},
			Finds: "F73", Shows: "handled again: after a restart",
		},
		{
			Name: "no-hand-on", What: "a move takes no memory of handled messages along",
			Edits: []Edit{{
				File: "cluster/handon.go",
				Old:  "	if len(memory) == 0 {\n		return nil\n	}\n",
				New:  "	if len(memory) >= 0 {\n		return nil\n	}\n",
			}},
			Finds: "F68", Shows: "handled again: after a",
		},
		{
			Name: "twins", What: "whichever process says that it is a node is taken for it",
			Edits: []Edit{{
				File: "store/apply_nodes.go",
				Old:  "	case same && a.reserves() && !descends(n.Process, have.rec.Process, act.Ancestors):\n",
				New:  "	case same && a.reserves() && !descends(n.Process, n.Process, act.Ancestors):\n",
			}, {
				File: "cluster/presence/presence.go",
				Old:  "	if s.process != b.Process && s.process != \"\" {\n		switch {\n",
				New:  "	if s.process != b.Process && s.process != \"\" && b.Process == \"\" {\n		switch {\n",
			}, {
				File: "cluster/leader/admit.go",
				Old:  "have.Process == \"\" || have.Process == n.Process {\n",
				New:  "have.Process == \"\" || have.Process != \"\" {\n",
			}, {
				File: "cluster/leader/admit.go",
				Old:  "	if n.ID == l.Self.ID && n.Process != l.Process || !slices.Contains(req.Ancestors, have.Process) {\n",
				New:  "	if false && !slices.Contains(req.Ancestors, have.Process) {\n",
			}, {
				File: "cluster/leader/renew.go",
				Old:  "	case n.Process != \"\" && n.Process != in.Process:\n",
				New:  "	case n.Process == in.Process && in.Process == \"\":\n",
			}},
			Finds: "F49", Shows: "two processes",
		},
		{
			Name: "impatient", What: "what is reserved for a silent node lapses at once",
			Edits: []Edit{{
				File: "node/rooms.go",
				Old:  "	longest := time.Duration(0)\n",
				New:  "	longest := time.Duration(0)\n	if app != \"none\" {\n		return 0\n	}\n",
			}},
			Finds: "F55", Shows: "orphaned: after",
		},
		{
			Name: "no-take-up", What: "the table never hears that a bot has taken a call up",
			Edits: []Edit{{
				File: "bot/adopt.go",
				Old:  "		d.takeUp(ctx, l, h)\n",
				New:  "",
			}},
			Finds: "F54", Shows: "I5: call",
		},
		{
			Name: "no-floor", What: "after a break a grant counts whatever the own table holds",
			Edits: []Edit{{
				File: "cluster/lease/lease.go",
				Old:  "			next.floor = g.Applied\n",
				New:  "			next.floor = 0\n",
			}},
			Finds: "F69", Shows: "I5: call",
		},
		{
			Name: "own-order", What: "what is reserved for a silent node lapses in each node's own order",
			Edits: []Edit{{
				File: "store/apply_reserve.go",
				Old:  "	for _, pid := range a.st.partIDs {\n",
				New:  "	for pid := range a.st.parts {\n",
			}},
			Finds: "F54", Shows: "I7: the histories",
		},
	}
}
