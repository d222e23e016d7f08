package record

import (
	"fmt"
	"math"

	"tandem/ownership"
	"tandem/store/tablepb"
)

func turnsOut(turns []ownership.Turn) (all []*tablepb.Turn) {
	for _, t := range turns {
		all = append(all, &tablepb.Turn{
			App: string(t.App), Version: t.Version, Nodes: ownership.Words[string](t.Nodes), Share: int64(clampCount(t.Share)),
			Left: int64(min(max(t.Left, -1), math.MaxInt32)), Halted: t.Halted,
		})
	}
	return all
}

func (r *reader) turns(in []*tablepb.Turn) (all []ownership.Turn) {
	for _, t := range in {
		known(r, t)
		left := int(t.GetLeft())
		if t.GetLeft() != -1 {
			left = r.count(t.GetLeft(), "how many calls a version may take")
		}
		all = append(all, ownership.Turn{
			App: ownership.AppID(t.GetApp()), Version: t.GetVersion(), Nodes: ownership.Words[ownership.NodeID](t.GetNodes()),
			Share: r.share(t.GetShare()), Left: left, Halted: t.GetHalted(),
		})
	}
	return all
}

func (r *reader) share(n int64) int {
	if n > ownership.WholeShare && r.bad == nil {
		r.bad = fmt.Errorf("%w: a share is %d of %d", ErrBadCommand, n, ownership.WholeShare)
	}
	return r.count(n, "a share")
}

// RolloutOut writes the rule for a version, changed at that time.
func RolloutOut(v *ownership.Rollout, at int64) *tablepb.Rollout {
	return &tablepb.Rollout{
		App: string(v.App), Version: v.Version, Share: int64(clampCount(v.Share)), Steps: v.Steps, Halted: v.Halted, Reason: v.Reason, By: v.By, At: at,
		Number: v.Number, BaseTaken: v.Base.Taken, BaseWell: v.Base.Well, BaseBad: v.Base.Bad, BaseShort: v.Base.Short, BaseOther: v.Base.Other, Ended: v.Ended,
	}
}

func (r *reader) rollout(m *tablepb.Rollout) ownership.Rollout {
	known(r, m)
	r.share(m.GetShare())
	return ReadRollout(m)
}

// ReadRollout reads what RolloutOut wrote.
func ReadRollout(m *tablepb.Rollout) ownership.Rollout {
	return ownership.Rollout{
		App: ownership.AppID(m.GetApp()), Version: m.GetVersion(), Share: int(m.GetShare()), Steps: m.GetSteps(), Halted: m.GetHalted(),
		Reason: m.GetReason(), By: m.GetBy(), At: Time(m.GetAt()), Number: m.GetNumber(), Ended: m.GetEnded(),
		Base: ownership.VersionTally{Taken: m.GetBaseTaken(), Well: m.GetBaseWell(), Bad: m.GetBaseBad(), Short: m.GetBaseShort(), Other: m.GetBaseOther()},
	}
}
