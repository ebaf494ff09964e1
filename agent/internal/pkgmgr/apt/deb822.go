package apt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxParagraph caps one paragraph of a control file. The largest of Debian's are some tens of kilobytes.
const maxParagraph = 1 << 20

// paragraphs reads a control file paragraph by paragraph through one buffer, which is what keeps a scan
// of 60 MB of lists within a few milliseconds and a few hundred kilobytes.
type paragraphs struct {
	r       io.Reader
	buf     []byte
	start   int // of the unread part
	end     int
	eof     bool
	err     error
	skipped int // paragraphs over maxParagraph, left out
}

func newParagraphs(r io.Reader) *paragraphs {
	return &paragraphs{r: r, buf: make([]byte, 256<<10)}
}

// next gives the next paragraph without its blank line; it is valid until the following call. False is the
// end or an error, which err has then.
func (p *paragraphs) next() ([]byte, bool) {
	p.skipBlank()
	from := p.start
	for {
		if at, length := blankLine(p.buf[p.start:p.end], from-p.start); at >= 0 {
			para := p.buf[p.start : p.start+at]
			p.start += at + length
			return para, true
		}
		if p.eof {
			para := bytes.TrimRight(p.buf[p.start:p.end], "\r\n")
			p.start = p.end
			return para, len(para) > 0 && p.err == nil
		}
		if p.end-p.start > maxParagraph {
			p.skipped++
			p.drop()
			from = p.start
			continue
		}
		// The last two bytes may be the first half of a blank line.
		from = max(p.start, p.end-2)
		from -= p.fill()
	}
}

// blankLine finds the first empty line at or after from: the offset of the end of the paragraph, and how
// much to skip behind it. -1 if there is none.
func blankLine(b []byte, from int) (at, length int) {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return -1, 0
		}
		from += i + 1
		if from >= len(b) {
			return -1, 0
		}
		switch {
		case b[from] == '\n':
			return from - 1, 2
		case b[from] == '\r' && from+1 < len(b) && b[from+1] == '\n':
			return from - 1, 3
		}
	}
}

func (p *paragraphs) skipBlank() {
	for {
		for p.start < p.end && (p.buf[p.start] == '\n' || p.buf[p.start] == '\r') {
			p.start++
		}
		if p.start < p.end || p.eof {
			return
		}
		p.fill()
	}
}

// drop throws away the rest of an oversized paragraph.
func (p *paragraphs) drop() {
	for {
		if at, length := blankLine(p.buf[p.start:p.end], 0); at >= 0 {
			p.start += at + length
			return
		}
		if p.eof {
			p.start = p.end
			return
		}
		p.start = max(p.start, p.end-2)
		p.fill()
	}
}

// fill reads more, making room first; it gives by how much the unread part moved.
func (p *paragraphs) fill() (moved int) {
	if p.start > 0 {
		moved = p.start
		copy(p.buf, p.buf[p.start:p.end])
		p.end -= p.start
		p.start = 0
	}
	if p.end == len(p.buf) {
		p.buf = append(p.buf, make([]byte, len(p.buf))...)
	}
	for range 100 {
		n, err := p.r.Read(p.buf[p.end:])
		p.end += n
		if err != nil {
			p.eof = true
			if !errors.Is(err, io.EOF) {
				p.err = err
			}
			return moved
		}
		if n > 0 {
			return moved
		}
	}
	p.eof, p.err = true, io.ErrNoProgress
	return moved
}

// fields calls f for each field of a paragraph: its name in lower case and its value, in which
// continuation lines keep their line break and their first character. Both are valid during the call.
func fields(para []byte, f func(name string, value []byte)) {
	for len(para) > 0 {
		var line []byte
		line, para = cutField(para)
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || colon > 64 {
			continue
		}
		var lower [64]byte
		name := lower[:copy(lower[:], line[:colon])]
		for i, c := range name {
			if c >= 'A' && c <= 'Z' {
				name[i] = c + 'a' - 'A'
			}
		}
		f(fieldName(name), bytes.TrimSpace(line[colon+1:]))
	}
}

// cutField splits off the first field with its continuation lines.
func cutField(para []byte) (field, rest []byte) {
	from := 0
	for {
		i := bytes.IndexByte(para[from:], '\n')
		if i < 0 {
			return para, nil
		}
		from += i + 1
		if from >= len(para) || para[from] != ' ' && para[from] != '\t' {
			return para[:from-1], para[from:]
		}
	}
}

// fieldName turns a lower-case name into one of the constants, so that reading a file makes no garbage.
func fieldName(name []byte) string {
	switch string(name) {
	case fPackage:
		return fPackage
	case fStatus:
		return fStatus
	case fVersion:
		return fVersion
	case fArchitecture:
		return fArchitecture
	case fSource:
		return fSource
	case fMultiArch:
		return fMultiArch
	case fInstalledSize:
		return fInstalledSize
	case fDepends:
		return fDepends
	case fPreDepends:
		return fPreDepends
	case fConflicts:
		return fConflicts
	case fBreaks:
		return fBreaks
	case fReplaces:
		return fReplaces
	case fProvides:
		return fProvides
	case fRecommends:
		return fRecommends
	case fEssential:
		return fEssential
	case fProtected:
		return fProtected
	case fImportant:
		return fImportant
	case fConffiles:
		return fConffiles
	case fFilename:
		return fFilename
	case fSize:
		return fSize
	case fSHA256:
		return fSHA256
	case fPhased:
		return fPhased
	case fDescription:
		return fDescription
	}
	return string(name)
}

// The fields that a scan looks at, in lower case.
const (
	fPackage       = "package"
	fStatus        = "status"
	fVersion       = "version"
	fArchitecture  = "architecture"
	fSource        = "source"
	fMultiArch     = "multi-arch"
	fInstalledSize = "installed-size"
	fDepends       = "depends"
	fPreDepends    = "pre-depends"
	fConflicts     = "conflicts"
	fBreaks        = "breaks"
	fReplaces      = "replaces"
	fProvides      = "provides"
	fRecommends    = "recommends"
	fEssential     = "essential"
	fProtected     = "protected"
	fImportant     = "important"
	fConffiles     = "conffiles"
	fFilename      = "filename"
	fSize          = "size"
	fSHA256        = "sha256"
	fPhased        = "phased-update-percentage"
	fDescription   = "description"
)

// packageName is the Package field of a paragraph, found fast where it stands first, as in all archives.
func packageName(para []byte) (name []byte) {
	if rest, ok := bytes.CutPrefix(para, []byte("Package: ")); ok {
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			rest = rest[:i]
		}
		return bytes.TrimSpace(rest)
	}
	fields(para, func(field string, value []byte) {
		if field == fPackage && name == nil {
			name = value
		}
	})
	return name
}

// deb822 reads a small control file whole, as hand-written ones are: lines that start with # are comments.
func deb822(data []byte) ([]map[string]string, error) {
	p := newParagraphs(bytes.NewReader(withoutComments(data)))
	var out []map[string]string
	for {
		para, ok := p.next()
		if !ok {
			break
		}
		m := map[string]string{}
		fields(para, func(name string, value []byte) { m[name] = string(value) })
		if len(m) > 0 {
			out = append(out, m)
		}
	}
	if p.skipped > 0 {
		return out, fmt.Errorf("a paragraph is %w", errTooLarge)
	}
	return out, p.err
}

func withoutComments(data []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(data) {
		if line[0] != '#' {
			out.Write(line)
		}
	}
	return out.Bytes()
}

// words splits a folded value.
func words(value string) []string { return strings.Fields(value) }
