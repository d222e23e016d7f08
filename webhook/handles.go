package webhook

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"tandem/ownership"
	"tandem/spelling"
)

// Handle is the signed part of a callback URI: which region, partition and
// epoch a call belongs to, and which call it is.
type Handle struct {
	Region    ownership.Region
	Partition ownership.PartitionID
	Epoch     ownership.Epoch
	Ref       string // the call's id, or "o-…" for calls that the bot starts itself
	// Identity is the short form of the region's identity, see shortIdentity. Empty:
	// the region had none yet when the handle was made.
	Identity string
}

// OutgoingPrefix begins the ref of a callback URI that was made before its call
// had an id. A normalised call id holds no dash, so the two cannot be confused.
const OutgoingPrefix = "o-"

// Outgoing reports whether the handle was made for calls the bot starts itself.
func (h Handle) Outgoing() bool { return strings.HasPrefix(h.Ref, OutgoingPrefix) }

// OutgoingRef makes the ref of a callback URI for calls that an app's bot starts.
// It begins with a mark of the app, so that another app's token is nothing on it.
func OutgoingRef(app ownership.AppID) string {
	var random [12]byte
	rand.Read(random[:])
	return OutgoingPrefix + appMark(app) + base64.RawURLEncoding.EncodeToString(random[:])
}

// Lengths in letters: of an app's mark, and of a ref from before refs had one.
const markLen, unmarkedRef = 11, 16

func appMark(app ownership.AppID) string {
	sum := sha256.Sum256([]byte("tandem outgoing\n" + string(app)))
	return base64.RawURLEncoding.EncodeToString(sum[:8])
}

// madeFor reports whether an outgoing ref was made for an app. Those of before, in
// calls that live over an upgrade, were made for any.
func madeFor(ref string, app ownership.AppID) bool {
	ref = strings.TrimPrefix(ref, OutgoingPrefix)
	return len(ref) == unmarkedRef || strings.HasPrefix(ref, appMark(app))
}

// ErrForged is the one answer to every handle or hop mark that does not verify:
// which part was wrong is nobody's business outside.
var ErrForged = errors.New("checking a signature: it was not made with one of our keys for this text")

// macLen is how many bytes of the HMAC-SHA-256 a signature keeps (RFC 2104,
// section 5, allows half of the hash).
const macLen = 16

// macText is the length of a MAC in unpadded base64url.
const macText = (macLen*8 + 5) / 6

// strict64 refuses non-canonical tails, so that one signature has one spelling.
var strict64 = base64.RawURLEncoding.Strict()

// Handles signs and verifies handles and hop marks. It is safe for concurrent
// use; Replace swaps the keys under load.
type Handles struct{ ring atomic.Pointer[ring] }

// ring is one set of keys: the first signs, all verify.
type ring struct{ keys []signer }

// signer is one key with its idle hashes. Keying an HMAC costs two blocks of
// SHA-256 and four allocations, so keyed ones are kept.
type signer struct {
	id     string
	secret []byte
	pool   *sync.Pool
}

// scribe is a keyed hash with the scratch that one signature needs.
type scribe struct {
	mac  hash.Hash
	text []byte
	sum  [sha256.Size]byte
}

func newSigner(k Key) signer {
	secret := append([]byte(nil), k.Secret...)
	return signer{id: k.ID, secret: secret, pool: &sync.Pool{New: func() any {
		return &scribe{mac: hmac.New(sha256.New, secret), text: make([]byte, 0, 256)}
	}}}
}

// NewHandles takes the keys in their order: the first signs, all verify.
func NewHandles(keys []Key) (*Handles, error) {
	h := &Handles{}
	if err := h.Replace(keys); err != nil {
		return nil, err
	}
	return h, nil
}

// Replace puts other keys in force. On an error the old ones stay.
func (h *Handles) Replace(keys []Key) error {
	if err := checkKeys(keys); err != nil {
		return err
	}
	r := &ring{}
	for _, k := range keys {
		r.keys = append(r.keys, newSigner(k))
	}
	h.ring.Store(r)
	return nil
}

// Derived returns a key for another purpose for each of the keys, in their order (HKDF
// with SHA-256, RFC 5869): what signs the one proves nothing about the other.
func (h *Handles) Derived(purpose string) [][]byte {
	keys := h.ring.Load().keys
	out := make([][]byte, len(keys))
	for i, k := range keys {
		key, err := hkdf.Key(sha256.New, k.secret, nil, "tandem "+purpose, sha256.Size)
		if err != nil {
			panic(err) // of a length that no hash gives
		}
		out[i] = key
	}
	return out
}

// Sign returns the value of a callback URI's s parameter: key id, dot, MAC.
func (h *Handles) Sign(of Handle) string {
	var room [maxSigned]byte
	return string(h.sign(room[:0], func(b []byte) []byte { return of.append(b) }))
}

// Verify checks the value of an s parameter. Every failure is ErrForged.
func (h *Handles) Verify(of Handle, s string) error {
	return h.verify(s, func(b []byte) []byte { return of.append(b) })
}

