package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"assent/content"
)

// skip is how far a reader may go ahead within one download, in bytes: further on a new one is cheaper.
const skip = 256 << 10

// maxBreaks is how often a download may break without having brought a byte.
const maxBreaks = 3

// file is an open object: a download from where it is read on, begun anew where somebody seeks.
type file struct {
	s    *Store
	ctx  context.Context // of Open
	key  string
	size int64
	at   int64 // where the next byte is read

	body *stream // nil: none under way
}

// stream is one download.
type stream struct {
	io.ReadCloser
	ctx   context.Context // of the request
	at    int64           // of its next byte
	total int64           // bytes of the object
	stop  context.CancelFunc
	late  *time.Timer // ends it when it stalls
}

// Open implements content.Reader. It begins the download of the file, which tells its size as well.
func (s *Store) Open(ctx context.Context, digest string) (content.File, error) {
	if err := content.CheckName(digest); err != nil {
		return nil, err
	}
	f := &file{s: s, ctx: ctx, key: s.key(digest)}
	body, err := s.download(ctx, f.key, 0)
	if err != nil {
		return nil, explain(fmt.Errorf("open a file: %w", err))
	}
	f.body, f.size = body, body.total
	return f, nil
}

// download begins to read an object at a place.
func (s *Store) download(parent context.Context, key string, at int64) (_ *stream, err error) {
	ctx, stop := context.WithCancel(parent)
	d := &stream{ctx: ctx, at: at, stop: stop, late: time.AfterFunc(s.stall, stop)}
	defer d.late.Stop()
	defer func() {
		if err != nil {
			stop()
		}
	}()
	var o minio.GetObjectOptions
	if at > 0 {
		o.Set("Range", fmt.Sprintf("bytes=%d-", at))
	}
	body, info, header, err := s.core.GetObject(ctx, s.bucket, key, o)
	if err != nil {
		return nil, stalled(parent, ctx, err)
	}
	d.ReadCloser, d.total = body, info.Size
	if at > 0 {
		d.total, err = total(header, at)
	}
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return d, nil
}

// errStalled says that a download was given up.
var errStalled = errors.New("the storage sent nothing for too long")

// stalled is the error of a download that ended with its context, though nobody but the store ended that.
func stalled(parent, own context.Context, err error) error {
	if own.Err() != nil && parent.Err() == nil {
		return errStalled
	}
	return err
}

// total is the size of an object of which the rest was asked for.
func total(h http.Header, at int64) (int64, error) {
	said := h.Get("Content-Range") // bytes 5-9/10
	rest, ok := strings.CutPrefix(said, fmt.Sprintf("bytes %d-", at))
	_, all, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseInt(all, 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("the bytes from %d on were asked for, and %q came", at, said)
	}
	return n, nil
}

// Read reads on, and ends the download when nothing comes.
func (d *stream) Read(p []byte, stall time.Duration) (int, error) {
	d.late.Reset(stall)
	defer d.late.Stop()
	n, err := d.ReadCloser.Read(p)
	d.at += int64(n)
	return n, err
}

// Close ends the download.
func (d *stream) Close() error {
	d.late.Stop()
	defer d.stop()
	return d.ReadCloser.Close()
}

// Size implements content.File.
func (f *file) Size() int64 { return f.size }

// Seek implements io.Seeker. It asks the storage nothing.
func (f *file) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning of a file")
	}
	f.at = offset
	return offset, nil
}

// Read implements io.Reader. A download that breaks goes on where it was.
func (f *file) Read(p []byte) (int, error) {
	if f.at >= f.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	var broke error
	for range maxBreaks {
		if err := f.begin(); err != nil {
			return 0, explain(fmt.Errorf("read a file: %w", err))
		}
		n, err := f.read(p[:min(int64(len(p)), f.size-f.at)])
		if n > 0 {
			f.at += int64(n)
			return n, nil
		}
		f.drop()
		if broke = err; f.ctx.Err() != nil {
			return 0, f.ctx.Err()
		}
	}
	return 0, explain(fmt.Errorf("read a file: %w", broke))
}

// begin begins a download where the file is read, unless the one under way comes there soon.
func (f *file) begin() error {
	if f.body != nil && f.body.at <= f.at && f.at-f.body.at <= skip {
		return nil
	}
	f.drop()
	body, err := f.s.download(f.ctx, f.key, f.at)
	if err != nil {
		return err
	}
	if f.body = body; body.total != f.size {
		f.drop()
		return fmt.Errorf("%w: the file had %d bytes and has %d", content.ErrMismatch, f.size, body.total)
	}
	return nil
}

// read reads some bytes, or says how the download broke before any came.
func (f *file) read(p []byte) (n int, err error) {
	for f.body.at < f.at && err == nil {
		_, err = f.body.Read(make([]byte, min(f.at-f.body.at, 32<<10)), f.s.stall)
	}
	if f.body.at == f.at {
		n, err = f.body.Read(p, f.s.stall)
	}
	if n == 0 && (err == nil || errors.Is(err, io.EOF)) {
		err = io.ErrUnexpectedEOF // there is more
	}
	return n, stalled(f.ctx, f.body.ctx, err)
}

// drop ends the download. What its end says is of no use: it is broken off.
func (f *file) drop() {
	if f.body != nil {
		_ = f.body.Close()
		f.body = nil
	}
}

// Close implements io.Closer.
func (f *file) Close() error {
	f.drop()
	return nil
}
