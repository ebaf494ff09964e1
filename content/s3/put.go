package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"assent/content"
)

// Put implements content.Writer.
func (s *Store) Put(ctx context.Context, r io.Reader, size int64, digest string) error {
	if err := content.CheckName(digest); err != nil {
		return err
	}
	if size < 0 {
		return content.ErrMismatch
	}
	if size > maxSize {
		return fmt.Errorf("%w: a file in a bucket has at most %d bytes", content.ErrFull, int64(maxSize))
	}
	there, replace, err := s.again(ctx, digest, size)
	if there || err != nil {
		return err
	}
	need := min(size, 3*partSize)
	if err := s.memory.Acquire(ctx, need); err != nil {
		return err
	}
	defer s.memory.Release(need)
	src := content.Exactly(ctx, r, size, digest)
	if size <= partSize {
		return s.putWhole(ctx, src, size, digest, replace)
	}
	return s.putParts(ctx, src, size, digest, replace)
}

// again reports whether the file is there already, and has it count as put now. What is there with another size is to be
// replaced: it is something else's doing.
func (s *Store) again(ctx context.Context, digest string, size int64) (there, replace bool, err error) {
	info, err := s.stat(ctx, digest)
	switch {
	case errors.Is(err, content.ErrUnknown):
		return false, false, nil
	case err != nil:
		return false, false, err
	case info.Size != size:
		return false, true, nil
	case s.now().Sub(info.LastModified) < s.fresh:
		return true, false, nil
	}
	err = s.refresh(ctx, s.key(digest))
	if errors.Is(err, content.ErrUnknown) {
		return false, false, nil
	}
	return err == nil, false, err
}

// refresh copies an object onto itself inside the storage: that is what changes its time.
func (s *Store) refresh(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	to := minio.CopyDestOptions{Bucket: s.bucket, Object: key, ReplaceMetadata: true, UserMetadata: map[string]string{"put": s.now().UTC().Format("20060102T150405Z")}}
	if _, err := s.core.ComposeObject(ctx, to, minio.CopySrcOptions{Bucket: s.bucket, Object: key}); err != nil {
		return explain(fmt.Errorf("note that a file was put again: %w", err))
	}
	return nil
}

// ended checks that a reader has nothing more to give, and nothing against what it gave.
func ended(src io.Reader) error {
	n, err := io.ReadFull(src, make([]byte, 1))
	if n > 0 {
		return content.ErrMismatch
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// fill reads a part. A source that ends too early has said so itself.
func fill(src io.Reader, b []byte) error {
	if _, err := io.ReadFull(src, b); err != nil && (!errors.Is(err, io.EOF) || len(b) > 0) {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return content.ErrMismatch
		}
		return fmt.Errorf("read the file that is put: %w", err)
	}
	return nil
}

// putWhole puts a file of one part: nothing of it is sent before all of it was right.
func (s *Store) putWhole(ctx context.Context, src io.Reader, size int64, digest string, replace bool) error {
	b := make([]byte, size)
	if err := fill(src, b); err != nil {
		return err
	}
	if err := ended(src); err != nil {
		return err
	}
	err := s.upload(ctx, s.key(digest), b, digest, replace)
	if err != nil && taken(err) {
		there, _, failed := s.again(ctx, digest, size)
		if there || failed != nil {
			return failed
		}
		err = s.upload(ctx, s.key(digest), b, digest, true)
	}
	return explain(err)
}

// upload puts one object; unless it may replace one, where there is none only.
func (s *Store) upload(ctx context.Context, key string, b []byte, digest string, replace bool) error {
	err := s.uploadOnce(ctx, key, b, digest, replace)
	if err != nil && !replace && unconditional(err) {
		err = s.uploadOnce(ctx, key, b, digest, true)
	}
	if err != nil {
		return fmt.Errorf("put a file into the bucket: %w", err)
	}
	return nil
}

func (s *Store) uploadOnce(ctx context.Context, key string, b []byte, digest string, replace bool) error {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	_, err := s.core.PutObject(ctx, s.bucket, key, bytes.NewReader(b), int64(len(b)), "", digest, options(replace))
	return err
}

// options are those of every object.
func options(replace bool) minio.PutObjectOptions {
	o := minio.PutObjectOptions{ContentType: "application/octet-stream"}
	if !replace {
		o.SetMatchETagExcept("*")
	}
	return o
}

// multipart is a file on its way up in parts.
type multipart struct {
	s       *Store
	key, id string
	parts   []minio.CompletePart
}

// putParts puts a large file. What goes wrong before its end leaves parts only, which are given up.
func (s *Store) putParts(ctx context.Context, src io.Reader, size int64, digest string, replace bool) (err error) {
	m := &multipart{s: s, key: s.key(digest), parts: make([]minio.CompletePart, (size+partSize-1)/partSize)}
	if m.id, err = s.begin(ctx, m.key); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.giveUp(ctx))
		}
	}()
	if err := m.send(ctx, src, size); err != nil {
		return err
	}
	if err := ended(src); err != nil {
		return err
	}
	err = m.complete(ctx, replace)
	if err != nil && taken(err) {
		there, _, failed := s.again(ctx, digest, size)
		if failed != nil {
			return failed
		}
		if there {
			return m.giveUp(ctx)
		}
		err = m.complete(ctx, true)
	}
	return explain(err)
}

