package acme

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"

	"tandem/ownership"
)

// errSealed: no key of today opens it.
var errSealed = errors.New("it was sealed with a key that is no longer in handle_keys_file, or is damaged")

// seal makes a deposit of a value: AES-256-GCM, bound to its name. Log, snapshots and
// backups hold nothing else.
func seal(keys [][]byte, name string, value []byte) ([]byte, error) {
	if len(keys) == 0 {
		return nil, errors.New("sealing a deposit: there is no key")
	}
	g, err := gcm(keys[0])
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, g.NonceSize(), g.NonceSize()+len(value)+g.Overhead())
	_, _ = rand.Read(nonce) // it cannot fail
	return g.Seal(nonce, nonce, value, []byte(name)), nil
}

// unseal opens a deposit. The error is errSealed.
func unseal(keys [][]byte, name string, sealed []byte) ([]byte, error) {
	for _, key := range keys {
		g, err := gcm(key)
		if err != nil || len(sealed) < g.NonceSize() {
			continue
		}
		if value, err := g.Open(nil, sealed[:g.NonceSize()], sealed[g.NonceSize():], []byte(name)); err == nil {
			return value, nil
		}
	}
	return nil, errSealed
}

// reseal seals anew what another key than the first one sealed, so that the other may go.
func (s *storage) reseal(ctx context.Context) {
	for _, d := range s.below("") {
		keys := s.cfg.Keys()
		if _, err := unseal(keys[:1], d.Name, d.Value); err == nil {
			continue
		}
		value, err := unseal(keys, d.Name, d.Value)
		if err != nil {
			continue // nobody can read it: it is ordered anew
		}
		fresh, err := seal(keys, d.Name, value)
		if err == nil {
			err = s.put(ctx, ownership.SetDeposit{Name: d.Name, Value: fresh, Expect: d.Digest()})
		}
		if err != nil && !errors.Is(err, ownership.ErrConflict) { // else another node was faster
			s.cfg.Logger.Warn("what was sealed with an older key is not sealed anew yet", "deposit", d.Name, "err", err)
		}
	}
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
