// Package payload reads what a payload says of itself before a publisher adds it to a feed: the control fields of a Debian
// package, and whether an archive is one that devices accept as a tree.
//
// It guarantees: nothing is unpacked or run; what it reads is capped; what devices would refuse is refused here with a
// sentence that names the entry. The judgement that counts is the device's own.
package payload

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"assent/catalog"
	"assent/fault"
)

// maxWindow is the memory in bytes that a compressed payload may ask for.
const maxWindow = 128 << 20

func bad(format string, args ...any) error {
	return fault.New(fault.Invalid, "payload_refused", "The payload is refused: %s.", fmt.Sprintf(format, args...)).On("files")
}

// Detect tells the format of a payload by its first bytes: a Debian package, an RPM package, an archive; and false for
// anything else, which can only be content.
func Detect(r *bufio.Reader) (catalog.Format, bool, error) {
	head, err := r.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, fmt.Errorf("read the payload: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, []byte(arMagic+"debian-binary")):
		return catalog.Deb, true, nil
	case bytes.HasPrefix(head, []byte("\xed\xab\xee\xdb")):
		return catalog.RPM, true, nil
	case compressed(head), isTar(head):
		return catalog.Tar, true, nil
	}
	return "", false, nil
}

var (
	magicGzip = []byte("\x1f\x8b")
	magicZstd = []byte("\x28\xb5\x2f\xfd")
	magicXZ   = []byte("\xfd7zXZ\x00")
)

func compressed(head []byte) bool {
	return bytes.HasPrefix(head, magicGzip) || bytes.HasPrefix(head, magicZstd) || bytes.HasPrefix(head, magicXZ)
}

func isTar(head []byte) bool { return len(head) >= 262 && string(head[257:262]) == "ustar" }

// decompress undoes the compression that a stream begins like, if it has one.
func decompress(r *bufio.Reader) (io.Reader, func(), error) {
	head, err := r.Peek(64)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read the payload: %w", err)
	}
	nothing := func() {}
	switch {
	case bytes.HasPrefix(head, magicGzip):
		z, err := gzip.NewReader(r)
		return z, nothing, err
	case bytes.HasPrefix(head, magicZstd):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case bytes.HasPrefix(head, magicXZ):
		if err := checkXZ(head); err != nil {
			return nil, nil, err
		}
		z, err := xz.NewReader(r)
		return z, nothing, err
	}
	return r, nothing, nil
}

// checkXZ looks at the dictionary that the first block asks for, which the library would reserve without question. After
// 12 bytes of the stream's header come the block's length, flags, sizes if flagged, and the filter LZMA2: 0x21, 1, dictionary.
func checkXZ(head []byte) error {
	if len(head) < 12+24 {
		return nil // too short to hold a block: for the decoder to say
	}
	at := 12 + 2
	for _, flag := range []byte{0x40, 0x80} {
		if head[13]&flag == 0 {
			continue
		}
		for at < len(head)-3 && head[at]&0x80 != 0 {
			at++
		}
		at = min(at+1, len(head)-3)
	}
	bits := head[at+2] & 0x3f
	if head[at] != 0x21 || bits > 40 || (2|uint64(bits&1))<<(bits/2+11) > maxWindow {
		return fmt.Errorf("its compression asks for more than %d MiB of memory", maxWindow>>20)
	}
	return nil
}

// capped reads up to left bytes and then refuses.
type capped struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, bad("it unpacks to more than it may")
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}
