package apt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// lz4Reader reads the LZ4 frame format, in which apt keeps its lists where Acquire::GzipIndexes is set.
// Checksums are not verified: the data was checked by apt before it was stored.
type lz4Reader struct {
	r       io.Reader
	window  []byte // the last 64 KiB and the block that is being read
	unread  int    // offset in window
	in      []byte
	max     int  // block size of the frame
	blockCk bool // each block is followed by a checksum
	endCk   bool // the frame is
	open    bool // inside a frame
	err     error
}

const lz4History = 64 << 10

var errLZ4 = errors.New("malformed lz4 data")

func newLZ4(r io.Reader) *lz4Reader { return &lz4Reader{r: r} }

// Read implements io.Reader.
func (z *lz4Reader) Read(p []byte) (int, error) {
	for z.unread == len(z.window) {
		if z.err != nil {
			return 0, z.err
		}
		z.err = z.next()
	}
	n := copy(p, z.window[z.unread:])
	z.unread += n
	return n, nil
}

// next reads a frame header or a block.
func (z *lz4Reader) next() error {
	if !z.open {
		return z.header()
	}
	var head [4]byte
	if _, err := io.ReadFull(z.r, head[:]); err != nil {
		return noEOF(err)
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size == 0 {
		z.open = false
		return z.skip(z.endCk)
	}
	raw := size&(1<<31) != 0
	size &^= 1 << 31
	if int(size) > z.max {
		return fmt.Errorf("%w: block of %d bytes", errLZ4, size)
	}
	if cap(z.in) < z.max {
		z.in = make([]byte, z.max)
	}
	block := z.in[:size]
	if _, err := io.ReadFull(z.r, block); err != nil {
		return noEOF(err)
	}
	if keep := len(z.window) - lz4History; keep > 0 {
		z.window = z.window[:copy(z.window, z.window[keep:])]
	}
	z.unread = len(z.window)
	if raw {
		z.window = append(z.window, block...)
	} else if err := z.expand(block); err != nil {
		return err
	}
	return z.skip(z.blockCk)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (z *lz4Reader) skip(checksum bool) error {
	if !checksum {
		return nil
	}
	var sum [4]byte
	_, err := io.ReadFull(z.r, sum[:])
	return noEOF(err)
}

// header reads the start of a frame; the end of the file is io.EOF.
func (z *lz4Reader) header() error {
	var h [6]byte
	if _, err := io.ReadFull(z.r, h[:]); err != nil {
		return err
	}
	flags, block := h[4], h[5]>>4&7
	if binary.LittleEndian.Uint32(h[:]) != 0x184D2204 || flags>>6 != 1 || block < 4 {
		return fmt.Errorf("%w: header", errLZ4)
	}
	rest := 1 // header checksum
	if flags&8 != 0 {
		rest += 8 // content size
	}
	if flags&1 != 0 {
		rest += 4 // dictionary
	}
	if _, err := io.ReadFull(z.r, make([]byte, rest)); err != nil {
		return noEOF(err)
	}
	z.max = 1 << (8 + 2*uint(block))
	z.blockCk, z.endCk = flags&16 != 0, flags&4 != 0
	z.window, z.unread, z.open = z.window[:0], 0, true
	return nil
}

// expand decodes one compressed block into the window.
func (z *lz4Reader) expand(in []byte) error {
	start := len(z.window)
	for len(in) > 0 {
		token := in[0]
		literals, rest, ok := lz4Length(in[1:], int(token>>4))
		if !ok || literals > len(rest) || len(z.window)-start+literals > z.max {
			return errLZ4
		}
		z.window = append(z.window, rest[:literals]...)
		in = rest[literals:]
		if len(in) == 0 {
			return nil // the last sequence has no match
		}
		if len(in) < 2 {
			return errLZ4
		}
		offset := int(binary.LittleEndian.Uint16(in))
		var length int
		length, in, ok = lz4Length(in[2:], int(token&15))
		length += 4
		if !ok || offset == 0 || offset > len(z.window) || len(z.window)-start+length > z.max {
			return errLZ4
		}
		z.copyMatch(offset, length)
	}
	return errLZ4
}

// copyMatch repeats what stands offset bytes back; the two may overlap.
func (z *lz4Reader) copyMatch(offset, length int) {
	for length > 0 {
		from := len(z.window) - offset
		n := min(length, offset)
		z.window = append(z.window, z.window[from:from+n]...)
		length -= n
	}
}

// lz4Length reads a length of which the token holds the first four bits.
func lz4Length(in []byte, n int) (length int, rest []byte, ok bool) {
	if n < 15 {
		return n, in, true
	}
	for i, c := range in {
		n += int(c)
		if c != 255 {
			return n, in[i+1:], true
		}
	}
	return 0, nil, false
}