// CallbackURI returns base/region/partition/epoch/ref?s=…; base is the region's
// public URL with the webhook path. Nothing in it comes from a request.
func (h *Handles) CallbackURI(base string, of Handle) string {
	var room [512]byte
	return string(h.appendURI(append(room[:0], base...), of))
}

// appendURI writes the rest of a callback URI behind its base.
func (h *Handles) appendURI(b []byte, of Handle) []byte {
	b = append(of.appendPath(b), "?s="...)
	b = h.sign(b, func(b []byte) []byte { return of.append(b) })
	if of.Identity != "" {
		b = append(append(b, "&r="...), of.Identity...)
	}
	return b
}

func (of Handle) appendPath(b []byte) []byte {
	return of.fields(append(b, '/'), '/')
}

// append writes the signed text. Its first line keeps a handle's MAC from ever
// being one of a hop mark; no field can hold a newline (see ParseHandle).
func (of Handle) append(b []byte) []byte {
	if of.Identity == "" {
		b = append(b, "tandem handle 1\n"...)
	} else {
		b = append(append(append(b, "tandem handle 2\n"...), of.Identity...), '\n')
	}
	return of.fields(b, '\n')
}

// fields writes what path and signed text have in common.
func (of Handle) fields(b []byte, between byte) []byte {
	b = append(append(b, of.Region...), between)
	b = append(strconv.AppendUint(b, uint64(of.Partition), 10), between)
	b = append(strconv.AppendUint(b, uint64(of.Epoch), 10), between)
	return append(b, of.Ref...)
}

// maxSigned is the longest signature: key id, dot, MAC.
const maxSigned = maxKeyID + 1 + macText

// sign appends the signature of a text to b.
func (h *Handles) sign(b []byte, text func([]byte) []byte) []byte {
	k := h.ring.Load().keys[0]
	s := k.pool.Get().(*scribe)
	defer k.pool.Put(s)
	b = append(append(b, k.id...), '.')
	return strict64.AppendEncode(b, s.write(text))
}

func (h *Handles) verify(got string, text func([]byte) []byte) error {
	id, mac, ok := strings.Cut(got, ".")
	if !ok || len(mac) != macText {
		return ErrForged
	}
	var room, text64 [macText]byte // both on the stack
	copy(text64[:], mac)
	n, err := strict64.Decode(room[:], text64[:])
	if err != nil {
		return ErrForged
	}
	raw := room[:n]
	for _, k := range h.ring.Load().keys {
		if k.id != id {
			continue
		}
		s := k.pool.Get().(*scribe)
		defer k.pool.Put(s)
		if subtle.ConstantTimeCompare(raw, s.write(text)) == 1 {
			return nil
		}
		return ErrForged
	}
	return ErrForged
}

// write returns the truncated MAC of the text; it is valid until the next write.
func (s *scribe) write(text func([]byte) []byte) []byte {
	s.mac.Reset()
	s.text = text(s.text[:0])
	s.mac.Write(s.text)
	return s.mac.Sum(s.sum[:0])[:macLen]
}

// ParseHandle reads the four path segments of a callback URI. Numbers have one
// spelling (no sign, no leading zero) and refs are normalised call ids or
// outgoing refs, so that one call has one URI.
func ParseHandle(region, partition, epoch, ref string) (Handle, error) {
	if err := spelling.Name(region); err != nil {
		return Handle{}, fmt.Errorf("reading a callback URI: its region %w", err)
	}
	p, ok := parseNumber(partition, 32)
	if !ok {
		return Handle{}, errors.New("reading a callback URI: its partition is no number of a partition")
	}
	e, ok := parseNumber(epoch, 64)
	if !ok {
		return Handle{}, errors.New("reading a callback URI: its epoch is no number of an epoch")
	}
	if !isRef(ref) {
		return Handle{}, errors.New("reading a callback URI: its last segment names no call")
	}
	return Handle{
		Region:    ownership.Region(region),
		Partition: ownership.PartitionID(p),
		Epoch:     ownership.Epoch(e),
		Ref:       ref,
	}, nil
}

// identityLen is how much of a region's identity its handles carry: enough that two
// foundings of one region do not meet by chance.
const identityLen = 8

// shortIdentity returns what the handles of a region carry of its identity. A region
// that was founded anew numbers its partitions from 1 again, so a callback URI from
// before would name a partition that has nothing to do with its call.
func shortIdentity(identity string) string {
	short := strings.ToLower(identity[:min(len(identity), identityLen)])
	for i := range len(short) {
		if !isLower(short[i]) {
			return ""
		}
	}
	return short
}

// parseNumber takes decimal numbers from 1 on without sign or leading zero.
func parseNumber(s string, bits int) (uint64, bool) {
	if len(s) == 0 || len(s) > 20 || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, bits)
	return n, err == nil
}

// isRef takes normalised call ids, and outgoing refs: "o-" and up to 128 of
// base64url's letters.
func isRef(s string) bool {
	ref, outgoing := strings.CutPrefix(s, OutgoingPrefix)
	if len(ref) == 0 || len(ref) > ownership.MaxCallIDLen {
		return false
	}
	for i := range len(ref) {
		c := ref[i]
		if !isLower(c) && (!outgoing || (c < 'A' || c > 'Z') && c != '-' && c != '_') {
			return false
		}
	}
	return true
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
