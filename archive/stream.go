package archive

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

const (
	maxWindow   = 128 << 20 // memory, in bytes, that a compressed payload may ask for
	tarMagicEnd = 262
	magicGzip   = "\x1f\x8b"
	magicZstd   = "\x28\xb5\x2f\xfd"
	magicXZ     = "\xfd7zXZ\x00"
)

func begins(head []byte, magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }

// IsCompressed reports whether a payload begins like something that Decompress undoes.
func IsCompressed(head []byte) bool {
	return begins(head, magicGzip) || begins(head, magicZstd) || begins(head, magicXZ)
}

// IsTar reports whether a payload begins as every tar since 1988 does.
func IsTar(head []byte) bool {
	return len(head) >= tarMagicEnd && string(head[257:tarMagicEnd]) == "ustar"
}

// Decompress undoes the compression that a stream begins like, if it has one. The function frees what that took. r must be
// able to peek at 2 KiB.
func Decompress(r *bufio.Reader) (io.Reader, func(), error) {
	head, err := r.Peek(xzHead)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read the payload: %w", err)
	}
	nothing := func() {}
	switch {
	case begins(head, magicGzip):
		z, err := gzip.NewReader(r)
		return z, nothing, err
	case begins(head, magicZstd):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case begins(head, magicXZ):
		if err := checkXZ(head); err != nil {
			return nil, nil, err
		}
		z, err := xz.NewReader(r)
		return z, nothing, err
	}
	return r, nothing, nil
}

// Sizes in bytes of what an xz stream begins with.
const (
	xzStream = 12                 // its own header
	xzHead   = xzStream + 4*0x100 // and the longest header that its first block may have
)

// checkXZ looks at the dictionary that the first block asks for, which the library would reserve without question. After
// the stream's header come the block's length in words less one, flags, two sizes if flagged, and its filter LZMA2: 0x21, 1,
// dictionary. A header that is cut off is for the decoder to refuse, which does it before it reserves anything.
func checkXZ(head []byte) error {
	if len(head) <= xzStream || head[xzStream] == 0 || len(head) < xzStream+4*(int(head[xzStream])+1) {
		return nil
	}
	block := head[xzStream+1 : xzStream+4*(int(head[xzStream])+1)]
	flags, block := block[0], block[1:]
	for _, size := range []byte{0x40, 0x80} {
		if flags&size == 0 {
			continue
		}
		_, n := binary.Uvarint(block)
		if n <= 0 {
			return errors.New("its compression has no sound header")
		}
		block = block[n:]
	}
	if len(block) < 3 || block[0] != 0x21 || block[1] != 1 {
		return errors.New("its compression has no sound header")
	}
	if bits := block[2] & 0x3f; bits > 40 || (2|uint64(bits&1))<<(bits/2+11) > maxWindow {
		return fmt.Errorf("its compression asks for more than %d MiB of memory", maxWindow>>20)
	}
	return nil
}

// Capped reads up to n bytes and then refuses, unlike an io.LimitedReader, which ends.
func Capped(r io.Reader, n int64) io.Reader { return &capped{r, n} }

type capped struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, refuse("it unpacks to more than it may")
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// Whole is content that has to be all there. It remembers its own failure, so that it is not taken for that of whom it is
// copied to.
type Whole struct {
	r    io.Reader
	left int64
	err  error
}

// NewWhole reads size bytes of r, and fails with io.ErrUnexpectedEOF where there are fewer.
func NewWhole(r io.Reader, size int64) *Whole { return &Whole{r: r, left: size} }

// Err is why it could not be read; nil so far.
func (s *Whole) Err() error { return s.err }

// Read implements io.Reader.
func (s *Whole) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	switch {
	case s.left > 0 && errors.Is(err, io.EOF):
		s.err = io.ErrUnexpectedEOF
	case err != nil && !errors.Is(err, io.EOF):
		s.err = err
	}
	return n, s.err
}
