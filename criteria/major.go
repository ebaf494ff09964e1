package criteria

import (
	"fmt"
	"strconv"
	"strings"

	"assent/catalog"
	"assent/pkgver"
)

// NewMajor reports whether going from one version to another is a step to a new major version: the epoch differs, or the
// first number of the version does. From nothing it is not. The error means that one of them cannot be read: hold then.
func NewMajor(ecosystem, from, to string) (bool, error) {
	if from == "" {
		return false, nil
	}
	was, err := major(ecosystem, from)
	if err != nil {
		return false, err
	}
	is, err := major(ecosystem, to)
	if err != nil {
		return false, err
	}
	return was != is, nil
}

// major is the epoch and the first number of a version.
func major(ecosystem, version string) (string, error) {
	var epoch int
	upstream := version
	switch ecosystem {
	case catalog.Deb.Ecosystem():
		v, err := pkgver.ParseDeb(version)
		if err != nil {
			return "", fmt.Errorf("major version: %w", err)
		}
		epoch, upstream = v.Epoch(), v.Upstream()
	case catalog.RPM.Ecosystem():
		v, err := pkgver.ParseRPM(version)
		if err != nil {
			return "", fmt.Errorf("major version: %w", err)
		}
		epoch = v.Epoch()
		if _, rest, ok := strings.Cut(version, ":"); ok {
			upstream = rest
		}
	default:
		if err := pkgver.Check(ecosystem, version); err != nil {
			return "", fmt.Errorf("major version: %w", err)
		}
	}
	digits := len(upstream) - len(strings.TrimLeft(upstream, "0123456789"))
	if digits == 0 {
		return "", fmt.Errorf("major version: %.80q does not begin with a number: %w", version, pkgver.ErrMalformed)
	}
	return strconv.Itoa(epoch) + ":" + strings.TrimLeft(upstream[:digits], "0"), nil
}
