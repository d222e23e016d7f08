package record

import (
	"fmt"

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
	case ownership.Note, ownership.SetKeep:
		return ownership.FormatLedger
	case ownership.SetDeposit:
		return ownership.FormatDeposits
	case ownership.SetRollout, ownership.EndRollout, ownership.TellRollout:
		return ownership.FormatRollouts
	}
	return 1
}

// formatOfFields is the first command format that can tell all that an act says.
func formatOfFields(act ownership.Act) uint32 {
	newer := false
	switch a := act.(type) {
	case ownership.Records:
		since := uint32(1)
		for _, rec := range a.Acts {
			since = max(since, formatOfFields(rec))
		}
		return since
	case ownership.Claims:
		if len(a.Turns) > 0 {
			return ownership.FormatRollouts
		}
		newer = byApp(a.Fitness)
	case ownership.Depart:
		newer = byApp(a.Fitness)
	case ownership.Failover:
		newer = byApp(a.Fitness) || len(a.Lapsed) > 0
	case ownership.Release:
		if a.Fate != "" || a.Tenant != "" || a.Chain != "" {
			return ownership.FormatLedger
		}
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
	known(r, m)
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
	known(r, m)
	return ownership.Answered{
		At: Time(m.GetAt()), Call: ownership.CallID(m.GetCall()), Epoch: ownership.Epoch(m.GetEpoch()),
		Thread: m.GetThread(), Organizer: m.GetOrganizer(),
	}
}

func seenOut(a *ownership.Seen, w *timeWriter) *tablepb.Seen {
	return &tablepb.Seen{At: w.ns(a.At), Calls: ownership.Words[string](a.Calls)}
}

func (r *reader) seen(m *tablepb.Seen) ownership.Act {
	known(r, m)
	return ownership.Seen{At: Time(m.GetAt()), Calls: ownership.Words[ownership.CallID](m.GetCalls())}
}

func releaseOut(a *ownership.Release, format uint32, w *timeWriter) *tablepb.Release {
	m := &tablepb.Release{At: w.ns(a.At), Call: string(a.Call), Epoch: uint64(a.Epoch), Why: a.Why}
	if format >= ownership.FormatReservations {
		m.Told, m.App = a.Told, string(a.App)
	}
	if format >= ownership.FormatLedger {
		m.Fate, m.Tenant, m.Chain = string(a.Fate), string(a.Tenant), a.Chain
	}
	return m
}

func (r *reader) release(m *tablepb.Release) ownership.Act {
	known(r, m)
	return ownership.Release{
		At: Time(m.GetAt()), Call: ownership.CallID(m.GetCall()), Epoch: ownership.Epoch(m.GetEpoch()), Why: m.GetWhy(),
		Told: m.GetTold(), App: ownership.AppID(m.GetApp()), Fate: ownership.Fate(m.GetFate()),
		Tenant: ownership.TenantID(m.GetTenant()), Chain: m.GetChain(),
	}
}

func takeUpOut(a *ownership.TakeUp, w *timeWriter) *tablepb.TakeUp {
	return &tablepb.TakeUp{At: w.ns(a.At), Call: string(a.Call), Epoch: uint64(a.Epoch)}
}

func (r *reader) takeUp(m *tablepb.TakeUp) ownership.Act {
	known(r, m)
	return ownership.TakeUp{At: Time(m.GetAt()), Call: ownership.CallID(m.GetCall()), Epoch: ownership.Epoch(m.GetEpoch())}
}
