package notify

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// KeySize is the length of the key that seals secrets, in bytes.
const KeySize = 32

// sealer seals the secrets of channels (AES-256-GCM). What is sealed for one channel opens for no other.
type sealer struct{ aead cipher.AEAD }

func newSealer(key []byte) (sealer, error) {
	if len(key) != KeySize {
		return sealer{}, fmt.Errorf("notify: the key for secrets has %d bytes, not %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, fmt.Errorf("prepare the key for secrets: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return sealer{}, fmt.Errorf("prepare the key for secrets: %w", err)
	}
	return sealer{aead}, nil
}

// seal seals a secret of a channel.
func (s sealer) seal(channel, secret string) []byte {
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // it never fails; see crypto/rand
	return s.aead.Seal(nonce, nonce, []byte(secret), []byte(channel))
}

// errSealed is the failure of a secret that another key sealed.
var errSealed = errors.New("the secret was sealed with another key: set it again")

// open opens what was sealed for a channel.
func (s sealer) open(channel string, sealed []byte) (string, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return "", errSealed
	}
	secret, err := s.aead.Open(nil, sealed[:n], sealed[n:], []byte(channel))
	if err != nil {
		return "", errSealed
	}
	return string(secret), nil
}
