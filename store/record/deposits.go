package record

import (
	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/tablepb"
)

func setDepositOut(a *ownership.SetDeposit, w *timeWriter) *tablepb.SetDeposit {
	return &tablepb.SetDeposit{At: w.ns(a.At), Name: a.Name, Value: a.Value, Expect: a.Expect, Text: a.Text}
}

func (r *reader) setDeposit(m *tablepb.SetDeposit) ownership.Act {
	known(r, m)
	return ownership.SetDeposit{At: Time(m.GetAt()), Name: m.GetName(), Value: m.GetValue(), Expect: m.GetExpect(), Text: m.GetText()}
}

// SealDeposit writes the record of a deposit.
func SealDeposit(d *ownership.Deposit) (key, value []byte) {
	var w timeWriter // times came in by a command, so they fit
	key = []byte(d.Name)
	return key, Seal(key, &tablepb.Deposit{Name: d.Name, Value: d.Value, At: w.ns(d.At)})
}

// ReadDeposit reads a deposit's record. The error is ErrDamaged.
func ReadDeposit(key, value []byte) (ownership.Deposit, error) {
	var m tablepb.Deposit
	if err := unsealInto(key, value, &m); err != nil {
		return ownership.Deposit{}, err
	}
	var r reader
	known(&r, &m)
	d := ownership.Deposit{Name: m.GetName(), Value: m.GetValue(), At: Time(m.GetAt())}
	if r.bad != nil || d.Name != string(key) {
		return d, files.Damage("the record of the deposit %q is not right: %w", key, r.bad)
	}
	return d, nil
}
