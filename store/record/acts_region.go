package record

import (
	"fmt"
	"time"

	"tandem/ownership"
	"tandem/store/tablepb"
)

// Since is the first command format that has an act.
func Since(act ownership.Act) uint32 {
	switch act.(type) {
	case ownership.GrantToken, ownership.RevokeToken, ownership.UseToken:
		return ownership.FormatTokens
	case ownership.TakeUp, ownership.Records, ownership.Found, ownership.SetLease, ownership.Lapse, ownership.Reclaim:
		return ownership.FormatReservations
	case ownership.SetRules, ownership.TellRules:
		return ownership.FormatRules
	}
	return 1
}

// formatOfFields is the first command format that can tell all that an act says.
func formatOfFields(act ownership.Act) uint32 {
	newer := false
	switch a := act.(type) {
	case ownership.Claims:
		newer = byApp(a.Fitness)
	case ownership.Depart:
		newer = byApp(a.Fitness)
	case ownership.Failover:
		newer = byApp(a.Fitness) || len(a.Lapsed) > 0
	case ownership.Release:
		newer = a.Told || a.App != ""
	case ownership.Join:
		newer = len(a.Ancestors) > 0 || a.Node.Process != "" || !a.Node.GoneAt.IsZero()
	}
	if newer {
		return ownership.FormatReservations
	}
	return 1
}

// Needs is the command format that an act needs to be told whole.
func Needs(act ownership.Act) uint32 { return max(Since(act), formatOfFields(act)) }

func byApp(fit map[ownership.NodeID]ownership.Fitness) bool {
	for _, f := range fit {
		if f.Apps != nil {
			return true
		}
	}
	return false
}

// wrapRegionAct puts an act that command format 3 or 4 brought into the command; false:
// it is none.
func wrapRegionAct(cmd *tablepb.Command, act ownership.Act, w *timeWriter) bool {
	switch a := act.(type) {
	case ownership.TakeUp:
		cmd.Act = &tablepb.Command_TakeUp{TakeUp: takeUpOut(&a, w)}
	case ownership.Records:
		m := &tablepb.Records{At: w.ns(a.At), Records: make([]*tablepb.Record, len(a.Acts))}
		for i, act := range a.Acts {
			if m.Records[i] = recordOut(act, cmd.GetFormat(), w); m.Records[i] == nil {
				return false
			}
		}
		cmd.Act = &tablepb.Command_Records{Records: m}
	case ownership.Found:
		cmd.Act = &tablepb.Command_Found{Found: &tablepb.Found{At: w.ns(a.At), Identity: a.Identity}}
	case ownership.SetLease:
		cmd.Act = &tablepb.Command_SetLease{SetLease: &tablepb.SetLease{At: w.ns(a.At), Length: int64(a.Length)}}
	case ownership.Lapse:
		cmd.Act = &tablepb.Command_Lapse{Lapse: &tablepb.Lapse{At: w.ns(a.At), Node: string(a.Node), Apps: words[string](a.Apps)}}
	case ownership.Reclaim:
		cmd.Act = &tablepb.Command_Reclaim{Reclaim: &tablepb.Reclaim{At: w.ns(a.At), Node: string(a.Node)}}
	case ownership.SetRules:
		cmd.Act = &tablepb.Command_SetRules{SetRules: setRulesOut(&a, w)}
	case ownership.TellRules:
		cmd.Act = &tablepb.Command_TellRules{TellRules: &tablepb.TellRules{At: w.ns(a.At), Text: a.Text, Agree: a.Agree}}
	default:
		return false
	}
	return true
}

// unwrapRegionAct takes the act out of a command that holds one of format 3 or 4.
func unwrapRegionAct(cmd *tablepb.Command, r *reader) ownership.Act {
	switch x := cmd.GetAct().(type) {
	case *tablepb.Command_TakeUp:
		return r.takeUp(x.TakeUp)
	case *tablepb.Command_Records:
		m := x.Records
		r.known(m)
		a := ownership.Records{At: Time(m.GetAt())}
		for _, rec := range m.GetRecords() {
			a.Acts = append(a.Acts, r.record(rec))
		}
		return a
	case *tablepb.Command_SetRules:
		return r.setRules(x.SetRules)
	case *tablepb.Command_TellRules:
		m := x.TellRules
		r.known(m)
		return ownership.TellRules{At: Time(m.GetAt()), Text: m.GetText(), Agree: m.GetAgree()}
	case *tablepb.Command_Found:
		m := x.Found
		r.known(m)
		return ownership.Found{At: Time(m.GetAt()), Identity: m.GetIdentity()}
	case *tablepb.Command_SetLease:
		m := x.SetLease
		r.known(m)
		return ownership.SetLease{At: Time(m.GetAt()), Length: time.Duration(m.GetLength())}
	case *tablepb.Command_Lapse:
		m := x.Lapse
		r.known(m)
		return ownership.Lapse{At: Time(m.GetAt()), Node: ownership.NodeID(m.GetNode()), Apps: words[ownership.AppID](m.GetApps())}
	default: // the oneof has no other member
		m := cmd.GetReclaim()
		r.known(m)
		return ownership.Reclaim{At: Time(m.GetAt()), Node: ownership.NodeID(m.GetNode())}
	}
}

