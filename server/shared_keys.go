package server

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/argon2"

	"assent/server/internal/ca"
	"assent/server/internal/store"
	"assent/wire"
)

// lacks lists the key files that are not in a data directory.
func lacks(dir *os.Root) (missing []string) {
	for _, name := range keyFiles() {
		if _, err := dir.Stat(name); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, name)
		}
	}
	return missing
}

// requireKeys refuses to make keys for a database that has a ledger: it began with other ones.
func requireKeys(ctx context.Context, db *store.DB, dir *os.Root) error {
	missing := lacks(dir)
	if len(missing) == 0 {
		return nil
	}
	seq, _, err := db.Head(ctx)
	if err != nil {
		return err
	}
	if seq > 0 {
		return fmt.Errorf("the database has a ledger already and %s lacks its keys (%s): bring them from a server of this installation with `assentd keys export` there and `assentd keys import` here, or put them back from a backup",
			dir.Name(), strings.Join(missing, ", "))
	}
	return nil
}

// pin refuses a server whose ledger key is not the one of the others: it would sign checkpoints that nobody trusts and could
// read no secret of a channel. The other keys stand in the ledger itself.
func pin(ctx context.Context, db *store.DB, k keys, dir string) error {
	own := wire.KeyID(k.ledger.Public().(ed25519.PublicKey))
	pinned, err := db.Pin(ctx, store.Installation{LedgerKey: own})
	if err != nil {
		return err
	}
	if pinned.LedgerKey != own {
		return fmt.Errorf("the %s in %s is not the one of this installation: put back the one that belongs to it, or import it with `assentd keys import`", ledgerKeyFile, dir)
	}
	return nil
}

// sealedKeys is the file of `assentd keys export`.
type sealedKeys struct {
	Format string `json:"format"`
	Salt   []byte `json:"salt"`
	Nonce  []byte `json:"nonce"`
	Sealed []byte `json:"sealed"` // JSON: the files by name, AES-256-GCM under a key from the passphrase (argon2id)
}

const (
	keysFormat    = "assent keys 1"
	minPassphrase = 12
	maxKeysFile   = 1 << 20
)

// passphraseCipher is the cipher of a passphrase: a guess costs 64 MiB and three passes.
func passphraseCipher(passphrase string, salt []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(argon2.IDKey([]byte(passphrase), salt, 3, 64<<10, 4, 32))
	if err != nil {
		return nil, fmt.Errorf("prepare the cipher of the keys: %w", err)
	}
	return cipher.NewGCM(block)
}

// sealKeys packs the keys of a data directory.
func sealKeys(dir *os.Root, passphrase string) ([]byte, error) {
	files := map[string][]byte{}
	for _, name := range keyFiles() {
		data, err := ca.ReadPrivate(dir, name)
		if err != nil {
			return nil, err
		}
		files[name] = data
	}
	plain, err := json.Marshal(files)
	if err != nil {
		return nil, fmt.Errorf("pack the keys: %w", err)
	}
	out := sealedKeys{Format: keysFormat, Salt: make([]byte, 16), Nonce: make([]byte, 12)}
	rand.Read(out.Salt) // crypto/rand.Read never fails
	rand.Read(out.Nonce)
	aead, err := passphraseCipher(passphrase, out.Salt)
	if err != nil {
		return nil, err
	}
	out.Sealed = aead.Seal(nil, out.Nonce, plain, []byte(keysFormat))
	return json.Marshal(out)
}

// openSealed unpacks what sealKeys packed.
func openSealed(data []byte, passphrase string) (map[string][]byte, error) {
	var in sealedKeys
	if err := json.Unmarshal(data, &in); err != nil || in.Format != keysFormat || len(in.Nonce) != 12 {
		return nil, errors.New("this is no file of `assentd keys export`")
	}
	aead, err := passphraseCipher(passphrase, in.Salt)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, in.Nonce, in.Sealed, []byte(keysFormat))
	if err != nil {
		return nil, errors.New("the passphrase is another one, or the file was damaged")
	}
	files := map[string][]byte{}
	if err := json.Unmarshal(plain, &files); err != nil {
		return nil, fmt.Errorf("unpack the keys: %w", err)
	}
	for _, name := range keyFiles() {
		if len(files[name]) == 0 {
			return nil, fmt.Errorf("the file has no %s", name)
		}
	}
	return files, nil
}

