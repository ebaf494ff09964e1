package ledger

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// originPrefix begins a checkpoint's first line and the name of the key that signs it.
const originPrefix = "assent-ledger/"

// Checkpoint commits to a ledger's first Size entries. Signed, it is a note (golang.org/x/mod/sumdb/note)
// of three lines: "assent-ledger/ORG", the size, the root in base64.
type Checkpoint struct {
	Org  string // the ledger's ServerInit.Org
	Size int64
	Root tlog.Hash
}

// Text is what is signed.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s%s\n%d\n%s\n", originPrefix, c.Org, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// ParseCheckpoint reads what Text writes, and nothing else.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" || !strings.HasPrefix(lines[0], originPrefix) {
		return Checkpoint{}, errors.New("this is not the checkpoint of an Assent ledger")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return Checkpoint{}, fmt.Errorf("checkpoint: %q is not a size", lines[1])
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("checkpoint: %q is not a root hash", lines[2])
	}
	c := Checkpoint{Org: strings.TrimPrefix(lines[0], originPrefix), Size: size, Root: tlog.Hash(root)}
	if c.Text() != text {
		return Checkpoint{}, errors.New("checkpoint: it is not in the one form that is signed")
	}
	return c, nil
}

// signer signs checkpoints of one ledger.
type signer struct {
	note.Verifier
	key ed25519.PrivateKey
}

// Sign signs the bytes of a note.
func (s signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// VerifierKey is the text of the public key that people keep to verify the ledger of an organisation:
// "assent-ledger/ORG+HASH+KEY".
func VerifierKey(org string, key ed25519.PublicKey) (string, error) {
	text, err := note.NewEd25519VerifierKey(originPrefix+org, key)
	if err != nil {
		return "", fmt.Errorf("make the ledger's verifier key: %w", err)
	}
	if _, err := note.NewVerifier(text); err != nil {
		return "", fmt.Errorf("make the ledger's verifier key for the organisation %q: %w", org, err)
	}
	return text, nil
}

// NewSigner makes the signer of an organisation's checkpoints from a private key.
func NewSigner(org string, key ed25519.PrivateKey) (note.Signer, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("make the ledger's signer: an Ed25519 private key has %d bytes, not %d", ed25519.PrivateKeySize, len(key))
	}
	text, err := VerifierKey(org, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("make the ledger's signer: %w", err)
	}
	return signer{Verifier: v, key: key}, nil
}

// Sign returns the checkpoint as a signed note.
func (c Checkpoint) Sign(s note.Signer) ([]byte, error) {
	if s.Name() != originPrefix+c.Org {
		return nil, fmt.Errorf("sign checkpoint: the key %q is not the one of %q", s.Name(), c.Org)
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, s)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint of size %d: %w", c.Size, err)
	}
	return signed, nil
}

// VerifyCheckpoint returns the checkpoint in a signed note if the key that verifierKey (from
// VerifierKey) names has signed it. The note must hold that signature and no other bytes.
func VerifyCheckpoint(signed []byte, verifierKey string) (Checkpoint, error) {
	v, err := note.NewVerifier(verifierKey)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read the verifier key: %w", err)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("verify checkpoint: %w", err)
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if originPrefix+c.Org != v.Name() {
		return Checkpoint{}, fmt.Errorf("verify checkpoint: it is of %q, but the key is %q", c.Org, v.Name())
	}
	if !canonicalNote(signed, n) {
		return Checkpoint{}, errors.New("verify checkpoint: bytes were added to the signed note")
	}
	return c, nil
}

// canonicalNote reports whether signed is exactly the note with its one signature. note.Open lets
// foreign signatures and loose base64 pass, which would be bytes that nobody vouches for.
func canonicalNote(signed []byte, n *note.Note) bool {
	if len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64)
	if err != nil {
		return false
	}
	line := fmt.Sprintf("\n— %s %s\n", n.Sigs[0].Name, base64.StdEncoding.EncodeToString(raw))
	return bytes.Equal(signed, []byte(n.Text+line))
}

// ProveConsistency makes the proof that the ledger's first older entries are a prefix of its first
// newer entries. Anything extends the empty ledger, and every tree itself: then the proof is empty.
func ProveConsistency(older, newer int64, r tlog.HashReader) (tlog.TreeProof, error) {
	if older < 0 || older > newer {
		return nil, fmt.Errorf("prove consistency: a ledger of %d entries cannot extend one of %d", newer, older)
	}
	if older == 0 || older == newer {
		return tlog.TreeProof{}, nil
	}
	proof, err := tlog.ProveTree(newer, older, r)
	if err != nil {
		return nil, fmt.Errorf("prove that %d entries extend %d: %w", newer, older, err)
	}
	return proof, nil
}

// CheckConsistency checks that newer extends older: nothing that older commits to was changed, left
// out or reordered.
func CheckConsistency(older, newer Checkpoint, proof tlog.TreeProof) error {
	empty, _ := (&Tree{}).Root() // of size 0: reads no hash, cannot fail
	switch {
	case older.Org != newer.Org:
		return fmt.Errorf("the checkpoints are of two ledgers, %q and %q", older.Org, newer.Org)
	case newer.Size < older.Size:
		return fmt.Errorf("the ledger shrank from %d entries to %d", older.Size, newer.Size)
	case older.Size == 0 && older.Root != empty, newer.Size == 0 && newer.Root != empty:
		return errors.New("a checkpoint of no entries has the root of some")
	case older.Size == newer.Size && older.Root != newer.Root:
		return fmt.Errorf("there are two ledgers with %d entries each", older.Size)
	case older.Size == 0 || older.Size == newer.Size:
		if len(proof) != 0 {
			return errors.New("the proof is longer than it may be")
		}
		return nil
	}
	if err := tlog.CheckTree(proof, newer.Size, newer.Root, older.Size, older.Root); err != nil {
		return fmt.Errorf("%d entries do not extend the %d of the older checkpoint: %w", newer.Size, older.Size, err)
	}
	return nil
}
