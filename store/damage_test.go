package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/record"
	"tandem/store/tablepb"
)

// content is everything a table serves, in one comparable text.
func content(t testing.TB, table *Table) string {
	t.Helper()
	var b bytes.Buffer
	snap := func() error {
		return table.db.View(func(tx *bbolt.Tx) error { return table.stream(tx, &b) })
	}
	if err := snap(); err != nil {
		return "unreadable: " + err.Error()
	}
	return b.String()
}

// TestF07_DamagedTable flips one bit at a time in table.db, all over the file,
// and cuts the file short. Each time the store must refuse to open, or open with
// exactly what it held (the bit was in an unused place), or open as it was one
// transaction before (the newer meta page was hit), from where the raft log
// goes on.
func TestF07_DamagedTable(t *testing.T) {
	r := filled(t, func(o *Options) { o.FlushEvery = time.Hour })
	if err := r.table.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 400 { // enough for branch pages and overflow pages
		r.claimOn(80, fit("b"), claim(callID(1000+i)))
	}
	if err := r.table.Flush(); err != nil {
		t.Fatal(err)
	}
	before := content(t, r.table)
	r.join("last")
	if err := r.table.Flush(); err != nil {
		t.Fatal(err)
	}
	want := content(t, r.table)
	r.close()
	path := filepath.Join(r.dir, fileTable)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := usedBytes(t, path)
	whole = whole[:size]
	seen := map[string]int{}
	try := func(damaged []byte) {
		// Most refusals are met without the rest of the store, which is slow to
		// open; every tenth goes all the way.
		if _, _, err := loadFrom(bytes.NewReader(damaged), int64(len(damaged))); err != nil && seen["refused"]%10 != 0 {
			if !errors.Is(err, files.ErrDamaged) && !errors.Is(err, ErrNewerLayout) {
				t.Fatalf("refused with %v", err)
			}
			seen["refused"]++
			return
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(r.dir, testStamp, r.opt)
		if err != nil {
			if !errors.Is(err, files.ErrDamaged) && !errors.Is(err, ErrNewerLayout) {
				t.Fatalf("refused with %v", err)
			}
			if errors.Is(err, files.ErrDamaged) && !strings.Contains(err.Error(), "to heal it, ") {
				t.Fatalf("the refusal does not say how to heal: %v", err)
			}
			seen["refused"]++
			return
		}
		switch got := content(t, s.Table()); {
		case got == want:
			seen["harmless"]++
		case s.Table().Applied() == r.index-1 && got == before:
			seen["older"]++
		default:
			t.Fatalf("served something else at entry %d of %d", s.Table().Applied(), r.index)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// The meta pages, then samples: heads of pages and all over.
	for i := 0; i < 80; i += 3 {
		for _, page := range []int{0, os.Getpagesize()} {
			try(flip(whole, page+i, i))
		}
	}
	for page := 2 * os.Getpagesize(); page < size; page += os.Getpagesize() {
		for i := range 16 {
			if (page/os.Getpagesize()+i)%9 == 0 {
				try(flip(whole, page+i, page+i))
			}
		}
	}
	for i := 2 * os.Getpagesize(); i < size; i += 997 {
		try(flip(whole, i, i))
	}
	for i := 0; i < size; i += size/40 + 1 {
		try(whole[:i])
	}
	t.Logf("of %d bytes: %v", size, seen)
	if seen["refused"] < 100 || seen["harmless"] == 0 || seen["older"] == 0 {
		t.Errorf("the flips met %v: too little to prove anything", seen)
	}
	try(whole)
}

func flip(b []byte, at, bit int) []byte {
	c := bytes.Clone(b)
	c[at] ^= 1 << (bit % 8)
	return c
}

// usedBytes is how much of the file bbolt uses; it grows by 16 MiB at a time.
func usedBytes(t *testing.T, path string) int {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	used := 0
	err = db.View(func(tx *bbolt.Tx) error {
		used = int(tx.Size())
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return used
}

// TestF07_DamagedWhileServing: a record that rots under a running node stops it.
func TestF07_DamagedWhileServing(t *testing.T) {
	r := filled(t)
	if err := r.table.Flush(); err != nil {
		t.Fatal(err)
	}
	err := r.table.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketCalls)
		v := bytes.Clone(b.Get([]byte(callID(7))))
		v[len(v)/2] ^= 4
		return b.Put([]byte(callID(7)), v)
	})
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := r.table.Call(callID(7)); ok {
		t.Errorf("served the damaged record %+v", c)
	}
	if len(r.fatal) != 1 || !errors.Is(r.fatal[0], files.ErrDamaged) || !errors.Is(r.table.Err(), files.ErrDamaged) {
		t.Errorf("the node was told %v", r.fatal)
	}
	if _, _, err := r.table.Calls(ownership.CallFilter{}, "", 0); !errors.Is(err, files.ErrDamaged) {
		t.Errorf("the listing gave %v", err)
	}
}

// TestRecordUnderAnothersKey: the checksum covers the key, and so does the sum
// over all records.
func TestRecordUnderAnothersKey(t *testing.T) {
	if _, err := record.Unseal([]byte("b"), record.Seal([]byte("a"), &tablepb.Node{Id: "a"})); !errors.Is(err, files.ErrDamaged) {
		t.Errorf("a record under another's key gave %v", err)
	}
	r := filled(t)
	if err := r.table.Flush(); err != nil {
		t.Fatal(err)
	}
	err := r.table.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketCalls)
		one, two := bytes.Clone(b.Get([]byte(callID(1)))), bytes.Clone(b.Get([]byte(callID(2))))
		return errors.Join(b.Put([]byte(callID(1)), two), b.Put([]byte(callID(2)), one))
	})
	if err != nil {
		t.Fatal(err)
	}
	r.close()
	if _, err := Open(r.dir, testStamp, r.opt); !errors.Is(err, files.ErrDamaged) {
		t.Errorf("two swapped records were served: %v", err)
	}
}

