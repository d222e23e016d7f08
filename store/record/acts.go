package record

import (
	"slices"
	"time"

	"tandem/ownership"
	"tandem/store/tablepb"
)

// formatOfFacts is the first command format whose Answered carries facts. They
// are left out before: an older node would have to stop over them.
const formatOfFacts uint32 = 2

// wrapAct puts the act into the command; false: the table knows no such act.
func wrapAct(cmd *tablepb.Command, act ownership.Act, w *timeWriter) bool {
	switch a := act.(type) {
	case ownership.Claims:
		m := &tablepb.Claims{At: w.ns(a.At), Fitness: fitnessOut(a.Fitness, cmd.GetFormat()), Claims: make([]*tablepb.Claim, len(a.Claims))}
		for i := range a.Claims {
			m.Claims[i] = claimOut(&a.Claims[i], w)
		}
		if cmd.GetFormat() >= ownership.FormatRollouts {
			m.Turns = turnsOut(a.Turns)
		}
		cmd.Act = &tablepb.Command_Claims{Claims: m}
	case ownership.Answered:
		cmd.Act = &tablepb.Command_Answered{Answered: answeredOut(&a, cmd.GetFormat(), w)}
	case ownership.Seen:
		cmd.Act = &tablepb.Command_Seen{Seen: seenOut(&a, w)}
	case ownership.Release:
		cmd.Act = &tablepb.Command_Release{Release: releaseOut(&a, cmd.GetFormat(), w)}
	case ownership.Forget:
		cmd.Act = &tablepb.Command_Forget{Forget: &tablepb.Forget{At: w.ns(a.At), Before: w.ns(a.Before)}}
	case ownership.Join:
		m := &tablepb.Join{At: w.ns(a.At), Node: nodeOut(&a.Node, w), Partitions: int64(clampCount(a.Partitions))}
		if cmd.GetFormat() >= ownership.FormatReservations {
			m.Ancestors = a.Ancestors
		} else {
			m.Node.Process, m.Node.GoneAt = "", 0
		}
		cmd.Act = &tablepb.Command_Join{Join: m}
	case ownership.Drain:
		cmd.Act = &tablepb.Command_Drain{Drain: &tablepb.Drain{At: w.ns(a.At), Node: string(a.Node), Until: w.ns(a.Until)}}
	case ownership.Undrain:
		cmd.Act = &tablepb.Command_Undrain{Undrain: &tablepb.Undrain{At: w.ns(a.At), Node: string(a.Node)}}
	case ownership.Depart:
		cmd.Act = &tablepb.Command_Depart{Depart: &tablepb.Depart{
			At: w.ns(a.At), Node: string(a.Node), Fitness: fitnessOut(a.Fitness, cmd.GetFormat()),
		}}
	case ownership.Failover:
		m := &tablepb.Failover{At: w.ns(a.At), Node: string(a.Node), Fitness: fitnessOut(a.Fitness, cmd.GetFormat())}
		if cmd.GetFormat() >= ownership.FormatReservations {
			m.Lapsed = ownership.Words[string](a.Lapsed)
		}
		cmd.Act = &tablepb.Command_Failover{Failover: m}
	case ownership.Move:
		cmd.Act = &tablepb.Command_Move{Move: &tablepb.Move{
			At: w.ns(a.At), Partition: uint32(a.Partition), Epoch: uint64(a.Epoch), To: string(a.To),
		}}
	case ownership.SetFormat:
		cmd.Act = &tablepb.Command_SetFormat{SetFormat: &tablepb.SetFormat{At: w.ns(a.At), Format: a.Format}}
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
	case ownership.SetRules:
		cmd.Act = &tablepb.Command_SetRules{SetRules: setRulesOut(&a, w)}
	case ownership.TellRules:
		cmd.Act = &tablepb.Command_TellRules{TellRules: &tablepb.TellRules{At: w.ns(a.At), Text: a.Text, Agree: a.Agree}}
	case ownership.Note:
		cmd.Act = &tablepb.Command_Note{Note: noteOut(&a, w)}
	case ownership.SetKeep:
		cmd.Act = &tablepb.Command_SetKeep{SetKeep: setKeepOut(&a, w)}
	case ownership.SetDeposit:
		cmd.Act = &tablepb.Command_SetDeposit{SetDeposit: setDepositOut(&a, w)}
	case ownership.SetRollout:
		cmd.Act = &tablepb.Command_SetRollout{SetRollout: &tablepb.SetRollout{At: w.ns(a.At), Rollout: RolloutOut(&a.Rollout, w.ns(a.Rollout.At)), Auto: a.Auto, Expect: a.Expect}}
	case ownership.EndRollout:
		cmd.Act = &tablepb.Command_EndRollout{EndRollout: &tablepb.EndRollout{At: w.ns(a.At), App: string(a.App), Version: a.Version, By: a.By}}
	case ownership.TellRollout:
		cmd.Act = &tablepb.Command_TellRollout{TellRollout: &tablepb.TellRollout{At: w.ns(a.At), App: string(a.App), Text: a.Text}}
	case ownership.SetLease:
		cmd.Act = &tablepb.Command_SetLease{SetLease: &tablepb.SetLease{At: w.ns(a.At), Length: int64(a.Length)}}
	case ownership.Lapse:
		cmd.Act = &tablepb.Command_Lapse{Lapse: &tablepb.Lapse{At: w.ns(a.At), Node: string(a.Node), Apps: ownership.Words[string](a.Apps)}}
	case ownership.Reclaim:
		cmd.Act = &tablepb.Command_Reclaim{Reclaim: &tablepb.Reclaim{At: w.ns(a.At), Node: string(a.Node)}}
	case ownership.GrantToken:
		cmd.Act = &tablepb.Command_GrantToken{GrantToken: &tablepb.GrantToken{At: w.ns(a.At), Token: tokenOut(&a.Token, w)}}
	case ownership.RevokeToken:
		cmd.Act = &tablepb.Command_RevokeToken{RevokeToken: &tablepb.RevokeToken{At: w.ns(a.At), Name: a.Name}}
	case ownership.UseToken:
		cmd.Act = &tablepb.Command_UseToken{UseToken: &tablepb.UseToken{
			At: w.ns(a.At), Name: a.Name, Hash: a.Hash[:], UsedFor: a.For, Done: a.Done,
		}}
	default:
		return false
	}
	return true
}

