package store

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

func deposit(s int, name, value, expect string) ownership.SetDeposit {
	return ownership.SetDeposit{At: at(s), Name: name, Value: []byte(value), Expect: expect}
}

// TestDepositsAreKept: deposits are told by name, by memory, by the file and by a snapshot,
// and what was taken out is gone from all of them.
func TestDepositsAreKept(t *testing.T) {
	r := rulesRig(t)
	before := r.lastEvent()
	r.must(deposit(1, "b", "two", ownership.AnyDeposit))
	r.must(deposit(2, "a", "one", ""))
	r.must(deposit(3, "c", "three", ""))
	r.must(deposit(4, "b", "", ownership.AnyDeposit))
	r.must(deposit(4, "b", "", ""))
	told := deposit(5, "c", "four", ownership.Deposit{Value: []byte("three")}.Digest())
	told.Text = "the certificate came"
	r.must(told)
	want := []ownership.Deposit{{Name: "a", Value: []byte("one"), At: at(2)}, {Name: "c", Value: []byte("four"), At: at(5)}}
	check := func(where string, table *Table) {
		t.Helper()
		if diff := cmp.Diff(want, table.Deposits()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", where, diff)
		}
	}
	check("in memory", r.table)
	sum, _ := r.table.Hash()
	r.reopen()
	check("read back", r.table)
	if again, _ := r.table.Hash(); again != sum {
		t.Errorf("the hash was %s, read back it is %s", sum, again)
	}
	fresh := newRig(t)
	if err := fresh.table.Restore(io.NopCloser(bytes.NewReader(r.snapshotBytes()))); err != nil {
		t.Fatal(err)
	}
	check("restored", fresh.table)
	if diff := cmp.Diff([]history.Kind{history.Certificate}, r.kinds(before)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestDepositsAreNotPutOver: whoever did not see what is there changes nothing, and
// deposits are bounded.
func TestDepositsAreNotPutOver(t *testing.T) {
	r := tokenRig(t)
	r.refused(deposit(1, "a", "one", ""), ownership.ErrConflict, "the region writes command format 2, it needs 6")
	r.must(ownership.SetFormat{At: at(0), Format: record.CommandFormat})
	r.must(deposit(1, "a", "one", ""))
	r.refused(deposit(2, "a", "two", ""), ownership.ErrConflict, "something else is there by now")
	r.refused(deposit(2, "a", "", ownership.Deposit{Value: []byte("two")}.Digest()), ownership.ErrConflict, "something else is there by now")
	r.refused(deposit(2, "b", "one", ownership.Deposit{Value: []byte("one")}.Digest()), ownership.ErrConflict, "something else is there by now")
	r.refused(deposit(2, "", "one", ""), ownership.ErrConflict, "a name has 1 to 300 bytes")
	r.refused(deposit(2, "b", strings.Repeat("x", ownership.MaxDepositValue+1), ""), ownership.ErrConflict, "at most 65536 are allowed")
	full := strings.Repeat("x", ownership.MaxDepositValue)
	for i := range ownership.MaxDepositBytes/ownership.MaxDepositValue - 1 {
		r.must(deposit(3, fmt.Sprint("big", i), full, ""))
	}
	r.refused(deposit(3, "big", full, ""), ownership.ErrConflict, "at most 2097152 are allowed")
	for i := len(r.table.Deposits()); i < ownership.MaxDeposits; i++ {
		r.must(deposit(4, fmt.Sprint("small", i), "x", ""))
	}
	r.refused(deposit(4, "one more", "x", ""), ownership.ErrConflict, "the region holds 512 deposits already")
	r.must(deposit(5, "a", "two", ownership.AnyDeposit))
}

// TestARestoreKeepsTheCertificatesOfToday: a certificate of before may be over, so those of
// today stay; a region that has none takes the snapshot's.
func TestARestoreKeepsTheCertificatesOfToday(t *testing.T) {
	older := rulesRig(t)
	older.must(deposit(1, "a", "before", ""))
	none := tokenRig(t)
	today := []ownership.Deposit{{Name: "a", Value: []byte("today"), At: at(9)}, {Name: "b", Value: []byte("new"), At: at(9)}}
	for name, tt := range map[string]struct {
		snapshot    []byte
		today, want []ownership.Deposit
	}{
		"of today":                   {older.snapshotBytes(), today, today},
		"of today, an older format":  {none.snapshotBytes(), today, today},
		"of the snapshot":            {older.snapshotBytes(), nil, older.table.Deposits()},
		"of neither, nor its format": {none.snapshotBytes(), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			info, err := Today{Deposits: tt.today, TheirTokens: true}.With(bytes.NewReader(tt.snapshot), &out)
			if err != nil || info.Deposits != len(tt.want) {
				t.Fatalf("it tells of %d deposits: %v", info.Deposits, err)
			}
			fresh := newRig(t)
			if err := fresh.table.Restore(io.NopCloser(&out)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, fresh.table.Deposits()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if old := len(tt.want) == 0; old == (fresh.table.Format() == record.CommandFormat) {
				t.Errorf("the table writes command format %d", fresh.table.Format())
			}
		})
	}
}
