package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"assent/fault"
)

// Bounds on what is decoded.
const (
	maxEnrol  = 64 << 10 // bytes of an enrolment: read before anybody proved anything
	maxDepth  = 32       // nesting of JSON
	maxWindow = 8 << 20  // zstd window: what one decoder may hold
	smallBody = 64 << 10 // bytes that are read in one go
	trickle   = 64 << 10 // bytes of a larger one that must come within Limits.Trickle
)

// The refusals of a body.
var (
	errBodySize   = fault.New(fault.TooLarge, "body_too_large", "The message is larger than the protocol allows.")
	errBodyDepth  = fault.New(fault.Invalid, "body_too_deep", "The message nests deeper than %d levels.", maxDepth)
	errBodyJSON   = fault.New(fault.Invalid, "body_malformed", "The message is not the JSON that the protocol asks for.")
	errBodyZstd   = fault.New(fault.Invalid, "body_compression", "The message's compression cannot be read; only zstd with a window of up to 8 MiB is.")
	errBodyBroken = fault.New(fault.Invalid, "body_incomplete", "The message did not arrive whole or not in time.")
)

// codec keeps what reading bodies needs between requests: a zstd decoder costs far more to make than a
// check-in to answer.
type codec struct {
	decoders  sync.Pool     // of *zstd.Decoder; empty ones are made by decoder
	buffers   sync.Pool     // of *bytes.Buffer, for small messages
	unpacking chan struct{} // one for each small message that is unpacked: a decoder may hold 8 MiB
}

// readJSON reads a message of at most limit bytes, compressed or not, into v.
func (g *Gateway) readJSON(c *call, limit int64, v any) error {
	return g.readMessage(c, limit, func(body []byte) error { return decode(body, v) })
}

// decode reads JSON into v. Unknown fields are ignored: newer agents may say more.
func decode(body []byte, v any) error {
	if !shallow(body, maxDepth) {
		return errBodyDepth
	}
	if err := json.Unmarshal(body, v); err != nil {
		return errBodyJSON.Because(err)
	}
	return nil
}

// readMessage reads a message and hands it to use, which must not keep it.
func (g *Gateway) readMessage(c *call, limit int64, use func(body []byte) error) error {
	buf, ok := g.codec.buffers.Get().(*bytes.Buffer)
	if !ok {
		buf = new(bytes.Buffer)
	}
	buf.Reset()
	defer func() {
		if buf.Cap() <= 2*smallBody {
			g.codec.buffers.Put(buf)
		}
	}()
	if err := g.readBody(c, limit, buf); err != nil {
		return err
	}
	if err := g.load(c, buf.Len()); err != nil {
		return err
	}
	return use(buf.Bytes())
}

// load counts a message that is more than a small one against what all of them may take of memory, until the request ends.
func (g *Gateway) load(c *call, size int) error {
	if size <= smallBody {
		return nil
	}
	c.weight += int64(size)
	if g.bodies.Add(int64(size)) > g.Limits.Bodies {
		return errBusy
	}
	return nil
}

func (g *Gateway) unload(c *call) {
	if c.weight > 0 {
		g.bodies.Add(-c.weight)
		c.weight = 0
	}
}

// readBody reads a message into buf: at most limit bytes as sent and after decompression. A small one is read
// under the deadline that the header had; a large one takes a place for large bodies.
func (g *Gateway) readBody(c *call, limit int64, buf *bytes.Buffer) error {
	n := c.r.ContentLength
	if n >= 0 && n <= smallBody && n <= limit {
		return g.read(c, g.codec.readSmall(c.r.Body, n, limit, buf))
	}
	if n > limit {
		return errBodySize
	}
	if c.session != nil { // a stranger's limit is small
		done, err := g.upload(c)
		if err != nil {
			return err
		}
		defer done()
	}
	return g.receive(c, limit, g.Limits.BodyTimeout, buf)
}

