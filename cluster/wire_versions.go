package cluster

import (
	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// mostTallies bounds what one renewal tells of versions of bots.
const mostTallies = 1024

func talliesToWire(all []ownership.VersionTally) (out []*peerpb.VersionTally) {
	for i := range all {
		out = append(out, tallyToWire(&all[i]))
	}
	return out
}

func tallyToWire(t *ownership.VersionTally) *peerpb.VersionTally {
	return &peerpb.VersionTally{
		App: string(t.App), Version: t.Version, Runs: t.Runs, Taken: t.Taken, Well: t.Well, Bad: t.Bad, Short: t.Short, Other: t.Other, Code: t.Code,
	}
}

func talliesFromWire(in []*peerpb.VersionTally) (all []ownership.VersionTally) {
	for _, t := range in[:min(len(in), mostTallies)] {
		all = append(all, tallyFromWire(t))
	}
	return all
}

func tallyFromWire(t *peerpb.VersionTally) ownership.VersionTally {
	return ownership.VersionTally{
		App: ownership.AppID(t.GetApp()), Version: t.GetVersion(), Runs: t.GetRuns(), Taken: t.GetTaken(), Well: t.GetWell(), Bad: t.GetBad(),
		Short: t.GetShort(), Other: t.GetOther(), Code: t.GetCode(),
	}
}

func statesToWire(all []ownership.VersionState) (out []*peerpb.VersionState) {
	for i := range all {
		s := &all[i]
		w := &peerpb.VersionState{
			Tally: tallyToWire(&s.VersionTally), Since: s.Since, Fresh: s.Fresh, Proven: s.Proven, Alone: s.Alone, Hurt: s.Hurt, Bound: s.Bound,
		}
		for _, n := range s.Nodes {
			w.Nodes = append(w.Nodes, string(n))
		}
		out = append(out, w)
	}
	return out
}

func statesFromWire(in []*peerpb.VersionState) (all []ownership.VersionState) {
	for _, w := range in {
		s := ownership.VersionState{
			VersionTally: tallyFromWire(w.GetTally()), Nodes: nodeIDs(w.GetNodes()), Since: w.GetSince(), Fresh: w.GetFresh(), Proven: w.GetProven(),
			Alone: w.GetAlone(), Hurt: w.GetHurt(), Bound: w.GetBound(),
		}
		s.Live = s.VersionTally.Live()
		all = append(all, s)
	}
	return all
}
