package s3

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"assent/content"
)

// stat asks for an object without its bytes.
func (s *Store) stat(ctx context.Context, digest string) (minio.ObjectInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, shortTime)
	defer cancel()
	info, err := s.core.StatObject(ctx, s.bucket, s.key(digest), minio.StatObjectOptions{})
	if err != nil {
		return info, explain(fmt.Errorf("look for a file: %w", err))
	}
	return info, nil
}

// Has implements content.Reader.
func (s *Store) Has(ctx context.Context, digest string) (bool, error) {
	if err := content.CheckName(digest); err != nil {
		return false, err
	}
	_, err := s.stat(ctx, digest)
	if errors.Is(err, content.ErrUnknown) {
		return false, nil
	}
	return err == nil, err
}

// Remove implements content.Writer.
func (s *Store) Remove(ctx context.Context, digest string) error {
	if err := content.CheckName(digest); err != nil {
		return err
	}
	return s.remove(ctx, s.key(digest))
}

func (s *Store) remove(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, shortTime)
	defer cancel()
	err := explain(s.core.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{}))
	if err != nil && !errors.Is(err, content.ErrUnknown) {
		return fmt.Errorf("remove a file: %w", err)
	}
	return nil
}

// List implements content.Keeper. What has no digest for a name is not a file of this store and is passed over.
func (s *Store) List(ctx context.Context) iter.Seq2[content.Info, error] {
	return func(yield func(content.Info, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the listing of a caller who has enough
		for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix}) {
			if o.Err != nil {
				yield(content.Info{}, explain(fmt.Errorf("list files: %w", o.Err)))
				return
			}
			digest := strings.TrimPrefix(o.Key, s.prefix)
			if content.CheckName(digest) != nil {
				continue
			}
			if !yield(content.Info{SHA256: digest, Size: o.Size, Put: o.LastModified}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(content.Info{}, err) // a listing that was cut off is not all of it
		}
	}
}

// Sweep implements content.Keeper. It gives up what uploads were left unfinished before that time, too.
func (s *Store) Sweep(ctx context.Context, before time.Time, keep func(string) bool) (freed int64, err error) {
	for info, err := range s.List(ctx) {
		if err != nil {
			return freed, err
		}
		if !info.Put.Before(before) || keep(info.SHA256) {
			continue
		}
		gone, err := s.sweepOne(ctx, info.SHA256, before)
		if err != nil {
			return freed, err
		}
		if gone {
			freed += info.Size
		}
	}
	return freed, s.sweepUnfinished(ctx, before)
}

// sweepOne removes a file unless it was put again since it was listed.
func (s *Store) sweepOne(ctx context.Context, digest string, before time.Time) (gone bool, err error) {
	now, err := s.stat(ctx, digest)
	switch {
	case errors.Is(err, content.ErrUnknown):
		return false, nil
	case err != nil:
		return false, err
	case !now.LastModified.Before(before):
		return false, nil
	}
	err = s.Remove(ctx, digest)
	return err == nil, err
}

// sweepUnfinished gives up uploads whose program has gone.
func (s *Store) sweepUnfinished(ctx context.Context, before time.Time) error {
	var key, id string
	for {
		page, err := s.unfinished(ctx, key, id)
		if err != nil {
			return err
		}
		for _, u := range page.Uploads {
			if content.CheckName(strings.TrimPrefix(u.Key, s.prefix)) != nil || !u.Initiated.Before(before) {
				continue
			}
			if err := s.abort(ctx, u.Key, u.UploadID); err != nil {
				return err
			}
		}
		if !page.IsTruncated || page.NextKeyMarker == key && page.NextUploadIDMarker == id {
			return nil
		}
		key, id = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// unfinished is a page of the uploads that are neither complete nor given up.
func (s *Store) unfinished(ctx context.Context, key, id string) (minio.ListMultipartUploadsResult, error) {
	ctx, cancel := context.WithTimeout(ctx, shortTime)
	defer cancel()
	page, err := s.core.ListMultipartUploads(ctx, s.bucket, s.prefix, key, id, "", 1000)
	if err != nil {
		return page, explain(fmt.Errorf("list unfinished uploads: %w", err))
	}
	return page, nil
}

func (s *Store) abort(ctx context.Context, key, id string) error {
	ctx, cancel := context.WithTimeout(ctx, shortTime)
	defer cancel()
	err := s.core.AbortMultipartUpload(ctx, s.bucket, key, id)
	if r, _ := response(err); err != nil && r.Code != "NoSuchUpload" {
		return explain(fmt.Errorf("give up an unfinished upload: %w", err))
	}
	return nil
}