// recordOut writes one act of a batch; nil: it cannot be in one.
func recordOut(act ownership.Act, format uint32, w *timeWriter) *tablepb.Record {
	switch a := act.(type) {
	case ownership.Answered:
		return &tablepb.Record{Answered: answeredOut(&a, format, w)}
	case ownership.Release:
		return &tablepb.Record{Release: releaseOut(&a, format, w)}
	case ownership.Seen:
		return &tablepb.Record{Seen: seenOut(&a, w)}
	case ownership.TakeUp:
		return &tablepb.Record{TakeUp: takeUpOut(&a, w)}
	default:
		return nil
	}
}

func (r *reader) record(m *tablepb.Record) ownership.Act {
	r.known(m)
	var acts []ownership.Act
	if m.Answered != nil {
		acts = append(acts, r.answered(m.Answered))
	}
	if m.Release != nil {
		acts = append(acts, r.release(m.Release))
	}
	if m.Seen != nil {
		acts = append(acts, r.seen(m.Seen))
	}
	if m.TakeUp != nil {
		acts = append(acts, r.takeUp(m.TakeUp))
	}
	if len(acts) != 1 {
		if r.bad == nil {
			r.bad = fmt.Errorf("%w: a record of a batch holds %d acts", ErrBadCommand, len(acts))
		}
		return nil
	}
	return acts[0]
}

func answeredOut(a *ownership.Answered, format uint32, w *timeWriter) *tablepb.Answered {
	m := &tablepb.Answered{At: w.ns(a.At), Call: string(a.Call), Epoch: uint64(a.Epoch)}
	if format >= formatOfFacts {
		m.Thread, m.Organizer = a.Thread, a.Organizer
	}
	return m
}

func (r *reader) answered(m *tablepb.Answered) ownership.Act {
	r.known(m)
	return ownership.Answered{
		At: Time(m.GetAt()), Call: ownership.CallID(m.GetCall()), Epoch: ownership.Epoch(m.GetEpoch()),
		Thread: m.GetThread(), Organizer: m.GetOrganizer(),
	}
}

func seenOut(a *ownership.Seen, w *timeWriter) *tablepb.Seen {
	return &tablepb.Seen{At: w.ns(a.At), Calls: words[string](a.Calls)}
}

func (r *reader) seen(m *tablepb.Seen) ownership.Act {
	r.known(m)
	return ownership.Seen{At: Time(m.GetAt()), Calls: words[ownership.CallID](m.GetCalls())}
}

func releaseOut(a *ownership.Release, format uint32, w *timeWriter) *tablepb.Release {
	m := &tablepb.Release{At: w.ns(a.At), Call: string(a.Call), Epoch: uint64(a.Epoch), Why: a.Why}
	if format >= ownership.FormatReservations {
		m.Told, m.App = a.Told, string(a.App)
	}
	return m
}

func (r *reader) release(m *tablepb.Release) ownership.Act {
	r.known(m)
	return ownership.Release{
		At: Time(m.GetAt()), Call: ownership.CallID(m.GetCall()), Epoch: ownership.Epoch(m.GetEpoch()), Why: m.GetWhy(),
		Told: m.GetTold(), App: ownership.AppID(m.GetApp()),
	}
}

func takeUpOut(a *ownership.TakeUp, w *timeWriter) *tablepb.TakeUp {
	return &tablepb.TakeUp{At: w.ns(a.At), Call: string(a.Call), Epoch: uint64(a.Epoch)}
}

func (r *reader) takeUp(m *tablepb.TakeUp) ownership.Act {
	r.known(m)
	return ownership.TakeUp{At: Time(m.GetAt()), Call: ownership.CallID(m.GetCall()), Epoch: ownership.Epoch(m.GetEpoch())}
}
