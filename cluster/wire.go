package cluster

import (
	"time"

	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store/record"
)

func outcomeToWire(o *ownership.Outcome) *peerpb.Outcome {
	w := &peerpb.Outcome{Index: o.Index, Fault: transport.ToFault(o.Err)}
	for _, p := range o.Placements {
		w.Placements = append(w.Placements, placementToWire(p))
	}
	for i := range max(len(o.Placements), len(o.Errors)) {
		var err error
		if i < len(o.Errors) {
			err = o.Errors[i]
		}
		w.Faults = append(w.Faults, transport.ToFault(err))
	}
	for _, m := range o.Moves {
		w.Moves = append(w.Moves, &peerpb.Reassignment{Partition: uint32(m.Partition), From: string(m.From), To: string(m.To), Epoch: uint64(m.Epoch)})
	}
	return w
}

func outcomeFromWire(w *peerpb.Outcome) *ownership.Outcome {
	o := &ownership.Outcome{Index: w.GetIndex(), Err: transport.FromFault(w.GetFault())}
	faults := w.GetFaults()
	for _, p := range w.GetPlacements() {
		o.Placements = append(o.Placements, placementFromWire(p))
	}
	for i := range max(len(o.Placements), len(faults)) {
		var err error
		if i < len(faults) {
			err = transport.FromFault(faults[i])
		}
		o.Errors = append(o.Errors, err)
	}
	for _, m := range w.GetMoves() {
		o.Moves = append(o.Moves, ownership.Reassignment{
			Partition: ownership.PartitionID(m.GetPartition()), From: ownership.NodeID(m.GetFrom()),
			To: ownership.NodeID(m.GetTo()), Epoch: ownership.Epoch(m.GetEpoch()),
		})
	}
	return o
}

func placementToWire(p ownership.Placement) *peerpb.Placement {
	w := &peerpb.Placement{Partition: uint32(p.Partition), Epoch: uint64(p.Epoch), Owner: string(p.Owner), Reason: string(p.Reason)}
	for _, c := range p.Candidates {
		w.Candidates = append(w.Candidates, &peerpb.Candidate{Node: string(c.Node), Score: c.Score, Rejected: c.Rejected})
	}
	return w
}

func placementFromWire(w *peerpb.Placement) ownership.Placement {
	p := ownership.Placement{
		Partition: ownership.PartitionID(w.GetPartition()), Epoch: ownership.Epoch(w.GetEpoch()),
		Owner: ownership.NodeID(w.GetOwner()), Reason: ownership.Reason(w.GetReason()),
	}
	for _, c := range w.GetCandidates() {
		p.Candidates = append(p.Candidates, ownership.Candidate{Node: ownership.NodeID(c.GetNode()), Score: c.GetScore(), Rejected: c.GetRejected()})
	}
	return p
}

func handOverToWire(h ownership.HandOver) *peerpb.HandOver {
	return &peerpb.HandOver{
		Event: string(h.Event), App: string(h.App), Tenant: string(h.Tenant), Call: string(h.Call), RawCall: h.RawCall,
		Partition: uint32(h.Partition), Epoch: uint64(h.Epoch), CallbackUri: h.CallbackURI, Deadline: nanos(h.Deadline),
		MessageId: h.MessageID, Ends: h.Ends, Result: h.Result, Recording: h.Recording, Received: nanos(h.Received),
		Header: headerToWire(h.Header), Body: h.Body, Thread: h.Thread, Organizer: h.Organizer,
	}
}

func handOverFromWire(w *peerpb.HandOver) ownership.HandOver {
	return ownership.HandOver{
		Event: ownership.Event(w.GetEvent()), App: ownership.AppID(w.GetApp()), Tenant: ownership.TenantID(w.GetTenant()),
		Call: ownership.CallID(w.GetCall()), RawCall: w.GetRawCall(), Partition: ownership.PartitionID(w.GetPartition()),
		Epoch: ownership.Epoch(w.GetEpoch()), CallbackURI: w.GetCallbackUri(), Deadline: record.Time(w.GetDeadline()),
		MessageID: w.GetMessageId(), Ends: w.GetEnds(), Result: w.GetResult(), Recording: w.GetRecording(), Received: record.Time(w.GetReceived()),
		Header: headerFromWire(w.GetHeader()), Body: w.GetBody(), Thread: w.GetThread(), Organizer: w.GetOrganizer(),
	}
}