// importKeys writes keys into a data directory that has none, or has the same.
func importKeys(dir *os.Root, files map[string][]byte) error {
	var missing []string
	for _, name := range keyFiles() {
		old, err := dir.ReadFile(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, name)
		case err != nil:
			return fmt.Errorf("look at %s: %w", name, err)
		case !bytes.Equal(old, files[name]):
			return fmt.Errorf("%s has another %s: it is the data directory of another server; nothing was changed", dir.Name(), name)
		}
	}
	for _, name := range missing {
		if err := ca.WriteSynced(dir, name, files[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}

// keysCommand is `assentd keys`.
func (c *command) keysCommand() *cobra.Command {
	var secret string
	cmd := &cobra.Command{Use: "keys", Short: "Bring the keys of one server to another one of the same installation",
		Long: "Servers on one PostgreSQL database are one installation and have the same keys: of the CA, of plans and of the\nledger. Export them on a server that has them, carry the file over, import it where a server is to be added, and\ndelete the file. Whoever has the file and the passphrase can be your server."}
	cmd.PersistentFlags().StringVar(&secret, "passphrase-file", "", "file whose first line is the passphrase, of at least 12 characters")
	export := &cobra.Command{Use: "export FILE", Short: "Write the keys, sealed with a passphrase", Args: cobra.ExactArgs(1),
		Example: "  assentd keys export /root/assent.keys --passphrase-file /root/passphrase",
		RunE:    func(_ *cobra.Command, args []string) error { return c.exportKeys(args[0], secret) }}
	imp := &cobra.Command{Use: "import FILE", Short: "Put exported keys into the data directory of a server that has not run yet", Args: cobra.ExactArgs(1),
		Example: "  assentd keys import /root/assent.keys --passphrase-file /root/passphrase",
		RunE:    func(_ *cobra.Command, args []string) error { return c.importKeys(args[0], secret) }}
	cmd.AddCommand(export, imp)
	return cmd
}

// passphrase reads the first line of a file.
func passphrase(file string) (string, error) {
	if file == "" {
		return "", errors.New("name the file of the passphrase with --passphrase-file")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimRight(line, "\r"); len(line) < minPassphrase {
		return "", fmt.Errorf("the passphrase in %s has fewer than %d characters", file, minPassphrase)
	}
	return line, nil
}

func (c *command) exportKeys(to, secret string) (err error) {
	word, err := passphrase(secret)
	if err != nil {
		return err
	}
	conf, err := c.config()
	if err != nil {
		return err
	}
	if conf, err = conf.normal(); err != nil {
		return err
	}
	dir, err := os.OpenRoot(conf.Data)
	if err != nil {
		return fmt.Errorf("open the data directory: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if missing := lacks(dir); len(missing) > 0 {
		return fmt.Errorf("%s lacks %s: no server has run there", conf.Data, strings.Join(missing, ", "))
	}
	sealed, err := sealKeys(dir, word)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write the keys: %w", err)
	}
	_, err = f.Write(sealed)
	return errors.Join(err, f.Sync(), f.Close())
}

func (c *command) importKeys(from, secret string) (err error) {
	word, err := passphrase(secret)
	if err != nil {
		return err
	}
	conf, err := c.config()
	if err != nil {
		return err
	}
	if conf, err = conf.normal(); err != nil {
		return err
	}
	if info, err := os.Stat(from); err != nil || info.Size() > maxKeysFile {
		return errors.Join(fmt.Errorf("read the keys: %s is not there or larger than %d bytes", from, maxKeysFile), err)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read the keys: %w", err)
	}
	files, err := openSealed(data, word)
	if err != nil {
		return err
	}
	dir, err := openData(conf.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	release, err := lock(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := importKeys(dir, files); err != nil {
		return err
	}
	_, err = openKeys(dir, time.Now) // they can be used
	return err
}
