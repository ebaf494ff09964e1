package publish

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/nacl/secretbox"

	"assent/fault"
	"assent/trust/internal/durable"
)

// Secret gives the passphrase of a key; what says for which one, in words.
type Secret func(what string) ([]byte, error)

// key is a private key of one role.
type key struct {
	role    Role
	id      string // TUF's key id
	public  *metadata.Key
	private ed25519.PrivateKey
}

func newKey(r Role) (key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return key{}, fmt.Errorf("make a key: %w", err)
	}
	return keyOf(r, private)
}

func keyOf(r Role, private ed25519.PrivateKey) (key, error) {
	public, err := metadata.KeyFromPublicKey(private.Public())
	if err != nil {
		return key{}, fmt.Errorf("key of role %s: %w", r, err)
	}
	id, err := public.ID()
	if err != nil {
		return key{}, fmt.Errorf("key of role %s: %w", r, err)
	}
	return key{role: r, id: id, public: public, private: private}, nil
}

// signer is the private key as go-tuf asks for it.
func (k key) signer() signature.Signer {
	s, err := signature.LoadED25519Signer(k.private)
	if err != nil {
		return nil // cannot be: keyOf took the same key
	}
	return s
}

// keyFile is a private key on disk.
type keyFile struct {
	Format int    `json:"key"` // 1
	Role   Role   `json:"role"`
	ID     string `json:"id"`
	Seed   []byte `json:"seed,omitempty"`   // in clear
	Sealed *box   `json:"sealed,omitempty"` // or under a passphrase
}

// box is a seed under a passphrase: NaCl secretbox with a key from argon2id.
type box struct {
	KDF    string `json:"kdf"` // "argon2id"
	Time   uint32 `json:"time"`
	Memory uint32 `json:"memory_kib"`
	Salt   []byte `json:"salt"`
	Nonce  []byte `json:"nonce"`
	Box    []byte `json:"box"`
}

func keyName(r Role, id string) string { return string(r) + "-" + id[:12] + ".json" }

func (k key) write(dir string, secret Secret) error {
	f := keyFile{Format: 1, Role: k.role, ID: k.id, Seed: k.private.Seed()}
	if secret != nil {
		pass, err := secret("the new keys")
		if err != nil {
			return err
		}
		if f.Sealed, err = seal(f.Seed, pass); err != nil {
			return err
		}
		f.Seed = nil
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}
	return durable.Write(filepath.Join(dir, keyName(k.role, k.id)), append(b, '\n'), 0o600)
}

func seal(seed, pass []byte) (*box, error) {
	b := &box{KDF: "argon2id", Time: 3, Memory: 64 << 10, Salt: make([]byte, 16), Nonce: make([]byte, 24)}
	if _, err := rand.Read(b.Salt); err != nil {
		return nil, fmt.Errorf("seal a key: %w", err)
	}
	if _, err := rand.Read(b.Nonce); err != nil {
		return nil, fmt.Errorf("seal a key: %w", err)
	}
	b.Box = secretbox.Seal(nil, seed, (*[24]byte)(b.Nonce), b.derive(pass))
	return b, nil
}

func (b *box) derive(pass []byte) *[32]byte {
	return (*[32]byte)(argon2.IDKey(pass, b.Salt, b.Time, b.Memory, 1, 32))
}

func (b *box) open(pass []byte) ([]byte, error) {
	if b.KDF != "argon2id" || b.Time < 1 || b.Time > 100 || b.Memory < 8 || b.Memory > 4<<20 || len(b.Nonce) != 24 || len(b.Salt) < 8 {
		return nil, fmt.Errorf("sealed with %.20q and parameters that are not known", b.KDF)
	}
	seed, ok := secretbox.Open(nil, b.Box, (*[24]byte)(b.Nonce), b.derive(pass))
	if !ok {
		return nil, fault.New(fault.Forbidden, "feed_passphrase", "The passphrase does not open the key.")
	}
	return seed, nil
}

// held finds the private keys that folders hold of the wanted ids. Keys of other feeds may lie beside them.
func held(dirs []string, wanted []string, secret Secret) ([]key, error) {
	var out []key
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(globQuote(dir), "*-????????????.json"))
		if err != nil {
			return nil, fmt.Errorf("look for keys in %s: %w", dir, err)
		}
		for _, name := range names {
			id := strings.TrimSuffix(name[strings.LastIndexByte(name, '-')+1:], ".json")
			if !slices.ContainsFunc(wanted, func(w string) bool { return strings.HasPrefix(w, id) }) {
				continue // of another role or feed
			}
			k, ok, err := readKey(name, wanted, secret)
			if err != nil {
				return nil, err
			}
			if ok && !slices.ContainsFunc(out, func(o key) bool { return o.id == k.id }) {
				out = append(out, k)
			}
		}
	}
	return out, nil
}

// globQuote takes a folder's name literally.
func globQuote(dir string) string {
	var out []rune
	for _, r := range dir {
		if slices.Contains([]rune{'*', '?', '[', '\\'}, r) && os.PathSeparator != '\\' {
			out = append(out, '\\')
		}
		out = append(out, r)
	}
	return string(out)
}

// readKey opens a key if it is wanted. A key that others may read is refused: they may have.
func readKey(name string, wanted []string, secret Secret) (key, bool, error) {
	info, err := os.Stat(name)
	if err != nil {
		return key{}, false, fmt.Errorf("read a key: %w", err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return key{}, false, fmt.Errorf("read a key: %w", err)
	}
	var f keyFile
	if err := json.Unmarshal(b, &f); err != nil || f.Format != 1 {
		return key{}, false, fault.New(fault.Invalid, "feed_key_malformed", "The key %s is damaged.", name).Because(err)
	}
	if !slices.Contains(wanted, f.ID) {
		return key{}, false, nil
	}
	if info.Mode().Perm()&0o077 != 0 {
		return key{}, false, fault.New(fault.Conflict, "feed_key_open", "Others may read the key %s; run `chmod 600` on it, and rotate it if they may have.", name)
	}
	seed := f.Seed
	if f.Sealed != nil {
		if secret == nil {
			return key{}, false, fault.New(fault.Invalid, "feed_passphrase", "The key %s is sealed; give its passphrase.", name)
		}
		pass, err := secret(filepath.Base(name))
		if err != nil {
			return key{}, false, err
		}
		if seed, err = f.Sealed.open(pass); err != nil {
			return key{}, false, err
		}
	}
	if len(seed) != ed25519.SeedSize {
		return key{}, false, fault.New(fault.Invalid, "feed_key_malformed", "The key %s is damaged.", name)
	}
	k, err := keyOf(f.Role, ed25519.NewKeyFromSeed(seed))
	if err == nil && k.id != f.ID {
		err = fault.New(fault.Invalid, "feed_key_malformed", "The key %s is not the one that it says.", name)
	}
	return k, err == nil, err
}

// fingerprint is the SHA-256 of a file's bytes in the form in which people compare it.
func fingerprint(sum [32]byte) string { return hex.EncodeToString(sum[:]) }