func replyToWire(r ownership.Reply) *peerpb.Reply {
	return &peerpb.Reply{Status: int32(r.Status), Header: headerToWire(r.Header), Body: r.Body}
}

func replyFromWire(w *peerpb.Reply) ownership.Reply {
	return ownership.Reply{Status: int(w.GetStatus()), Header: headerFromWire(w.GetHeader()), Body: w.GetBody()}
}

func headerToWire(h map[string][]string) map[string]*peerpb.Values {
	if h == nil {
		return nil
	}
	out := make(map[string]*peerpb.Values, len(h))
	for k, v := range h {
		out[k] = &peerpb.Values{Values: v}
	}
	return out
}

func headerFromWire(h map[string]*peerpb.Values) map[string][]string {
	if h == nil {
		return nil
	}
	out := make(map[string][]string, len(h))
	for k, v := range h {
		out[k] = v.GetValues()
	}
	return out
}

// nanos writes a time for the wire; the zero time becomes 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// moment reads what nanos wrote.
func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

func regionToWire(w *peerpb.RenewReply, f ownership.RegionFitness) {
	for _, r := range f.Rooms {
		w.Rooms = append(w.Rooms, &peerpb.AppRoom{App: string(r.App), Room: uint32(r.Room), Healthy: r.Healthy})
	}
	for _, s := range f.Silent {
		w.Silent = append(w.Silent, string(s.Node)) // for older software
		out := &peerpb.Silence{Node: string(s.Node), Since: nanos(s.Since), Cause: string(s.Cause)}
		for _, i := range s.Went {
			out.Went = append(out.Went, &peerpb.Inherited{Node: string(i.Node), Partitions: uint32(i.Partitions)})
		}
		w.Silences = append(w.Silences, out)
	}
	for _, d := range f.Differs {
		w.Differs = append(w.Differs, &peerpb.Difference{Node: string(d.Node), Key: d.Key})
	}
	w.Versions = statesToWire(f.Versions)
}

func regionFromWire(w *peerpb.RenewReply) (f ownership.RegionFitness) {
	for _, r := range w.GetRooms() {
		f.Rooms = append(f.Rooms, ownership.AppRoom{App: ownership.AppID(r.GetApp()), Room: int(r.GetRoom()), Healthy: r.GetHealthy()})
	}
	for _, s := range w.GetSilences() {
		in := ownership.Silence{Node: ownership.NodeID(s.GetNode()), Since: moment(s.GetSince()), Cause: ownership.Cause(s.GetCause())}
		for _, i := range s.GetWent() {
			in.Went = append(in.Went, ownership.Inherited{Node: ownership.NodeID(i.GetNode()), Partitions: int(i.GetPartitions())})
		}
		f.Silent = append(f.Silent, in)
	}
	if len(f.Silent) == 0 { // a leader of older software tells names only
		for _, id := range w.GetSilent() {
			f.Silent = append(f.Silent, ownership.Silence{Node: ownership.NodeID(id)})
		}
	}
	for _, d := range w.GetDiffers() {
		f.Differs = append(f.Differs, ownership.Difference{Node: ownership.NodeID(d.GetNode()), Key: d.GetKey()})
	}
	f.Versions = statesFromWire(w.GetVersions())
	return f
}

func appsToWire(apps map[ownership.AppID]ownership.AppFitness) []*peerpb.AppHealth {
	out := make([]*peerpb.AppHealth, 0, len(apps))
	for id, a := range apps {
		out = append(out, &peerpb.AppHealth{App: string(id), Bot: a.Bot, Load: a.Load, Room: uint32(max(a.Room, 0))})
	}
	return out
}

// appsFromWire returns nil for a node of older software, which names no app.
func appsFromWire(in []*peerpb.AppHealth) map[ownership.AppID]ownership.AppFitness {
	if len(in) == 0 {
		return nil
	}
	out := make(map[ownership.AppID]ownership.AppFitness, len(in))
	for _, a := range in {
		out[ownership.AppID(a.GetApp())] = ownership.AppFitness{Bot: a.GetBot(), Load: a.GetLoad(), Room: int(a.GetRoom())}
	}
	return out
}

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
