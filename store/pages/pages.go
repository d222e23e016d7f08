// Package pages proves a bbolt file page by page, before bbolt itself opens it.
//
// bbolt trusts its pages: a flipped bit in one makes it panic, at worst in a
// goroutine of its own where nobody can catch it (with NoFreelistSync, Open
// itself walks all pages that way), or read beyond the file through its memory
// map. So the structure is proved here first, with plain reads, and the same
// pass feeds the index. The layout is that of bbolt's internal/common/page.go
// and meta.go, format version 2, unchanged since 2014; numbers are in the
// machine's byte order.
package pages

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"

	"tandem/store/files"
)

const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeader = 16 // id 8, flags 2, count 2, overflow 4
	elemSize   = 16
	metaSize   = 64 // magic 4, version 4, page size 4, flags 4, root 16, freelist 8, pages 8, txid 8, checksum 8

	flagBranch = 0x01
	flagLeaf   = 0x02
	leafBucket = 0x01

	maxDepth = 40 // of a tree whose pages hold at least two keys
)

var order = binary.NativeEndian

// boltFile is one file being walked.
type boltFile struct {
	r        io.ReaderAt
	pageSize uint64
	pages    uint64 // page ids are below this
	seen     []bool
	visit    func(bucket string, key, value []byte) error
}

type boltMeta struct {
	pageSize, root, pages, txid uint64
}

// Walk proves the structure of a bbolt file of the given size and calls
// visit with every key and value in its top-level buckets, each bucket in the
// order of its keys. Keys and values live until visit returns. Any fault is
// ErrDamaged.
func Walk(r io.ReaderAt, size int64, visit func(bucket string, key, value []byte) error) error {
	m, err := newestMeta(r, size)
	if err != nil {
		return err
	}
	if m.pages > uint64(size)/m.pageSize {
		return files.Damage("the file has %d bytes, its %d pages need more", size, m.pages)
	}
	f := &boltFile{r: r, pageSize: m.pageSize, pages: m.pages, seen: make([]bool, m.pages), visit: visit}
	f.seen[0], f.seen[1] = true, true
	type bucket struct {
		name, value []byte
	}
	var buckets []bucket
	err = f.tree(m.root, nil, nil, 0, func(flags uint32, key, value []byte) error {
		if flags&leafBucket == 0 || len(value) < 16 {
			return files.Damage("the root of the file holds something that is no bucket")
		}
		buckets = append(buckets, bucket{bytes.Clone(key), bytes.Clone(value)})
		return nil
	})
	if err != nil {
		return err
	}
	for _, b := range buckets {
		records := func(flags uint32, key, value []byte) error {
			if flags&leafBucket != 0 {
				return files.Damage("bucket %q holds a bucket", b.name)
			}
			return visit(string(b.name), key, value)
		}
		if root := order.Uint64(b.value); root != 0 {
			err = f.tree(root, nil, nil, 0, records)
		} else {
			err = inlineBucket(b.value[16:], records)
		}
		if err != nil {
			return fmt.Errorf("bucket %q: %w", b.name, err)
		}
	}
	return nil
}

// newestMeta returns the newer of the two meta pages that are whole. bbolt writes
// them in turn, so when the newer one is damaged the other still describes the
// file as it was one transaction before; the raft log has what came after.
func newestMeta(r io.ReaderAt, size int64) (boltMeta, error) {
	first, err := readBoltMeta(r, 0)
	found := err == nil
	best := first
	// The second one is a page further on; without the first, the size of a
	// page is unknown, and it is looked for as bbolt does.
	for at := int64(1024); at <= 1024<<15 && at < size; at <<= 1 {
		if found && at != int64(first.pageSize) {
			continue
		}
		m, err := readBoltMeta(r, at)
		if err != nil || m.pageSize != uint64(at) {
			continue
		}
		if !found || m.txid > best.txid {
			best = m
		}
		found = true
		break
	}
	switch {
	case !found:
		return boltMeta{}, files.Damage("both meta pages of the file are unreadable")
	case best.pages < 2 || best.root < 2 || best.root >= best.pages:
		return boltMeta{}, files.Damage("the meta page names root page %d of %d", best.root, best.pages)
	}
	return best, nil
}

func readBoltMeta(r io.ReaderAt, at int64) (boltMeta, error) {
	b := make([]byte, metaSize)
	if _, err := r.ReadAt(b, at+pageHeader); err != nil {
		return boltMeta{}, files.Damage("reading a meta page: %w", err)
	}
	if order.Uint32(b) != boltMagic || order.Uint32(b[4:]) != boltVersion {
		return boltMeta{}, files.Damage("no meta page")
	}
	h := fnv.New64a()
	_, _ = h.Write(b[:metaSize-8])
	if h.Sum64() != order.Uint64(b[metaSize-8:]) {
		return boltMeta{}, files.Damage("the checksum of a meta page does not match")
	}
	return boltMeta{
		pageSize: uint64(order.Uint32(b[8:])), root: order.Uint64(b[16:]), pages: order.Uint64(b[40:]), txid: order.Uint64(b[48:]),
	}, nil
}