// TestRecordMissing: the sum over all records finds what no checksum can.
func TestRecordMissing(t *testing.T) {
	for name, change := range map[string]func(*bbolt.Tx) error{
		"call":      func(tx *bbolt.Tx) error { return tx.Bucket(bucketCalls).Delete([]byte(callID(3))) },
		"node":      func(tx *bbolt.Tx) error { return tx.Bucket(bucketNodes).Delete([]byte("b")) },
		"partition": func(tx *bbolt.Tx) error { return tx.Bucket(bucketPartitions).Delete(record.PartitionKey(4)) },
		"event": func(tx *bbolt.Tx) error {
			k, _ := tx.Bucket(bucketEvents).Cursor().First()
			return tx.Bucket(bucketEvents).Delete(k)
		},
		"meta": func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Delete(metaKey) },
	} {
		t.Run(name, func(t *testing.T) {
			r := filled(t)
			if err := r.table.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := r.table.db.Update(change); err != nil {
				t.Fatal(err)
			}
			r.close()
			if _, err := Open(r.dir, testStamp, r.opt); !errors.Is(err, files.ErrDamaged) {
				t.Errorf("a missing record went unnoticed: %v", err)
			}
		})
	}
}

// TestUncleanStart: a mark stands while the store is open; found at a start, it
// has bbolt check the file as well.
func TestUncleanStart(t *testing.T) {
	r := filled(t)
	running := filepath.Join(r.dir, fileRunning)
	if !files.Exists(running) {
		t.Error("while the store is open there is no mark of it")
	}
	r.close()
	if files.Exists(running) {
		t.Error("a clean close left the mark")
	}
	if err := os.WriteFile(running, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sum, _ := r.table.Hash()
	r.open()
	if now, _ := r.table.Hash(); now != sum {
		t.Error("the checked table differs")
	}
}

// TestOtherHistory: table and log must be of one history.
func TestOtherHistory(t *testing.T) {
	cases := []struct {
		name string
		harm func(r *rig) error
		says string
	}{
		{"the log lost its end", func(r *rig) error { return r.store.Log().DeleteRange(r.index, r.index) }, "acknowledged entries are missing"},
		{"the log lost its beginning", func(r *rig) error { return r.store.Log().DeleteRange(1, 3) }, "but the raft log begins at 4"},
		{"another term", func(r *rig) error {
			return errors.Join(r.store.Log().DeleteRange(r.index, r.index),
				r.store.Log().StoreLog(&raft.Log{Index: r.index, Term: 9, Type: raft.LogCommand}))
		}, "in the raft log it is of term 9"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := filled(t)
			if err := r.table.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := c.harm(r); err != nil {
				t.Fatal(err)
			}
			r.close()
			_, err := Open(r.dir, testStamp, r.opt)
			if !errors.Is(err, files.ErrDamaged) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "to heal it") {
				t.Errorf("Open gave %v", err)
			}
		})
	}
}
