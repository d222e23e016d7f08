package ledger

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrForged says that a head was signed with none of the keys that count, or was changed.
var ErrForged = errors.New("it is no head that the region has signed")

// Head says how much the ledger of a region holds.
type Head struct {
	Name string    // tandem/deployment/region
	Size uint64    // entries
	Root Hash      // over all of them
	At   time.Time // when it was signed, by the clock of the node that did
}

// NameOf is a region's name in heads.
func NameOf(deployment, region string) string { return "tandem/" + deployment + "/" + region }

// MaxHead bounds a signed head, in bytes.
const MaxHead = 1024

// Signer signs the heads of one region.
type Signer struct {
	signer note.Signer
	// Key is what checks its signatures, as it is told to people: name+id+key.
	Key string
}

// NewSigner makes a signer of a region out of 32 secret bytes.
func NewSigner(name string, seed []byte) (*Signer, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("making the key of a ledger: its seed has %d bytes, %d are needed", len(seed), ed25519.SeedSize)
	}
	key := ed25519.NewKeyFromSeed(seed)
	public, err := note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("making the key of a ledger: %w", err)
	}
	if strings.ContainsAny(name, "+ \n") {
		return nil, fmt.Errorf("making the key of a ledger: %q is no name for one", name)
	}
	id := strings.Split(public, "+")[1]
	// The form of a private key is note's: the kind of the key, 1 for ed25519, and its seed.
	secret := "PRIVATE+KEY+" + name + "+" + id + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed...))
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, errors.New("making the key of a ledger: note takes no such key") // its own words may hold the key
	}
	return &Signer{signer: signer, Key: public}, nil
}

// Sign writes a head as a signed note. The name is the signer's.
func (s *Signer) Sign(h Head) (string, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n%s\n", s.signer.Name(), h.Size, h.Root, plain(h.At).Format(time.RFC3339))
	signed, err := note.Sign(&note.Note{Text: text}, s.signer)
	if err != nil {
		return "", fmt.Errorf("signing the head of a ledger: %w", err)
	}
	return string(signed), nil
}

// Open reads a signed head that one of the keys has signed. The error is ErrForged, or
// says which key is none.
func Open(signed string, keys ...string) (Head, error) {
	var known []note.Verifier
	for _, k := range keys {
		v, err := note.NewVerifier(k)
		if err != nil {
			return Head{}, fmt.Errorf("reading a key: %.40q is none: %w", k, err)
		}
		known = append(known, v)
	}
	if len(signed) > MaxHead {
		return Head{}, fmt.Errorf("it has %d bytes: %w", len(signed), ErrForged)
	}
	n, err := note.Open([]byte(signed), note.VerifierList(known...))
	if err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrForged, err)
	}
	h, err := readHead(n.Text)
	if err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrForged, err)
	}
	if n.Sigs[0].Name != h.Name {
		return Head{}, fmt.Errorf("a key of %s has signed the head of %s: %w", n.Sigs[0].Name, h.Name, ErrForged)
	}
	return h, nil
}

func readHead(text string) (h Head, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[4] != "" {
		return h, errors.New("a head has four lines")
	}
	h.Name = lines[0]
	if h.Size, err = strconv.ParseUint(lines[1], 10, 64); err != nil || h.Size > MaxEntries {
		return h, errors.New("its second line is no number of entries")
	}
	if h.Root, err = tlog.ParseHash(lines[2]); err != nil {
		return h, errors.New("its third line is no hash")
	}
	if h.At, err = time.Parse(time.RFC3339, lines[3]); err != nil {
		return h, errors.New("its fourth line is no time")
	}
	return h, nil
}