// unwrapAct takes the act out of a command that holds one.
func unwrapAct(cmd *tablepb.Command, r *reader) ownership.Act {
	switch x := cmd.GetAct().(type) {
	case *tablepb.Command_Claims:
		m := known(r, x.Claims)
		a := ownership.Claims{At: Time(m.GetAt()), Fitness: r.fitness(m.GetFitness()), Turns: r.turns(m.GetTurns())}
		if len(m.GetClaims()) > 0 {
			a.Claims = make([]ownership.Claim, len(m.GetClaims()))
		}
		for i, c := range m.GetClaims() {
			a.Claims[i] = r.claim(c)
		}
		return a
	case *tablepb.Command_Answered:
		return r.answered(x.Answered)
	case *tablepb.Command_Seen:
		return r.seen(x.Seen)
	case *tablepb.Command_Release:
		return r.release(x.Release)
	case *tablepb.Command_Forget:
		m := known(r, x.Forget)
		return ownership.Forget{At: Time(m.GetAt()), Before: Time(m.GetBefore())}
	case *tablepb.Command_Join:
		m := known(r, x.Join)
		return ownership.Join{
			At: Time(m.GetAt()), Node: r.node(m.GetNode()), Partitions: r.count(m.GetPartitions(), "the number of partitions"),
			Ancestors: slices.Clone(m.GetAncestors()),
		}
	case *tablepb.Command_Drain:
		m := known(r, x.Drain)
		return ownership.Drain{At: Time(m.GetAt()), Node: ownership.NodeID(m.GetNode()), Until: Time(m.GetUntil())}
	case *tablepb.Command_Undrain:
		m := known(r, x.Undrain)
		return ownership.Undrain{At: Time(m.GetAt()), Node: ownership.NodeID(m.GetNode())}
	case *tablepb.Command_Depart:
		m := known(r, x.Depart)
		return ownership.Depart{At: Time(m.GetAt()), Node: ownership.NodeID(m.GetNode()), Fitness: r.fitness(m.GetFitness())}
	case *tablepb.Command_Failover:
		m := known(r, x.Failover)
		return ownership.Failover{
			At: Time(m.GetAt()), Node: ownership.NodeID(m.GetNode()), Fitness: r.fitness(m.GetFitness()),
			Lapsed: ownership.Words[ownership.AppID](m.GetLapsed()),
		}
	case *tablepb.Command_Move:
		m := known(r, x.Move)
		return ownership.Move{
			At: Time(m.GetAt()), Partition: ownership.PartitionID(m.GetPartition()),
			Epoch: ownership.Epoch(m.GetEpoch()), To: ownership.NodeID(m.GetTo()),
		}
	case *tablepb.Command_SetFormat:
		m := known(r, x.SetFormat)
		return ownership.SetFormat{At: Time(m.GetAt()), Format: m.GetFormat()}
	case *tablepb.Command_TakeUp:
		return r.takeUp(x.TakeUp)
	case *tablepb.Command_Records:
		m := known(r, x.Records)
		a := ownership.Records{At: Time(m.GetAt())}
		for _, rec := range m.GetRecords() {
			a.Acts = append(a.Acts, r.record(rec))
		}
		return a
	case *tablepb.Command_Found:
		m := known(r, x.Found)
		return ownership.Found{At: Time(m.GetAt()), Identity: m.GetIdentity()}
	case *tablepb.Command_SetRules:
		return r.setRules(x.SetRules)
	case *tablepb.Command_TellRules:
		m := known(r, x.TellRules)
		return ownership.TellRules{At: Time(m.GetAt()), Text: m.GetText(), Agree: m.GetAgree()}
	case *tablepb.Command_Note:
		return r.note(x.Note)
	case *tablepb.Command_SetKeep:
		return r.setKeep(x.SetKeep)
	case *tablepb.Command_SetDeposit:
		return r.setDeposit(x.SetDeposit)
	case *tablepb.Command_SetRollout:
		m := known(r, x.SetRollout)
		return ownership.SetRollout{At: Time(m.GetAt()), Rollout: r.rollout(m.GetRollout()), Auto: m.GetAuto(), Expect: m.GetExpect()}
	case *tablepb.Command_EndRollout:
		m := known(r, x.EndRollout)
		return ownership.EndRollout{At: Time(m.GetAt()), App: ownership.AppID(m.GetApp()), Version: m.GetVersion(), By: m.GetBy()}
	case *tablepb.Command_TellRollout:
		m := known(r, x.TellRollout)
		return ownership.TellRollout{At: Time(m.GetAt()), App: ownership.AppID(m.GetApp()), Text: m.GetText()}
	case *tablepb.Command_SetLease:
		m := known(r, x.SetLease)
		return ownership.SetLease{At: Time(m.GetAt()), Length: time.Duration(m.GetLength())}
	case *tablepb.Command_Lapse:
		m := known(r, x.Lapse)
		return ownership.Lapse{At: Time(m.GetAt()), Node: ownership.NodeID(m.GetNode()), Apps: ownership.Words[ownership.AppID](m.GetApps())}
	case *tablepb.Command_Reclaim:
		m := known(r, x.Reclaim)
		return ownership.Reclaim{At: Time(m.GetAt()), Node: ownership.NodeID(m.GetNode())}
	case *tablepb.Command_GrantToken:
		m := known(r, x.GrantToken)
		return ownership.GrantToken{At: Time(m.GetAt()), Token: r.token(m.GetToken())}
	case *tablepb.Command_RevokeToken:
		m := known(r, x.RevokeToken)
		return ownership.RevokeToken{At: Time(m.GetAt()), Name: m.GetName()}
	default: // the oneof has no other member
		m := known(r, cmd.GetUseToken())
		return ownership.UseToken{
			At: Time(m.GetAt()), Name: m.GetName(), Hash: r.hash(m.GetHash()), For: m.GetUsedFor(), Done: m.GetDone(),
		}
	}
}

