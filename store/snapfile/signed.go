package snapfile

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// A snapshot that is saved to a file may come back by anybody's hand. So it ends with a
// signature by a key of the deployment, which the snapshots that raft sends do not have:
//
//	the snapshot                             as above
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
	io.Writer
	to  io.Writer
	mac hash.Hash
}

// SignTo returns a writer that signs what passes through it to another one.
func SignTo(to io.Writer, key []byte) *SigningWriter {
	mac := hmac.New(sha256.New, key)
	return &SigningWriter{io.MultiWriter(to, mac), to, mac}
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
