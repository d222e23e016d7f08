package pages

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"tandem/store/files"
)

// TestWalk feeds the walker pages that a flipped bit seldom makes.
func TestWalk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{"few", "many"} {
			b, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for i := range 300 * (len(name) - 3) {
				if err := b.Put(fmt.Appendf(nil, "%08d", i), make([]byte, 300)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newestMeta(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	page := func(id uint64) int { return int(id * m.pageSize) }
	// The branch page of the calls, and one of its leaves that lies right
	// before another.
	var branch, before uint64
	for id := uint64(2); id < m.pages; id++ {
		if order.Uint16(whole[page(id)+8:]) != flagBranch {
			continue
		}
		var children []uint64
		for i := range int(order.Uint16(whole[page(id)+10:])) {
			children = append(children, order.Uint64(whole[page(id)+pageHeader+i*elemSize+8:]))
		}
		for _, c := range children {
			if slices.Contains(children, c+1) {
				branch, before = id, c
			}
		}
	}
	if branch == 0 {
		t.Fatal("the file has no branch page with two leaves side by side")
	}
	ignore := func(string, []byte, []byte) error { return nil }
	harm := map[string]func(b []byte){
		"a circle of pages":      func(b []byte) { order.PutUint64(b[page(branch)+pageHeader+8:], branch) },
		"a page beyond the file": func(b []byte) { order.PutUint64(b[page(branch)+pageHeader+8:], m.pages+7) },
		"a meta page as child":   func(b []byte) { order.PutUint64(b[page(branch)+pageHeader+8:], 1) },
		"an empty branch":        func(b []byte) { order.PutUint16(b[page(branch)+10:], 0) },
		"a huge overflow":        func(b []byte) { order.PutUint32(b[page(branch)+12:], 1<<31) },
		"a count too high":       func(b []byte) { order.PutUint16(b[page(branch)+10:], 60000) },
		"a page used twice":      func(b []byte) { order.PutUint32(b[page(before)+12:], 1) },
		"another page's id":      func(b []byte) { order.PutUint64(b[page(branch):], 3) },
	}
	for name, f := range harm {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(whole)
			f(b)
			if err := Walk(bytes.NewReader(b), int64(len(b)), ignore); !errors.Is(err, files.ErrDamaged) {
				t.Errorf("the walker says %v", err)
			}
		})
	}
	if err := Walk(bytes.NewReader(whole), int64(len(whole)), ignore); err != nil {
		t.Errorf("the whole file: %v", err)
	}
}
