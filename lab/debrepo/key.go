package debrepo

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// keyBirth lies before any Date that a lab repository could be given, so that old states verify too.
var keyBirth = time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC)

// Key signs release files.
type Key struct{ entity *openpgp.Entity }

// NewKey makes an ed25519 key in the OpenPGP v4 form that gpgv 2.2 and sqv both verify.
func NewKey(name string) (*Key, error) {
	entity, err := openpgp.NewEntity(name, "lab", name+"@lab.invalid", keyConfig(keyBirth))
	if err != nil {
		return nil, fmt.Errorf("make signing key %s: %w", name, err)
	}
	return &Key{entity}, nil
}

func keyConfig(now time.Time) *packet.Config {
	return &packet.Config{
		Algorithm:   packet.PubKeyAlgoEdDSA,
		DefaultHash: crypto.SHA512,
		Time:        func() time.Time { return now },
	}
}

// Fingerprint is the key's fingerprint in upper-case hex.
func (k *Key) Fingerprint() string { return fmt.Sprintf("%X", k.entity.PrimaryKey.Fingerprint) }

// Public is the ASCII-armoured public key, as a Signed-By file wants it.
func (k *Key) Public() ([]byte, error) {
	return armored(openpgp.PublicKeyType, k.entity.Serialize)
}

func (k *Key) private() ([]byte, error) {
	return armored(openpgp.PrivateKeyType, func(w io.Writer) error { return k.entity.SerializePrivate(w, nil) })
}

// armored encodes with the CRC-24 line that RFC 9580 made optional: gpgv 2.2 stumbles without it.
func armored(kind string, write func(io.Writer) error) ([]byte, error) {
	var out bytes.Buffer
	w, err := armor.EncodeWithChecksumOption(&out, kind, nil, true)
	if err != nil {
		return nil, fmt.Errorf("armour: %w", err)
	}
	if err := write(w); err != nil {
		return nil, fmt.Errorf("serialise: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("armour: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// clearSign returns text as a clear-signed message, dated now. The text is a release file: it ends in a line break,
// and no line begins with a dash or ends in a blank, so it needs no escaping.
func (k *Key) clearSign(text []byte, now time.Time) ([]byte, error) {
	signature, err := armored(openpgp.SignatureType, func(w io.Writer) error {
		// The last line break belongs to the framing, not to the signed text.
		return openpgp.DetachSignText(w, k.entity, bytes.NewReader(bytes.TrimSuffix(text, []byte("\n"))), keyConfig(now))
	})
	if err != nil {
		return nil, fmt.Errorf("sign release: %w", err)
	}
	head := []byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n")
	return slices.Concat(head, text, signature), nil
}

// detachSign returns the armoured signature of text (Release.gpg), dated now.
func (k *Key) detachSign(text []byte, now time.Time) ([]byte, error) {
	signature, err := armored(openpgp.SignatureType, func(w io.Writer) error {
		return openpgp.DetachSign(w, k.entity, bytes.NewReader(text), keyConfig(now))
	})
	if err != nil {
		return nil, fmt.Errorf("sign release: %w", err)
	}
	return signature, nil
}

// loadKey reads the key in file, or makes one called name and stores it there if the file does not exist.
func loadKey(file, name string) (*Key, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return storeNewKey(file, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("parse signing key %s: %w", file, err)
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("parse signing key %s: it holds %d keys", file, len(list))
	}
	return &Key{list[0]}, nil
}

func storeNewKey(file, name string) (*Key, error) {
	key, err := NewKey(name)
	if err != nil {
		return nil, err
	}
	text, err := key.private()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("store signing key: %w", err)
	}
	if err := writeFile(file, text, 0o600); err != nil {
		return nil, fmt.Errorf("store signing key: %w", err)
	}
	return key, nil
}
