package apt

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// How a version came to be on the device (rule V4).
const (
	howImage    = "image" // no log knows of it: it was there from the start
	howAssent   = "assent"
	howUU       = "unattended-upgrades"
	howByHand   = "by hand: "
	howDpkg     = "dpkg by hand"
	howUnknown  = "by another program"
	maxHow      = 200
	maxLogLine  = 1 << 20
	maxLog      = 16 << 20 // bytes of one log after decompression
	maxRotated  = 12       // older logs than that are not read
	bootstrap   = 2 * time.Hour
	maxHistory  = 500_000
	assentMark  = "Assent::Transaction="
	aptHistory  = "var/log/apt/history.log"
	dpkgHistory = "var/log/dpkg.log"
)

// historyCache keeps what the logs say until one of them changes.
type historyCache struct {
	inputs stamps
	how    map[string]string
}

func historyKey(pkg, version string) string { return pkg + "=" + version }

// read gives how each version came, by historyKey. The newest record of a version counts.
func (c *historyCache) read(t *tree, native string) map[string]string {
	logs := newTree(t.fsys)
	apt, dpkg := rotated(logs, aptHistory), rotated(logs, dpkgHistory)
	maps.Copy(t.inputs, logs.inputs)
	if c.how != nil && c.inputs.digest() == logs.inputs.digest() {
		return c.how
	}
	h := history{native: native, how: map[string]string{}}
	for _, name := range dpkg {
		h.file(logs, name, h.dpkgLine)
	}
	for _, name := range apt {
		h.file(logs, name, h.aptLine)
		h.end()
	}
	c.inputs, c.how = logs.inputs, h.how
	return c.how
}

// rotated gives a log and its rotated predecessors, the oldest first.
func rotated(t *tree, name string) []string {
	out := []string{name}
	t.note(name)
	for i := 1; i <= maxRotated; i++ {
		rotation := name + "." + strconv.Itoa(i)
		switch {
		case t.exists(rotation):
			out = append(out, rotation)
		case t.exists(rotation + ".gz"):
			out = append(out, rotation+".gz")
		}
	}
	slices.Reverse(out)
	return out
}

// history is the state of reading the logs.
type history struct {
	native string
	how    map[string]string
	start  time.Time // of dpkg's log

	command string // of the current entry of apt's log
	changes []string
}

// file feeds a log to f, line by line. A log that cannot be read says nothing.
func (h *history) file(t *tree, name string, f func(line []byte)) {
	file, err := t.open(name)
	if err != nil {
		return
	}
	defer file.Close()
	var r io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(file); err != nil {
			return
		}
	}
	br := bufio.NewReaderSize(io.LimitReader(r, maxLog), 64<<10)
	var long []byte
	for {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if len(long) < maxLogLine {
				long = append(long, line...)
			}
			continue
		}
		if len(long) > 0 {
			line = append(long, line...)
			long = nil
		}
		f(bytes.TrimRight(line, "\r\n"))
		if err != nil || len(h.how) > maxHistory {
			return
		}
	}
}

// dpkgLine reads "2026-01-02 03:04:05 upgrade name:arch old new". A first installation in the log's first hours is
// how an image is made.
func (h *history) dpkgLine(line []byte) {
	if !bytes.Contains(line, []byte(" install ")) && !bytes.Contains(line, []byte(" upgrade ")) && !h.start.IsZero() {
		return
	}
	w := strings.Fields(string(line[:min(len(line), 1024)]))
	if len(w) < 3 {
		return
	}
	at, err := time.Parse(time.DateTime, w[0]+" "+w[1])
	if err != nil {
		return
	}
	if h.start.IsZero() {
		h.start = at
	}
	if len(w) != 6 || w[2] != "install" && w[2] != "upgrade" {
		return
	}
	how := howDpkg
	if w[2] == "install" && w[4] == "<none>" && at.Sub(h.start) < bootstrap {
		how = howImage
	}
	h.how[historyKey(h.key(w[3]), w[5])] = how
}

// key normalises "name:arch"; "name:all" and a bare name are of the native architecture.
func (h *history) key(pkg string) string {
	name, arch, _ := strings.Cut(pkg, ":")
	if arch == "" {
		arch = h.native
	}
	return packageKey(name, arch, h.native)
}

// aptLine reads one line of an entry of apt's history.
func (h *history) aptLine(line []byte) {
	field, value, ok := bytes.Cut(line, []byte(": "))
	if !ok {
		if len(line) == 0 {
			h.end()
		}
		return
	}
	switch string(field) {
	case "Start-Date":
		h.end()
	case "Commandline":
		h.command = string(value)
	case "Install", "Upgrade", "Downgrade", "Reinstall":
		h.changes = append(h.changes, string(value))
	}
}

// end books the entry that was read.
func (h *history) end() {
	how := classify(h.command)
	for _, list := range h.changes {
		for change := range strings.SplitSeq(list, "), ") {
			pkg, versions, ok := strings.Cut(change, " (")
			if !ok {
				continue
			}
			h.how[historyKey(h.key(pkg), newVersion(versions))] = how
		}
	}
	h.command, h.changes = "", h.changes[:0]
}

// newVersion reads "1.0", "1.0, automatic" or "1.0, 2.0", with or without the closing parenthesis.
func newVersion(versions string) string {
	first, second, ok := strings.Cut(strings.TrimSuffix(versions, ")"), ", ")
	if !ok || second == "automatic" {
		return first
	}
	return second
}

func classify(command string) string {
	program, _, _ := strings.Cut(command, " ")
	switch {
	case command == "":
		return howUnknown
	case strings.Contains(command, assentMark):
		return howAssent
	case strings.HasSuffix(program, "/unattended-upgrade"), strings.HasSuffix(program, "/unattended-upgrades"):
		return howUU
	}
	return clip(howByHand+cleanText([]byte(command), maxHow), maxHow)
}
