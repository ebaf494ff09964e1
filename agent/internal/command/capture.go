package command

import (
	"bytes"
	"io"
	"sync"
)

// capture keeps the beginning of both output streams and hands out lines.
type capture struct {
	mu        sync.Mutex
	limit     int
	line      func(Stream, string)
	out       [2]bytes.Buffer
	pending   [2]lineBuffer
	truncated bool
}

func newCapture(call Call) *capture {
	limit := call.Limit
	if limit <= 0 {
		limit = maxOutput
	}
	return &capture{limit: limit, line: call.Line}
}

func (c *capture) writer(s Stream) io.Writer { return captureWriter{c, s} }

type captureWriter struct {
	c *capture
	s Stream
}

// Write never fails: a child must not die of our limits.
func (w captureWriter) Write(p []byte) (int, error) {
	c, i := w.c, w.s-1
	c.mu.Lock()
	defer c.mu.Unlock()
	room := c.limit - c.out[i].Len()
	if room < len(p) {
		c.truncated = true
	}
	c.out[i].Write(p[:max(0, min(room, len(p)))])
	if c.line != nil {
		c.pending[i].add(p, func(line string) { c.line(w.s, line) })
	}
	return len(p), nil
}

// result ends the capture: an unfinished last line is a line too.
func (c *capture) result() Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.line != nil {
		for i := range c.pending {
			c.pending[i].flush(func(line string) { c.line(Stream(i+1), line) })
		}
	}
	return Result{Stdout: c.out[0].Bytes(), Stderr: c.out[1].Bytes(), Truncated: c.truncated}
}

// lineBuffer cuts a stream into lines. Both newline and carriage return end one; what a line has beyond
// maxLine is dropped, and empty lines are not handed out.
type lineBuffer struct{ part []byte }

func (b *lineBuffer) add(p []byte, emit func(string)) {
	for len(p) > 0 {
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			b.keep(p)
			return
		}
		b.keep(p[:i])
		b.flush(emit)
		p = p[i+1:]
	}
}

func (b *lineBuffer) keep(p []byte) {
	b.part = append(b.part, p[:min(len(p), maxLine-len(b.part))]...)
}

func (b *lineBuffer) flush(emit func(string)) {
	if len(b.part) > 0 {
		emit(string(b.part))
	}
	b.part = b.part[:0]
}
