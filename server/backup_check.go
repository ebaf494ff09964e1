package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"assent/ledger"
	"assent/server/internal/store"
)

// scratch is a copy of the staged database that may be written to: opening it brings its schema up to date, and what is put in
// place has to be exactly what was backed up.
func (p placing) scratch() string { return p.staged() + ".check" }

// check demands that the staged files are a server: the keys are whole and the ledger's, and the database holds a ledger whose
// hashes are right and whose tables say what it amounts to. It returns the number of acts; 0 where the database is elsewhere.
func (p placing) check(ctx context.Context, m backupManifest) (acts int64, err error) {
	root, err := p.keys(m)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	k, err := openKeys(root, time.Now) // all are there, so none is made
	if err != nil || m.Database != store.SQLite {
		return 0, err
	}
	if err := copyFile(p.staged(), p.scratch()); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, removeDatabase(p.scratch())) }()
	db, err := store.Open(ctx, store.Config{Engine: store.SQLite, DSN: p.scratch(), Log: p.conf.Log})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := checkLedger(ctx, db); err != nil {
		return 0, err
	}
	if _, err := found(ctx, checkOnly{db}, root, k, time.Now()); err != nil {
		return 0, err
	}
	acts, _, err = db.Head(ctx)
	return acts, err
}

// keys opens the directory of the keys that the server will have: those of the backup, else those that are there.
func (p placing) keys(m backupManifest) (*os.Root, error) {
	if m.Keys {
		return p.dir.OpenRoot(stagingDir)
	}
	for _, name := range keyFiles() {
		if _, err := p.dir.Lstat(name); err != nil {
			return nil, fmt.Errorf("the backup has no keys, and they are not in %s: %w", p.dir.Name(), err)
		}
	}
	return p.dir.OpenRoot(".")
}

// checkOnly is a ledger to which nothing may be added.
type checkOnly struct{ *store.DB }

// Append implements acts.
func (checkOnly) Append(context.Context, ledger.Entry, *ledger.State) error {
	return errors.New("the ledger is not that of a server that ran")
}

// checkLedger compares entries, hashes and tables with each other.
func checkLedger(ctx context.Context, db *store.DB) error {
	var tree ledger.Tree
	replayed, err := ledger.Replay(func(yield func([]byte, error) bool) {
		const part = 500
		for next := int64(1); ; {
			some, err := db.Entries(ctx, next, part)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, e := range some {
				err := tree.Append(e.Data)
				if e.Seq != next {
					err = fmt.Errorf("entry %d is missing", next)
				}
				if next++; !yield(e.Data, err) || err != nil {
					return
				}
			}
			if len(some) == 0 {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	root, err := tree.Root()
	if err != nil {
		return err
	}
	seq, stored, err := db.Head(ctx)
	if err != nil {
		return err
	}
	if seq != tree.Size() || stored != root {
		return fmt.Errorf("the ledger's hashes are not those of its %d entries", tree.Size())
	}
	tables, err := db.LoadState(ctx)
	if err != nil {
		return err
	}
	return sameState(tables, replayed)
}

// sameState compares two states field by field, and names what differs.
func sameState(tables, replayed *ledger.State) error {
	a, b := reflect.ValueOf(tables).Elem(), reflect.ValueOf(replayed).Elem()
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		if a.Field(i).Kind() != reflect.Map {
			if !sameJSON(a.Field(i), b.Field(i)) {
				return fmt.Errorf("the tables disagree with the ledger about %s", name)
			}
			continue
		}
		if a.Field(i).Len() != b.Field(i).Len() {
			return fmt.Errorf("the tables have %d of %s, the ledger %d", a.Field(i).Len(), name, b.Field(i).Len())
		}
		for _, key := range a.Field(i).MapKeys() {
			other := b.Field(i).MapIndex(key)
			if !other.IsValid() || !sameJSON(a.Field(i).MapIndex(key), other) {
				return fmt.Errorf("the tables disagree with the ledger about %s %v", name, key.Interface())
			}
		}
	}
	return nil
}

// sameJSON compares values by what would be stored of them.
func sameJSON(a, b reflect.Value) bool {
	x, errX := json.Marshal(a.Interface())
	y, errY := json.Marshal(b.Interface())
	return errX == nil && errY == nil && string(x) == string(y)
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy %s: %w", filepath.Base(from), err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("copy %s: %w", filepath.Base(from), err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", filepath.Base(from), err)
	}
	return nil
}
