package gateway

import (
	"bytes"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/wire"
)

// scanCheckIn reads a check-in of the usual form in one pass, several times faster than encoding/json,
// which is most of what a steady check-in costs. It knows only the fields of this build, plain strings and
// whole numbers; at anything else it gives up (false), and the caller decodes with encoding/json. What it
// accepts it reads exactly as encoding/json does (FuzzScanCheckIn). Digests that are those of the check-in
// before share their map, which nobody changes.
func scanCheckIn(body []byte, before map[wire.Kind]string, in *wire.CheckIn) bool {
	s := scanner{text: string(body)}
	s.object(func(key string) (bit int) {
		switch key {
		case "capability":
			in.Capability = int(s.number())
			return 0
		case "boot_id":
			in.BootID = s.str()
			return 1
		case "run":
			in.Run = s.str()
			return 2
		case "sequence":
			in.Sequence = s.number()
			return 3
		case "digests":
			in.Digests = s.digests(before)
			return 4
		case "plan":
			in.Plan = s.str()
			return 5
		case "counter":
			in.Counter = s.number()
			return 6
		case "wait":
			in.Wait = int(s.number())
			return 7
		case "progress":
			s.progress(&in.Progress)
			return 8
		}
		return -1
	})
	s.space()
	return !s.failed && s.at == len(s.text)
}

// scanner walks over JSON. After a failure it stays where it is and returns zero values.
type scanner struct {
	text   string
	at     int
	failed bool
}

func (s *scanner) fail() { s.failed = true }

func (s *scanner) space() {
	for ; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
		default:
			return
		}
	}
}

// next skips space and takes c, or fails.
func (s *scanner) next(c byte) {
	s.space()
	if s.failed || s.at >= len(s.text) || s.text[s.at] != c {
		s.fail()
		return
	}
	s.at++
}

// peek skips space and reports whether c follows.
func (s *scanner) peek(c byte) bool {
	s.space()
	return !s.failed && s.at < len(s.text) && s.text[s.at] == c
}

// object reads an object. field reads the value of a key and returns a number for it; -1 fails, and so
// does a number that comes twice.
func (s *scanner) object(field func(key string) int) {
	s.next('{')
	seen := 0
	for first := true; !s.failed && !s.peek('}'); first = false {
		if !first {
			s.next(',')
		}
		key := s.str()
		s.next(':')
		if s.failed {
			return
		}
		bit := field(key)
		if bit < 0 || seen&(1<<bit) != 0 {
			s.fail()
			return
		}
		seen |= 1 << bit
	}
	s.next('}')
}

// str reads a string of printable ASCII without escapes.
func (s *scanner) str() string {
	s.next('"')
	if s.failed {
		return ""
	}
	text := s.text[s.at:]
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			s.at += i + 1
			return text[:i]
		case c == '\\' || c < 0x20 || c >= 0x7f:
			s.fail()
			return ""
		}
	}
	s.fail()
	return ""
}

// number reads a whole number.
func (s *scanner) number() int64 {
	s.space()
	from := s.at
	for s.at < len(s.text) && (s.text[s.at] == '-' || s.text[s.at] >= '0' && s.text[s.at] <= '9') {
		s.at++
	}
	digits := s.text[from:s.at]
	n, err := strconv.ParseInt(digits, 10, 64)
	plain := strings.TrimPrefix(digits, "-")
	if s.failed || err != nil || len(plain) > 1 && plain[0] == '0' {
		s.fail()
		return 0
	}
	return n
}

func (s *scanner) digests(before map[wire.Kind]string) map[wire.Kind]string {
	kinds := [...]wire.Kind{wire.KindFacts, wire.KindInventory, wire.KindAvailable}
	var values [len(kinds)]string
	seen, same := 0, true
	s.object(func(key string) int {
		i := slices.Index(kinds[:], wire.Kind(key))
		if i >= 0 {
			values[i] = s.str()
			seen |= 1 << i
			held, ok := before[kinds[i]]
			same = same && ok && held == values[i]
		}
		return i
	})
	if same && bits.OnesCount(uint(seen)) == len(before) && before != nil {
		return before
	}
	out := make(map[wire.Kind]string, len(kinds))
	for i, k := range kinds {
		if seen&(1<<i) != 0 {
			out[k] = values[i]
		}
	}
	return out
}

func (s *scanner) progress(p *wire.Progress) {
	s.object(func(key string) int {
		switch key {
		case "last_scan":
			p.LastScan = s.time()
			return 0
		case "last_refresh":
			p.LastRefresh = s.time()
			return 1
		case "doing":
			p.Doing = s.str()
			return 2
		case "since":
			p.Since = s.time()
			return 3
		case "error":
			p.Error = s.str()
			return 4
		}
		return -1
	})
}

func (s *scanner) time() time.Time {
	var t time.Time
	var err error
	text := s.str()
	if !s.failed {
		err = t.UnmarshalText([]byte(text))
	}
	if s.failed || err != nil {
		s.fail()
		return time.Time{}
	}
	return t
}

// appendNothing appends the reply of a steady check-in, as encoding/json would write it.
func appendNothing(b []byte, now time.Time, next int) []byte {
	b = append(b, `{"now":"`...)
	b = now.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","next":`...)
	b = strconv.AppendInt(b, int64(next), 10)
	return append(b, '}')
}

// isZstdFrame reports whether b begins like a zstd frame, which JSON never does.
func isZstdFrame(b []byte) bool { return bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}) }

// isName reports whether s is a boot id, a run or a report's id: 1 to 64 letters, digits, dots, dashes or
// underscores.
func isName(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