// receive reads a large body within the time given, as long as some of it keeps coming: who sends next to nothing
// must not keep others from sending.
func (g *Gateway) receive(c *call, limit int64, within time.Duration, buf *bytes.Buffer) error {
	if c.r.ContentLength > limit {
		return errBodySize
	}
	body := &moving{c: c, from: http.MaxBytesReader(c.w, c.r.Body, limit), within: g.Limits.Trickle, until: time.Now().Add(within)}
	return g.read(c, g.codec.decompress(body, limit, buf))
}

// moving is a body that must move: each trickle of bytes within its time, and all of it until the end.
type moving struct {
	c      *call
	from   io.Reader
	within time.Duration
	until  time.Time
	left   int // bytes until the deadline is set anew
}

// Read implements io.Reader.
func (m *moving) Read(p []byte) (int, error) {
	if m.left <= 0 {
		m.left = trickle
		next := time.Now().Add(m.within)
		if next.After(m.until) {
			next = m.until
		}
		_ = m.c.io().SetReadDeadline(next) // fails only on a closed connection; the read will tell
	}
	n, err := m.from.Read(p)
	m.left -= n
	return n, err
}

// read ends the reading of a body. The deadline on the connection stays: net/http sets a new one for the next request, and
// park lifts it. After a failure net/http must not wait for the rest of the body.
func (g *Gateway) read(c *call, err error) error {
	if err == nil {
		_ = c.r.Body.Close() // cannot fail after its end; net/http need not look for a rest then
		return nil
	}
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		return errBodySize
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, fault.Invalid):
		c.w.Header().Set("Connection", "close")
		return errBodyBroken.Because(err)
	}
	return err
}

// readSmall reads a body of n bytes in one go.
func (k *codec) readSmall(r io.Reader, n, limit int64, buf *bytes.Buffer) error {
	buf.Grow(int(n))
	raw := buf.AvailableBuffer()[:n]
	if _, err := io.ReadFull(r, raw); err != nil {
		return fmt.Errorf("read a body: %w", err)
	}
	if isZstdFrame(raw) {
		k.unpacking <- struct{}{} // small ones are here whole, so this is about the processor and waits for nobody
		defer func() { <-k.unpacking }()
		return k.unpack(bytes.NewReader(bytes.Clone(raw)), limit, buf)
	}
	buf.Write(raw) // in place: it is the buffer's own space
	return nil
}

// decompress copies r to buf, through zstd if it begins like a zstd frame.
func (k *codec) decompress(r io.Reader, limit int64, buf *bytes.Buffer) error {
	br := bufio.NewReaderSize(r, 4<<10)
	head, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read a body: %w", err)
	}
	if isZstdFrame(head) {
		return k.unpack(br, limit, buf)
	}
	if _, err := buf.ReadFrom(br); err != nil {
		return fmt.Errorf("read a body: %w", err)
	}
	return nil
}

// unpack decompresses r to buf and stops at the limit.
func (k *codec) unpack(r io.Reader, limit int64, buf *bytes.Buffer) error {
	dec, err := k.decoder(r)
	if err != nil {
		return errBodyZstd.Because(err)
	}
	defer func() {
		_ = dec.Reset(nil) // lets go of the body; cannot fail
		k.decoders.Put(dec)
	}()
	n, err := buf.ReadFrom(io.LimitReader(dec, limit+1))
	switch {
	case n > limit:
		return errBodySize
	case err != nil && isZstd(err):
		return errBodyZstd.Because(err)
	case err != nil:
		return fmt.Errorf("read a compressed body: %w", err)
	}
	return nil
}

// isZstd tells an error of the compression from one of the connection.
func isZstd(err error) bool {
	var big *http.MaxBytesError
	return !errors.As(err, &big) && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, io.ErrUnexpectedEOF)
}

func (k *codec) decoder(r io.Reader) (*zstd.Decoder, error) {
	if d, ok := k.decoders.Get().(*zstd.Decoder); ok {
		return d, d.Reset(r)
	}
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderMaxWindow(maxWindow))
}

// shallow reports whether JSON nests at most depth levels. It reads brackets outside of strings and needs
// no valid JSON.
func shallow(b []byte, depth int) bool {
	level, text := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			if level++; level > depth {
				return false
			}
		case c == '}' || c == ']':
			level--
		}
	}
	return true
}
