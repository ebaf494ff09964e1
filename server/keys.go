package server

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"assent/server/internal/ca"
	"assent/server/internal/notify"
)

// The files of the data directory besides the database and the CA.
const (
	planKeyFile   = "plan.key"      // signs plans
	ledgerKeyFile = "ledger.key"    // signs checkpoints of the ledger
	lockFile      = "lock"          // held by the running server
	signInFile    = "first-sign-in" // the first administrator's one-time sign-in
)

// keys are the server's private keys. They are files of the data directory and never in the database, so
// a stolen database or its backup lets nobody sign anything.
type keys struct {
	ca     *ca.CA
	plan   ed25519.PrivateKey
	ledger ed25519.PrivateKey
	seal   []byte // seals the secrets of channels in the database; derived from the ledger's, so that no backup or replica lacks it
}

// openData opens the data directory and makes it when it is not there.
func openData(path string) (*os.Root, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("look at the data directory: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return nil, fmt.Errorf("the data directory %s has mode %04o: others may write to it; set it to 0700", path, mode)
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open the data directory: %w", err)
	}
	return dir, nil
}

// lock makes sure that one server runs on a data directory. The lock ends with the process.
func lock(dir *os.Root) (release func() error, err error) {
	f, err := dir.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another assentd runs on the data directory %s: %w", dir.Name(), err), f.Close())
	}
	// Closing alone would not do: a process that is being started meanwhile holds a copy of the descriptor.
	return func() error { return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close()) }, nil
}

// openKeys reads the keys, or makes those that are not there.
func openKeys(dir *os.Root, now func() time.Time) (keys, error) {
	authority, err := ca.Open(dir, now)
	if err != nil {
		return keys{}, err
	}
	k := keys{ca: authority}
	if k.plan, err = openKey(dir, planKeyFile); err != nil {
		return keys{}, err
	}
	if k.ledger, err = openKey(dir, ledgerKeyFile); err != nil {
		return keys{}, err
	}
	if k.seal, err = hkdf.Key(sha256.New, k.ledger.Seed(), nil, "assent secrets of channels", notify.KeySize); err != nil {
		return keys{}, fmt.Errorf("derive the key that seals secrets: %w", err)
	}
	return k, nil
}

// openKey reads an Ed25519 key, or makes it.
func openKey(dir *os.Root, name string) (ed25519.PrivateKey, error) {
	data, err := ca.ReadPrivate(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(dir, name)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("read %s: it holds no PEM block", name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read %s: it holds a %T, not an Ed25519 key", name, key)
	}
	return ed, nil
}

func makeKey(dir *os.Root, name string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	if err := ca.WriteSynced(dir, name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, fmt.Errorf("keep %s: %w", name, err)
	}
	return key, nil
}
