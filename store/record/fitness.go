package record

import (
	"fmt"
	"maps"
	"slices"

	"tandem/ownership"
	"tandem/store/tablepb"
)

// fitnessOut writes what the leader knew of the nodes, in an order that is the
// same for the same facts.
func fitnessOut(m map[ownership.NodeID]ownership.Fitness, format uint32) []*tablepb.Fitness {
	if len(m) == 0 {
		return nil
	}
	out := make([]*tablepb.Fitness, 0, len(m))
	for _, id := range slices.Sorted(maps.Keys(m)) {
		f := m[id]
		p := &tablepb.Fitness{
			Node: string(id), Leased: f.Leased, Bot: f.Bot, Load: f.Load,
			Room: int64(clampCount(f.Room)), Recent: int64(clampCount(f.Recent)),
		}
		if format >= ownership.FormatReservations && f.Apps != nil {
			p.ByApp = true
			for _, app := range slices.Sorted(maps.Keys(f.Apps)) {
				a := f.Apps[app]
				p.Apps = append(p.Apps, &tablepb.AppFitness{App: string(app), Bot: a.Bot, Load: a.Load, Room: int64(clampCount(a.Room))})
			}
		}
		out = append(out, p)
	}
	return out
}

func (r *reader) fitness(in []*tablepb.Fitness) map[ownership.NodeID]ownership.Fitness {
	if len(in) == 0 {
		return nil
	}
	out := make(map[ownership.NodeID]ownership.Fitness, len(in))
	for _, f := range in {
		known(r, f)
		out[ownership.NodeID(f.GetNode())] = ownership.Fitness{
			Leased: f.GetLeased(), Bot: f.GetBot(), Load: f.GetLoad(),
			Room: r.count(f.GetRoom(), "a node's room"), Recent: r.count(f.GetRecent(), "a node's recent calls"),
			Apps: r.appFitness(f),
		}
	}
	return out
}

func (r *reader) appFitness(f *tablepb.Fitness) map[ownership.AppID]ownership.AppFitness {
	if !f.GetByApp() {
		if len(f.GetApps()) > 0 && r.bad == nil {
			r.bad = fmt.Errorf("%w: it names apps of node %q but does not go by app", ErrBadCommand, f.GetNode())
		}
		return nil
	}
	out := make(map[ownership.AppID]ownership.AppFitness, len(f.GetApps()))
	for _, a := range f.GetApps() {
		known(r, a)
		out[ownership.AppID(a.GetApp())] = ownership.AppFitness{
			Bot: a.GetBot(), Load: a.GetLoad(), Room: r.count(a.GetRoom(), "an app's room"),
		}
	}
	return out
}
