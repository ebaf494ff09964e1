package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"assent/fault"
	"assent/wire"
)

// PutDocument stores a document under its digest; a document that is there stays. The caller has checked
// that digest is the one of body. Calls that come at the same time share a transaction.
func (d *DB) PutDocument(ctx context.Context, kind wire.Kind, digest string, body []byte) error {
	if len(body) > wire.MaxDocument {
		return fault.New(fault.TooLarge, "document_too_large", "A document may have %d bytes; this one has %d.", wire.MaxDocument, len(body))
	}
	return d.documents.do(ctx, packed{kind: key(string(kind)), digest: key(digest), body: d.pack.EncodeAll(body, nil)})
}

// packed is a document as it stands in the database.
type packed struct {
	kind, digest string
	body         []byte
}

// putDocuments writes the documents of several calls.
func (d *DB) putDocuments(ctx context.Context, docs []packed) error {
	docs = latest(docs, func(p packed) string { return p.kind + "\x00" + p.digest })
	now, rows := d.now().UnixMicro(), make([][]any, len(docs))
	for i, p := range docs {
		rows[i] = []any{p.kind, p.digest, now, p.body}
	}
	return d.write(ctx, "put documents", func(t tx) error {
		// A document that is sent again counts as new, so that PruneDocuments leaves it to its contact.
		_, err := t.many(ctx, `INSERT INTO documents (kind, digest, stored_at, body) VALUES :rows
			ON CONFLICT (kind, digest) DO UPDATE SET stored_at = excluded.stored_at`, rows)
		return err
	})
}

// Document returns a stored document, or a fault.NotFound.
func (d *DB) Document(ctx context.Context, kind wire.Kind, digest string) (doc []byte, err error) {
	var packed []byte
	err = d.read(ctx, "read document", func(t tx) error {
		return t.QueryRowContext(ctx, t.bind(`SELECT body FROM documents WHERE kind = ? AND digest = ?`),
			key(string(kind)), key(digest)).Scan(&packed)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.New(fault.NotFound, "document_unknown", "There is no such document.")
	}
	if err != nil {
		return nil, err
	}
	if doc, err = d.unpack.DecodeAll(packed, nil); err != nil {
		return nil, fmt.Errorf("read document: decompress %s %s: %w", kind, digest, err)
	}
	return doc, nil
}

// Packed is a document as it lies in the database.
type Packed struct {
	Kind   wire.Kind
	Digest string
	Body   func() ([]byte, error) // unpacks it; may be called on any goroutine while the database is open
}

// LoadDocuments calls fn with every document, in no order. Their digests have been checked when they were stored, and
// are to be checked again. fn must not call the store.
func (d *DB) LoadDocuments(ctx context.Context, fn func(Packed) error) error {
	return d.load(ctx, "load documents", func(t tx) error {
		return t.each(ctx, `SELECT kind, digest, body FROM documents`, nil, func(scan func(...any) error) error {
			var p Packed
			var body []byte
			if err := scan(&p.Kind, &p.Digest, &body); err != nil {
				return err
			}
			p.Body = func() ([]byte, error) {
				doc, err := d.unpack.DecodeAll(body, nil)
				if err != nil {
					return nil, fmt.Errorf("decompress %s %s: %w", p.Kind, p.Digest, err)
				}
				return doc, nil
			}
			return fn(p)
		})
	})
}

// PruneDocuments removes documents that were stored before olderThan and that no contact refers to, and
// returns how many. On PostgreSQL a device that returns to such a document in this very moment is asked
// for it again, as for any document that the server does not have.
func (d *DB) PruneDocuments(ctx context.Context, olderThan time.Time) (n int64, err error) {
	return d.inBatches(ctx, "prune documents", func(t tx) (int64, error) {
		old, err := t.unreferenced(ctx, olderThan)
		if err != nil {
			return 0, err
		}
		return t.many(ctx, `DELETE FROM documents WHERE (kind, digest) IN (VALUES :rows)`, old[:min(len(old), pruneBatch)])
	})
}

// unreferenced lists the keys of old documents that no contact refers to.
func (t tx) unreferenced(ctx context.Context, olderThan time.Time) (old [][]any, err error) {
	type doc struct{ kind, digest string }
	used := map[doc]bool{}
	err = bodies(ctx, t, `SELECT body FROM contacts`, func(c Contact) error {
		for kind, digest := range c.Digests {
			used[doc{key(string(kind)), key(digest)}] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = t.each(ctx, `SELECT kind, digest FROM documents WHERE stored_at < ?`, []any{olderThan.UnixMicro()},
		func(scan func(...any) error) error {
			var d doc
			if err := scan(&d.kind, &d.digest); err != nil {
				return err
			}
			if !used[d] {
				old = append(old, []any{d.kind, d.digest})
			}
			return nil
		})
	return old, err
}