func (s *Store) begin(ctx context.Context, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, shortTime)
	defer cancel()
	id, err := s.core.NewMultipartUpload(ctx, s.bucket, key, options(true))
	if err != nil {
		return "", explain(fmt.Errorf("begin to put a file: %w", err))
	}
	return id, nil
}

// send reads a file and sends its parts, two of them while the next one is read.
func (m *multipart) send(ctx context.Context, src io.Reader, size int64) error {
	group, ctx := errgroup.WithContext(ctx)
	free := make(chan []byte, 3)
	for range cap(free) {
		free <- nil // made when it is needed
	}
	err := m.each(ctx, src, size, free, group)
	if failed := group.Wait(); failed != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return failed
	}
	return err
}

func (m *multipart) each(ctx context.Context, src io.Reader, size int64, free chan []byte, group *errgroup.Group) error {
	for i := range m.parts {
		var b []byte
		select {
		case b = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		if b == nil {
			b = make([]byte, partSize)
		}
		part := b[:min(partSize, size-int64(i)*partSize)]
		if err := fill(src, part); err != nil {
			return err
		}
		group.Go(func() error {
			defer func() { free <- b }()
			return m.part(ctx, i, part)
		})
	}
	return nil
}

func (m *multipart) part(ctx context.Context, i int, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	done, err := m.s.core.PutObjectPart(ctx, m.s.bucket, m.key, m.id, i+1, bytes.NewReader(b), int64(len(b)), minio.PutObjectPartOptions{Sha256Hex: content.Digest(b)})
	if err != nil {
		return explain(fmt.Errorf("put part %d of a file: %w", i+1, err))
	}
	m.parts[i] = minio.CompletePart{PartNumber: i + 1, ETag: done.ETag}
	return nil
}

// complete makes an object of the parts.
func (m *multipart) complete(ctx context.Context, replace bool) error {
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	_, err := m.s.core.CompleteMultipartUpload(ctx, m.s.bucket, m.key, m.id, m.parts, options(replace))
	if err != nil && !replace && unconditional(err) {
		_, err = m.s.core.CompleteMultipartUpload(ctx, m.s.bucket, m.key, m.id, m.parts, options(true))
	}
	if err != nil {
		return fmt.Errorf("complete a file in the bucket: %w", err)
	}
	return nil
}

// giveUp removes the parts, also when the one who put has gone.
func (m *multipart) giveUp(ctx context.Context) error {
	return m.s.abort(context.WithoutCancel(ctx), m.key, m.id)
}
