package faultrig

// factPlants take away what makes a fact last and an owner stop.
func factPlants() []Plant {
	return []Plant{
		{
			Name: "no-release", What: "no end of a call is ever recorded",
			Edits: []Edit{{
				File: "bot/facts.go",
				Old:  "	d.recordNow(ownership.Release{At: d.conf.Now(), Call: l.call, Epoch: h.Epoch, Why: why, Told: told}, l.call, l.partition, true)\n",
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
			Name: "no-yield", What: "the owner does not stop before a move",
			Edits: []Edit{{
				File: "cluster/move.go",
				Old:  "	c.lease.yield(id, epoch)\n",
				New:  "",
			}},
			Finds: "F71", Shows: "I5: call",
		},
		{
			Name: "late-lease", What: "the lease counts from the arrival of its grant",
			Edits: []Edit{{
				File: "cluster/lease.go",
				Old:  "	g.until = sent.Add(g.length)\n",
				New:  "	g.until = now.Add(g.length)\n",
			}},
			Finds: "F69", Shows: "I5: call",
		},
		{
			Name: "no-memory", What: "the memory of handled messages is lost over a restart",
			Edits: []Edit{{
				File: "node/desk.go",
				Old:  "	n.desk.Recall(m)\n",
				New:  "",
			}},
			Finds: "F73", Shows: "handled again: after a restart",
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
