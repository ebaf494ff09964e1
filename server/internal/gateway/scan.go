package gateway

import (
	"bytes"
	"math/bits"
	"strconv"
	"time"

	"assent/wire"
)

// known is what a device's check-in most likely repeats of the one before. Its strings are names and digests: nothing in
// them is written differently in JSON.
type known struct {
	boot, run, plan string
	digests         map[wire.Kind]string // never changed
}

// scanCheckIn reads a check-in of the usual form in one pass, several times faster than encoding/json,
// which is most of what a steady check-in costs. It knows only the fields of this build, plain strings and
// whole numbers; at anything else it gives up (false), and the caller decodes with encoding/json. What it
// accepts it reads exactly as encoding/json does (FuzzScanCheckIn). What the check-in repeats of the one before is
// not copied: digests that are the same (same) share their map.
func scanCheckIn(body []byte, before known, in *wire.CheckIn) (same, ok bool) {
	s := scanner{text: body}
	s.object(func(key []byte) (bit int) {
		switch string(key) {
		case "capability":
			in.Capability = int(s.number())
			return 0
		case "boot_id":
			in.BootID = s.str(before.boot)
			return 1
		case "run":
			in.Run = s.str(before.run)
			return 2
		case "sequence":
			in.Sequence = s.number()
			return 3
		case "digests":
			in.Digests = s.digests(before.digests)
			return 4
		case "plan":
			in.Plan = s.str(before.plan)
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
	return s.same, !s.failed && s.at == len(s.text)
}

// scanner walks over JSON. After a failure it stays where it is and returns zero values.
type scanner struct {
	text   []byte
	at     int
	failed bool
	same   bool // the digests are those of the check-in before
}

func (s *scanner) fail() { s.failed = true }

func (s *scanner) space() {
	for s.at < len(s.text) && s.text[s.at] <= ' ' {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
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
func (s *scanner) object(field func(key []byte) int) {
	s.next('{')
	seen := 0
	for first := true; !s.failed && !s.peek('}'); first = false {
		if !first {
			s.next(',')
		}
		key := s.raw()
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

// raw reads a string of printable ASCII without escapes, in place.
func (s *scanner) raw() []byte {
	s.next('"')
	if s.failed {
		return nil
	}
	text := s.text[s.at:]
	for i, c := range text {
		if c == '"' {
			s.at += i + 1
			return text[:i]
		}
		if c == '\\' || c < 0x20 || c >= 0x7f {
			break
		}
	}
	s.fail()
	return nil
}

// str reads a string that is most likely the one given, which must be plain as raw demands.
func (s *scanner) str(likely string) string {
	s.space()
	if text, n := s.text[s.at:], len(likely); n > 0 && len(text) >= n+2 && text[0] == '"' && text[n+1] == '"' && string(text[1:n+1]) == likely && !s.failed {
		s.at += n + 2
		return likely
	}
	return string(s.raw())
}

// number reads a whole number.
func (s *scanner) number() int64 {
	s.space()
	from := s.at
	for s.at < len(s.text) && (s.text[s.at] == '-' || s.text[s.at] >= '0' && s.text[s.at] <= '9') {
		s.at++
	}
	digits := s.text[from:s.at]
	n, err := strconv.ParseInt(string(digits), 10, 64)
	plain := bytes.TrimPrefix(digits, []byte("-"))
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
	s.object(func(key []byte) int {
		for i, kind := range kinds {
			if string(key) == string(kind) {
				held, ok := before[kind]
				values[i] = s.str(held)
				seen |= 1 << i
				same = same && ok && held == values[i]
				return i
			}
		}
		return -1
	})
	if same && bits.OnesCount(uint(seen)) == len(before) && before != nil {
		s.same = true
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
	s.object(func(key []byte) int {
		switch string(key) {
		case "last_scan":
			p.LastScan = s.time()
			return 0
		case "last_refresh":
			p.LastRefresh = s.time()
			return 1
		case "doing":
			p.Doing = s.str("")
			return 2
		case "since":
			p.Since = s.time()
			return 3
		case "error":
			p.Error = s.str("")
			return 4
		}
		return -1
	})
}

func (s *scanner) time() time.Time {
	var t time.Time
	var err error
	text := s.raw()
	if !s.failed {
		err = t.UnmarshalText(text)
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