// page reads one page with its overflow and proves its header.
func (f *boltFile) page(id uint64) ([]byte, error) {
	if id < 2 || id >= f.pages {
		return nil, files.Damage("page %d lies outside the file's %d pages", id, f.pages)
	}
	head := make([]byte, pageHeader)
	if _, err := f.r.ReadAt(head, int64(id*f.pageSize)); err != nil {
		return nil, files.Damage("reading page %d: %w", id, err)
	}
	overflow := uint64(order.Uint32(head[12:]))
	if order.Uint64(head) != id || overflow >= f.pages-id {
		return nil, files.Damage("page %d has the header of page %d with %d more", id, order.Uint64(head), overflow)
	}
	for p := id; p <= id+overflow; p++ {
		if f.seen[p] {
			return nil, files.Damage("page %d is used twice", p)
		}
		f.seen[p] = true
	}
	b := make([]byte, (overflow+1)*f.pageSize)
	if _, err := f.r.ReadAt(b, int64(id*f.pageSize)); err != nil {
		return nil, files.Damage("reading page %d: %w", id, err)
	}
	return b, nil
}

// tree walks the pages below one page. All keys in it must be at or above low
// and below high; nil is no bound.
func (f *boltFile) tree(id uint64, low, high []byte, depth int, leaf func(flags uint32, key, value []byte) error) error {
	if depth > maxDepth {
		return files.Damage("the tree of pages is deeper than %d", maxDepth)
	}
	b, err := f.page(id)
	if err != nil {
		return err
	}
	switch order.Uint16(b[8:]) {
	case flagLeaf:
		if err := leafPage(b, low, high, leaf); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		return nil
	case flagBranch:
	default:
		return files.Damage("page %d is neither branch nor leaf", id)
	}
	count := int(order.Uint16(b[10:]))
	if count == 0 {
		return files.Damage("branch page %d is empty", id)
	}
	keys, err := branchKeys(b, count, low, high)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i, key := range keys {
		until := high
		if i+1 < count {
			until = keys[i+1]
		}
		child := order.Uint64(b[pageHeader+i*elemSize+8:])
		if err := f.tree(child, key, until, depth+1, leaf); err != nil {
			return err
		}
	}
	return nil
}

// branchKeys returns the keys of a branch page, proved to lie in order.
func branchKeys(b []byte, count int, low, high []byte) ([][]byte, error) {
	keys := make([][]byte, count)
	last := low
	for i := range count {
		at := pageHeader + i*elemSize
		if at+elemSize > len(b) {
			return nil, files.Damage("it has no room for %d elements", count)
		}
		key, ok := cut(b, at, order.Uint32(b[at:]), order.Uint32(b[at+4:]))
		if !ok {
			return nil, files.Damage("element %d lies outside", i)
		}
		if last != nil && bytes.Compare(key, last) < 0 || i > 0 && bytes.Equal(key, last) || high != nil && bytes.Compare(key, high) >= 0 {
			return nil, files.Damage("element %d is out of order", i)
		}
		keys[i], last = key, key
	}
	return keys, nil
}

// leafPage proves a leaf page and gives its elements.
func leafPage(b []byte, low, high []byte, leaf func(flags uint32, key, value []byte) error) error {
	count := int(order.Uint16(b[10:]))
	var last []byte
	for i := range count {
		at := pageHeader + i*elemSize
		if at+elemSize > len(b) {
			return files.Damage("it has no room for %d elements", count)
		}
		pos, ksize, vsize := order.Uint32(b[at+4:]), order.Uint32(b[at+8:]), order.Uint32(b[at+12:])
		key, ok := cut(b, at, pos, ksize)
		value, ok2 := cut(b, at, pos+ksize, vsize)
		if !ok || !ok2 || uint64(pos)+uint64(ksize) > uint64(len(b)) {
			return files.Damage("element %d lies outside", i)
		}
		if low != nil && bytes.Compare(key, low) < 0 || last != nil && bytes.Compare(key, last) <= 0 || high != nil && bytes.Compare(key, high) >= 0 {
			return files.Damage("element %d is out of order", i)
		}
		last = key
		if err := leaf(order.Uint32(b[at:]), key, value); err != nil {
			return err
		}
	}
	return nil
}

// inlineBucket reads a small bucket, which bbolt keeps within its parent as one
// leaf page.
func inlineBucket(b []byte, leaf func(flags uint32, key, value []byte) error) error {
	if len(b) < pageHeader || order.Uint16(b[8:]) != flagLeaf {
		return files.Damage("an inline bucket is no leaf page")
	}
	return leafPage(b, nil, nil, leaf)
}

// cut returns size bytes at pos after the element at at.
func cut(b []byte, at int, pos, size uint32) ([]byte, bool) {
	from := uint64(at) + uint64(pos)
	to := from + uint64(size)
	if to > uint64(len(b)) {
		return nil, false
	}
	return b[from:to:to], true
}
