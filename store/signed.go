package store

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"tandem/ownership"
)

// A snapshot that is saved to a file may come back by anybody's hand. So it ends with a
// signature by a key of the deployment, which the snapshots that raft sends do not have:
//
//	the snapshot                             as in snapshot.go
//	"TANDEMMC"                               8 bytes
//	HMAC-SHA-256 over the snapshot           32 bytes
const (
	signMagic = "TANDEMMC"
	signLen   = int64(len(signMagic) + sha256.Size)
)

// ErrUnsigned says that a saved snapshot has no signature by one of the keys.
var ErrUnsigned = errors.New("it is not signed with a handle key of this deployment, so anybody may have made it; " +
	"if you know where it comes from, say --unsigned (over HTTP unsigned=true)")

// SigningWriter passes on a snapshot, and then its signature.
type SigningWriter struct {
	to  io.Writer
	mac hash.Hash
}

// SignTo returns a writer that signs what passes through it to another one.
func SignTo(to io.Writer, key []byte) *SigningWriter {
	return &SigningWriter{to: to, mac: hmac.New(sha256.New, key)}
}

// Write implements io.Writer.
func (w *SigningWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	_, _ = w.mac.Write(p[:n]) // a hash takes all
	return n, err
}

// Sign ends the snapshot.
func (w *SigningWriter) Sign() error {
	if _, err := w.to.Write(w.mac.Sum([]byte(signMagic))); err != nil {
		return fmt.Errorf("writing the signature of a snapshot: %w", err)
	}
	return nil
}

// Saved is a saved snapshot: the snapshot itself, and what signs it.
type Saved struct {
	*io.SectionReader
	mac []byte // nil: it is not signed
}

// OpenSaved splits a saved snapshot of size bytes.
func OpenSaved(f io.ReaderAt, size int64) (Saved, error) {
	if size >= signLen {
		end := make([]byte, signLen)
		if _, err := f.ReadAt(end, size-signLen); err != nil && !errors.Is(err, io.EOF) {
			return Saved{}, fmt.Errorf("reading the end of a snapshot: %w", err)
		}
		if mac, signed := bytes.CutPrefix(end, []byte(signMagic)); signed {
			return Saved{io.NewSectionReader(f, 0, size-signLen), mac}, nil
		}
	}
	return Saved{io.NewSectionReader(f, 0, size), nil}, nil
}

// Verify reads the snapshot and holds it against its signature, from its beginning. The error is
// ErrUnsigned when none of the keys made that.
func (s Saved) Verify(keys [][]byte) error {
	if s.mac == nil {
		return ErrUnsigned
	}
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		if _, err := io.Copy(mac, io.NewSectionReader(s.SectionReader, 0, s.Size())); err != nil {
			return fmt.Errorf("reading a snapshot: %w", err)
		}
		if hmac.Equal(mac.Sum(nil), s.mac) {
			return nil
		}
	}
	return ErrUnsigned
}

// WithTokens copies a snapshot that Inspect has taken, with the given tokens of the
// admin doors in place of its own. A snapshot of a command format from before there
// were tokens gets none.
func WithTokens(from io.ReadSeeker, to io.Writer, tokens []ownership.DoorToken) (SnapshotInfo, error) {
	fail := func(err error) (SnapshotInfo, error) {
		return SnapshotInfo{}, fmt.Errorf("copying a snapshot with the tokens of today: %w", err)
	}
	w := newSnapshotWriter(to)
	if err := copyHead(w, from); err != nil {
		return fail(err)
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return fail(err)
	}
	var without uint64
	info, sealed, err := readSnapshot(from, nil, func(kind byte, key, value []byte) error {
		if kind == kindToken {
			without += recordSum(kindToken, key, value)
			return nil
		}
		w.record(kind, key, value)
		return w.err
	})
	if err != nil {
		return fail(err)
	}
	m, err := readMeta(sealed)
	if err != nil {
		return fail(err)
	}
	m.Sum -= without
	if info.Format < ownership.FormatTokens {
		tokens = nil
	}
	tokens = slices.Clone(tokens)
	slices.SortFunc(tokens, func(a, b ownership.DoorToken) int { return strings.Compare(a.Name, b.Name) })
	for i := range tokens {
		var t timeWriter // times of a table fit
		key := []byte(tokens[i].Name)
		value := seal(key, tokenOut(&tokens[i], &t))
		m.Sum += recordSum(kindToken, key, value)
		w.record(kindToken, key, value)
	}
	w.record(kindMeta, metaKey, seal(metaKey, m))
	n, err := w.end()
	if err != nil {
		return fail(err)
	}
	info.Bytes, info.Hash, info.DoorTokens, info.Tokens = n, fmt.Sprintf("%016x", m.GetSum()), notesOf(tokens), len(tokens)
	return info, nil
}

// copyHead copies the magic and the head, which were read before.
func copyHead(w *snapshotWriter, from io.Reader) error {
	fixed := make([]byte, len(snapshotMagic)+4)
	if _, err := io.ReadFull(from, fixed); err != nil {
		return damage("the snapshot is cut short in its head: %w", err)
	}
	head := make([]byte, min(binary.BigEndian.Uint32(fixed[len(snapshotMagic):]), maxHead))
	if _, err := io.ReadFull(from, head); err != nil {
		return damage("the snapshot is cut short in its head: %w", err)
	}
	w.bytes(fixed)
	w.bytes(head)
	return w.err
}

// TokenNote is what a snapshot says of a token of the admin doors.
type TokenNote struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

func notesOf(tokens []ownership.DoorToken) []TokenNote {
	var out []TokenNote
	for _, t := range tokens {
		out = append(out, TokenNote{t.Name, t.Roles})
	}
	return out
}
