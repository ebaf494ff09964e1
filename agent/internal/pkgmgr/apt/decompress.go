package apt

import (
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow caps the memory that a compressed list may ask for.
const maxWindow = 128 << 20

// listReader reads one list, which may lie compressed.
type listReader struct {
	io.Reader
	close []func()
}

// Close releases the file.
func (r *listReader) Close() error {
	for _, f := range r.close {
		f()
	}
	return nil
}

// openList opens a list by its name without compression extension. fs.ErrNotExist means that there is none.
func openList(t *tree, name string) (*listReader, error) {
	for _, ext := range []string{"", ".lz4", ".zst", ".gz", ".bz2", ".xz", ".lzma"} {
		f, err := t.open(listsDir + name + ext)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r := &listReader{close: []func(){func() { _ = f.Close() }}}
		if err := r.decompress(f, ext); err != nil {
			_ = r.Close()
			return nil, err
		}
		r.Reader = &limited{r.Reader, maxList}
		return r, nil
	}
	return nil, fs.ErrNotExist
}

func (r *listReader) decompress(f io.Reader, ext string) error {
	switch ext {
	case "":
		r.Reader = f
	case ".lz4":
		r.Reader = newLZ4(f)
	case ".zst":
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		r.Reader = z
		r.close = append(r.close, z.Close)
	case ".gz":
		z, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		r.Reader = z
	case ".bz2":
		r.Reader = bzip2.NewReader(f)
	default:
		return fmt.Errorf("compression %s is not supported", ext)
	}
	return nil
}

// limited is an io.LimitedReader that says when it cut something off.
type limited struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLarge
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
