package snapfile

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"google.golang.org/protobuf/proto"

	"tandem/store/files"
	"tandem/store/tablepb"
)

// Reader reads a snapshot: its head, its records, its end. Whatever is not as a Writer
// writes it is files.ErrDamaged.
type Reader struct {
	from       countReader
	in         hashReader
	key, value []byte // used again
	lastKind   byte
	lastKey    []byte
}

// NewReader reads a snapshot from its beginning.
func NewReader(from io.Reader) *Reader {
	r := &Reader{from: countReader{r: from}}
	r.in = hashReader{r: bufio.NewReaderSize(&r.from, 1<<16), sum: sha256.New()}
	return r
}

// Head reads the head.
func (r *Reader) Head() (*tablepb.SnapshotHead, error) {
	var fixed [len(magic) + 4]byte
	if _, err := io.ReadFull(&r.in, fixed[:]); err != nil {
		return nil, files.Damage("the snapshot is cut short in its head: %w", err)
	}
	if string(fixed[:len(magic)]) != magic {
		return nil, files.Damage("this is no snapshot of Tandem")
	}
	n := binary.BigEndian.Uint32(fixed[len(magic):])
	if n > maxHead {
		return nil, files.Damage("the head of the snapshot claims %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(&r.in, b); err != nil {
		return nil, files.Damage("the snapshot is cut short in its head: %w", err)
	}
	var h tablepb.SnapshotHead
	if err := proto.Unmarshal(b, &h); err != nil {
		return nil, files.Damage("the head of the snapshot is unreadable: %w", err)
	}
	return &h, nil
}

// Record reads the next record; the last one is of KindMeta. Key and value live until
// the next call.
func (r *Reader) Record() (kind byte, key, value []byte, err error) {
	kind, err = r.in.ReadByte()
	if err != nil {
		return 0, nil, nil, files.Damage("the snapshot is cut short: %w", err)
	}
	klen, err := binary.ReadUvarint(&r.in)
	if err != nil {
		return 0, nil, nil, files.Damage("the snapshot is cut short: %w", err)
	}
	vlen, err := binary.ReadUvarint(&r.in)
	if err != nil {
		return 0, nil, nil, files.Damage("the snapshot is cut short: %w", err)
	}
	if klen == 0 || klen > maxKey || vlen > maxValue {
		return 0, nil, nil, files.Damage("a record of the snapshot claims %d and %d bytes", klen, vlen)
	}
	if r.key, err = r.fill(r.key, int(klen)); err != nil {
		return 0, nil, nil, err
	}
	if r.value, err = r.fill(r.value, int(vlen)); err != nil {
		return 0, nil, nil, err
	}
	if kind < r.lastKind || kind == r.lastKind && bytes.Compare(r.key, r.lastKey) <= 0 {
		return 0, nil, nil, files.Damage("the record %q of the snapshot is out of order", r.key)
	}
	r.lastKind, r.lastKey = kind, append(r.lastKey[:0], r.key...)
	return kind, r.key, r.value, nil
}

// fill fills a buffer in steps, so that a false length costs no memory.
func (r *Reader) fill(b []byte, n int) ([]byte, error) {
	const step = 1 << 16
	b = b[:0]
	for len(b) < n {
		k := min(step, n-len(b))
		b = append(b, make([]byte, k)...)
		if _, err := io.ReadFull(&r.in, b[len(b)-k:]); err != nil {
			return b, files.Damage("the snapshot is cut short: %w", err)
		}
	}
	return b, nil
}

// End compares the checksum, proves that nothing follows it, and returns the length of
// the whole in bytes.
func (r *Reader) End() (int64, error) {
	want := r.in.sum.Sum(nil)
	got := make([]byte, sha256.Size)
	if _, err := io.ReadFull(r.in.r, got); err != nil {
		return 0, files.Damage("the snapshot is cut short before its checksum: %w", err)
	}
	if !bytes.Equal(got, want) {
		return 0, files.Damage("the checksum of the snapshot does not match")
	}
	switch _, err := r.in.r.ReadByte(); {
	case err == nil:
		return 0, files.Damage("something follows the end of the snapshot")
	case !errors.Is(err, io.EOF):
		return 0, fmt.Errorf("reading the end of the snapshot: %w", err)
	}
	return r.from.n, nil
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// hashReader hashes what is read through it.
type hashReader struct {
	r   *bufio.Reader
	sum hash.Hash
}

func (h *hashReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	_, _ = h.sum.Write(p[:n]) // a hash takes all
	return n, err
}

func (h *hashReader) ReadByte() (byte, error) {
	b, err := h.r.ReadByte()
	if err == nil {
		_, _ = h.sum.Write([]byte{b})
	}
	return b, err
}
