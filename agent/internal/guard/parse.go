package guard

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Op is what a line of a transaction does to a package.
type Op string

// The operations of the hook protocol.
const (
	Install   Op = "install" // an upgrade, a downgrade or a new package: a file is unpacked
	Configure Op = "configure"
	Remove    Op = "remove"
)

// Line is one package of a transaction.
type Line struct {
	Name       string
	OldVersion string // empty if it is not installed
	OldArch    string
	Direction  string // "<" upgrade or new, "=" same version, ">" downgrade or removal
	NewVersion string // empty for a removal
	NewArch    string // "all" for architecture-independent packages
	Op         Op
	Path       string // of the file, for Install
}

// Transaction is what apt said it is about to do.
type Transaction struct {
	Own     string // id, if Assent itself started it
	Command string // how apt was called
	Lines   []Line
}

// OwnOption is the apt option by which Assent's own runs name themselves.
const OwnOption = "Assent::Transaction"

// RecoveryPrefix starts the ids of runs that repair an interrupted package manager. No plan orders those, so they are
// judged as anybody's.
const RecoveryPrefix = "recover-"

// Caps on what is read from the hook.
const (
	maxLines    = 400_000
	maxLineSize = 1 << 20
)

// ErrProtocol says that the hook's input is not protocol version 3.
var ErrProtocol = errors.New("the package manager does not speak hook protocol version 3")

// Parse reads the hook protocol: its version, the configuration as KEY=VALUE lines, an empty line, and one line
// for each step. apt percent-escapes keys and values but writes the steps as they are.
func Parse(r io.Reader) (Transaction, error) {
	var tx Transaction
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLineSize)
	if !in.Scan() || in.Text() != "VERSION 3" {
		return tx, errors.Join(ErrProtocol, in.Err())
	}
	ended := false
	for !ended && in.Scan() {
		if ended = in.Text() == ""; !ended {
			tx.option(in.Text())
		}
	}
	if !ended {
		return tx, errors.Join(fmt.Errorf("%w: the configuration does not end", ErrProtocol), in.Err())
	}
	for in.Scan() {
		if in.Text() == "" {
			continue
		}
		l, err := parseLine(in.Text())
		if err != nil {
			return tx, err
		}
		if tx.Lines = append(tx.Lines, l); len(tx.Lines) > maxLines {
			return tx, fmt.Errorf("%w: more than %d steps", ErrProtocol, maxLines)
		}
	}
	if err := in.Err(); err != nil {
		return tx, fmt.Errorf("read the transaction: %w", err)
	}
	return tx, nil
}

// option keeps the two settings that matter. apt's keys are case-insensitive.
func (tx *Transaction) option(line string) {
	key, value, _ := strings.Cut(line, "=")
	switch {
	case strings.EqualFold(key, OwnOption):
		if id := unescape(value); !strings.HasPrefix(id, RecoveryPrefix) {
			tx.Own = id
		}
	case strings.EqualFold(key, "CommandLine::AsString"):
		tx.Command = unescape(value)
	}
}

// parseLine reads "name oldversion oldarch oldmultiarch direction newversion newarch newmultiarch path". A version
// that is not there is "-"; its architecture too. The path is the rest of the line and may hold blanks.
func parseLine(s string) (Line, error) {
	f := strings.SplitN(s, " ", 9)
	if len(f) != 9 || f[0] == "" || f[8] == "" || f[4] != "<" && f[4] != "=" && f[4] != ">" {
		return Line{}, fmt.Errorf("%w: step %.200q", ErrProtocol, s)
	}
	l := Line{Name: f[0], OldVersion: absent(f[1]), OldArch: absent(f[2]), Direction: f[4],
		NewVersion: absent(f[5]), NewArch: absent(f[6])}
	switch {
	case f[8] == "**CONFIGURE**":
		l.Op = Configure
	case f[8] == "**REMOVE**":
		l.Op = Remove
	case strings.HasPrefix(f[8], "/") && l.NewVersion != "":
		l.Op, l.Path = Install, f[8]
	default: // "**ERROR**" among them
		return Line{}, fmt.Errorf("%w: step %.200q", ErrProtocol, s)
	}
	return l, nil
}

func absent(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// unescape undoes apt's %XX; what is no escape stays.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hexDigit(c byte) int {
	if c >= 'A' && c <= 'F' {
		c += 'a' - 'A'
	}
	return strings.IndexByte("0123456789abcdef", c)
}
