// Package payload reads what a payload says of itself before a publisher adds it to a feed: the control fields of a Debian
// package, and whether an archive is one that devices accept as a tree.
//
// It guarantees: nothing is unpacked or run; what it reads is capped; what devices would refuse is refused here with a
// sentence that names the entry. The judgement that counts is the device's own.
package payload

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"assent/archive"
	"assent/catalog"
	"assent/fault"
)

func bad(format string, args ...any) error {
	return fault.New(fault.Invalid, "payload_refused", "The payload is refused: %s.", fmt.Sprintf(format, args...)).On("files")
}

// Detect tells the format of a payload by its first bytes: a Debian package, an RPM package, an archive; and false for
// anything else, which can only be content.
func Detect(r *bufio.Reader) (catalog.Format, bool, error) {
	head, err := r.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, fmt.Errorf("read the payload: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, []byte(arMagic+"debian-binary")):
		return catalog.Deb, true, nil
	case bytes.HasPrefix(head, []byte("\xed\xab\xee\xdb")):
		return catalog.RPM, true, nil
	case archive.IsCompressed(head), archive.IsTar(head):
		return catalog.Tar, true, nil
	}
	return "", false, nil
}

// CheckTree reads an archive of size bytes (tar, also compressed with gzip, zstd or xz) and refuses what devices would not
// unpack: it asks the same rules.
func CheckTree(ctx context.Context, r io.Reader, size int64) error {
	err := archive.Walk(ctx, r, size, archive.Limits{}, func(archive.Entry, io.Reader) error { return nil })
	var refused *archive.Refusal
	switch {
	case errors.As(err, &refused):
		return bad("%s", refused.Detail)
	case err != nil:
		return fmt.Errorf("look at the archive: %w", err)
	}
	return nil
}
