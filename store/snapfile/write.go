// Package snapfile is the format of a snapshot: one stream of sealed records between
// a head and a checksum, and what signs it where it is saved to a file. What the
// records say is for the store to judge.
//
//	"TANDEMSN"                               8 bytes
//	length of the head, big endian           4 bytes
//	head: tablepb.SnapshotHead
//	records: kind 1 byte, key length and value length as uvarints, key, value
//	meta: kind 255, then as a record         the last one
//	SHA-256 over everything before           32 bytes
//
// Records go in the order of their kinds (see record), each kind by key. They are the
// sealed values of table.db, not its pages: the file that a restore makes of them is
// compact, its pages are its own, and nothing that comes over the network is ever
// taken for a page.
package snapfile

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"

	"google.golang.org/protobuf/proto"

	"tandem/store/tablepb"
)

// KindMeta is the kind of the last record.
const KindMeta = 255

const (
	magic    = "TANDEMSN"
	maxHead  = 1 << 16
	maxKey   = 1 << 12
	maxValue = 1 << 24
)

// Writer writes a snapshot. It keeps the first failure.
type Writer struct {
	to  io.Writer
	w   *bufio.Writer
	sum hash.Hash
	n   int64
	buf []byte
	err error
}

// NewWriter begins a snapshot with its head.
func NewWriter(to io.Writer, head *tablepb.SnapshotHead) *Writer {
	sum := sha256.New()
	w := &Writer{to: to, sum: sum, w: bufio.NewWriterSize(io.MultiWriter(to, sum), 1<<16)}
	var b []byte
	b, w.err = proto.MarshalOptions{Deterministic: true}.Marshal(head)
	w.bytes([]byte(magic))
	w.bytes(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
	w.bytes(b)
	return w
}

func (w *Writer) bytes(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
		w.n += int64(len(b))
	}
}

// Record writes a sealed record and returns the first failure so far.
func (w *Writer) Record(kind byte, key, value []byte) error {
	w.buf = append(w.buf[:0], kind)
	w.buf = binary.AppendUvarint(w.buf, uint64(len(key)))
	w.buf = binary.AppendUvarint(w.buf, uint64(len(value)))
	w.bytes(w.buf)
	w.bytes(key)
	w.bytes(value)
	return w.err
}

// End writes the checksum and returns the length of the whole in bytes.
func (w *Writer) End() (int64, error) {
	if w.err == nil {
		w.err = w.w.Flush()
	}
	if w.err == nil {
		_, w.err = w.to.Write(w.sum.Sum(nil))
	}
	return w.n + sha256.Size, w.err
}
