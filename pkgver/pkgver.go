// Package pkgver orders the versions of each ecosystem the way its own package manager does.
//
// It guarantees a total order per ecosystem that equals the real tool's answer (for "deb", dpkg
// --compare-versions; for "rpm", rpm.vercmp), and that what it cannot read is an error and never a guess: an unknown
// ecosystem or a malformed version must hold a decision, so callers may not treat the error as
// "older" or "equal".
//
// It does not normalise: "1.0", "1.00" and "0:1.0" compare as equal and remain different texts.
// Identity of an item is its text, order is its value.
package pkgver

import (
	"errors"
	"fmt"
)

// Errors that callers may tell apart. Both mean that the order is unknown.
var (
	ErrEcosystem = errors.New("version order of this ecosystem is not known")
	ErrMalformed = errors.New("malformed version")
)

// Ecosystem names, as in package URLs.
const (
	ecosystemDeb     = "deb"
	ecosystemRPM     = "rpm"
	ecosystemGeneric = "generic"
)

// Compare gives -1, 0 or 1 as a is older than, equal to or newer than b in the ecosystem. Any error
// means that the order is unknown; the number is 0 then and must not be used.
func Compare(ecosystem, a, b string) (int, error) {
	switch ecosystem {
	case ecosystemDeb:
		return compare(a, b, ParseDeb)
	case ecosystemRPM:
		return compare(a, b, ParseRPM)
	case ecosystemGeneric:
		return compare(a, b, ParseSemantic)
	}
	return 0, fmt.Errorf("compare versions of %.40q: %w", ecosystem, ErrEcosystem)
}

// Check reports whether a version can be ordered in its ecosystem at all.
func Check(ecosystem, version string) error {
	_, err := Compare(ecosystem, version, version)
	return err
}

// compare reads two versions and orders them.
func compare[V interface{ Compare(V) int }](a, b string, parse func(string) (V, error)) (int, error) {
	va, err := parse(a)
	if err != nil {
		return 0, err
	}
	vb, err := parse(b)
	if err != nil {
		return 0, err
	}
	return va.Compare(vb), nil
}