func claimOut(c *ownership.Claim, w *timeWriter) *tablepb.Claim {
	return &tablepb.Claim{
		Call: string(c.Call), RawCall: c.RawCall, App: string(c.App), Tenant: string(c.Tenant),
		Groups: ownership.Words[string](c.Groups), Paired: c.Paired, Pinned: c.Pinned, Answered: c.Answered,
		Observed: c.Observed, Thread: c.Thread, Organizer: c.Organizer, Modalities: c.Modalities,
		Deadline: w.ns(c.Deadline), Received: w.ns(c.Received), Via: string(c.Via),
		PinNode: string(c.Pin.Node), PinZone: c.Pin.Zone, PinVersion: c.Pin.Version,
	}
}

func (r *reader) claim(m *tablepb.Claim) ownership.Claim {
	known(r, m)
	return ownership.Claim{
		Call: ownership.CallID(m.GetCall()), RawCall: m.GetRawCall(),
		App: ownership.AppID(m.GetApp()), Tenant: ownership.TenantID(m.GetTenant()),
		Groups: ownership.Words[ownership.GroupKey](m.GetGroups()), Paired: m.GetPaired(), Pinned: m.GetPinned(), Answered: m.GetAnswered(),
		Observed: m.GetObserved(), Thread: m.GetThread(), Organizer: m.GetOrganizer(), Modalities: ownership.Words[string](m.GetModalities()),
		Deadline: Time(m.GetDeadline()), Received: Time(m.GetReceived()), Via: ownership.NodeID(m.GetVia()),
		Pin: ownership.Pin{Node: ownership.NodeID(m.GetPinNode()), Zone: m.GetPinZone(), Version: m.GetPinVersion()},
	}
}
