package record

import (
	"encoding/binary"

	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/tablepb"
)

func setRulesOut(a *ownership.SetRules, w *timeWriter) *tablepb.SetRules {
	return &tablepb.SetRules{At: w.ns(a.At), Rules: rulesOut(&a.Rules, w), Expect: a.Expect, Taken: a.Taken}
}

func (r *reader) setRules(m *tablepb.SetRules) ownership.Act {
	known(r, m)
	return ownership.SetRules{At: Time(m.GetAt()), Rules: r.rules(m.GetRules()), Expect: m.GetExpect(), Taken: m.GetTaken()}
}

// RulesKey is the key of a version's record; keys stand in the order of Rules.Newer.
func RulesKey(v *ownership.Rules) []byte {
	return append(binary.BigEndian.AppendUint64(nil, v.Number), v.Digest...)
}

// SealRules writes the record of a version of the rules.
func SealRules(v *ownership.Rules) (key, value []byte) {
	var w timeWriter // times came in by a command, so they fit
	key = RulesKey(v)
	return key, Seal(key, rulesOut(v, &w))
}

// ReadRules reads a version's record. The error is ErrDamaged.
func ReadRules(key, value []byte) (ownership.Rules, error) {
	var m tablepb.RulesVersion
	if err := unsealInto(key, value, &m); err != nil {
		return ownership.Rules{}, err
	}
	var r reader
	v := r.rules(&m)
	if r.bad != nil || string(RulesKey(&v)) != string(key) {
		return v, files.Damage("the record of rules %x is not right: %w", key, r.bad)
	}
	return v, nil
}

func rulesOut(v *ownership.Rules, w *timeWriter) *tablepb.RulesVersion {
	return &tablepb.RulesVersion{
		Number: v.Number, Digest: v.Digest, Text: v.Text, Origin: string(v.Origin), By: v.By, At: w.ns(v.At), Note: v.Note,
	}
}

func (r *reader) rules(m *tablepb.RulesVersion) ownership.Rules {
	known(r, m)
	return ownership.Rules{
		Number: m.GetNumber(), Digest: m.GetDigest(), Text: m.GetText(), Origin: ownership.Region(m.GetOrigin()),
		By: m.GetBy(), At: Time(m.GetAt()), Note: m.GetNote(),
	}
}
