package trust

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"assent/fault"
)

// The refusals of a feed. Compare with errors.Is; their codes are what programs go by.
var (
	ErrExpired     = &Refusal{fault.New(fault.Conflict, "feed_expired", "The feed's signatures have expired: its publisher stopped, or somebody holds back newer ones. What was verified last stays.")}
	ErrRolledBack  = &Refusal{fault.New(fault.Conflict, "feed_rolled_back", "The feed went back to an older state than was seen before. What was verified last stays.")}
	ErrSignature   = &Refusal{fault.New(fault.Conflict, "feed_signature", "The feed is not signed by the keys that its root names. What was verified last stays.")}
	ErrMismatch    = &Refusal{fault.New(fault.Conflict, "feed_mismatch", "A file of the feed is not the one that was signed. What was verified last stays.")}
	ErrMalformed   = &Refusal{fault.New(fault.Invalid, "feed_malformed", "The feed's metadata cannot be used.")}
	ErrUnreachable = &Refusal{fault.New(fault.Unavailable, "feed_unreachable", "The feed cannot be read. What was verified last stays.")}
	ErrNoTarget    = &Refusal{fault.New(fault.NotFound, "feed_target_unknown", "The feed has no such file.")}
	ErrTooLarge    = &Refusal{fault.New(fault.TooLarge, "feed_too_large", "A file of the feed is larger than it may be.")}
)

// Refusal is a fault that errors.Is knows by its code, so that one with a cause is still the same refusal.
type Refusal struct{ fault *fault.Error }

// Because is the same refusal with its cause.
func (r *Refusal) Because(cause error) error { return &Refusal{r.fault.Because(cause)} }

// Error is for logs; users see the fault's message.
func (r *Refusal) Error() string { return r.fault.Error() }

// Is compares codes.
func (r *Refusal) Is(target error) bool {
	other, ok := target.(*Refusal)
	return ok && other.fault.Code == r.fault.Code
}

// Unwrap gives the fault with its kind and cause.
func (r *Refusal) Unwrap() error { return r.fault }

// guarded runs a step of go-tuf on bytes that may be hostile. A panic is a refusal: go-tuf 2.4.2 dereferences what JSON
// can make null, before any signature is checked.
func guarded(role string, step func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = ErrMalformed.Because(fmt.Errorf("%s: %v", role, p))
		}
	}()
	if err := step(); err != nil {
		return refuse(role, err)
	}
	return nil
}

// refuse gives an error of go-tuf its code. The narrower types come first: all of them are also ErrRepository.
func refuse(role string, err error) error {
	var known *Refusal
	if errors.As(err, &known) {
		return err
	}
	code := ErrMalformed
	var (
		expired  *metadata.ErrExpiredMetadata
		version  *metadata.ErrBadVersionNumber
		unsigned *metadata.ErrUnsignedMetadata
		digest   *metadata.ErrLengthOrHashMismatch
	)
	switch {
	case errors.As(err, &expired):
		code = ErrExpired
	case errors.As(err, &version):
		code = ErrRolledBack
	case errors.As(err, &unsigned):
		code = ErrSignature
	case errors.As(err, &digest):
		code = ErrMismatch
	}
	return code.Because(fmt.Errorf("%s: %w", role, err))
}

// fetch reads a file of the feed. Whatever a Source does, no more than max bytes come back.
func fetch(ctx context.Context, src Source, path string, max int64) ([]byte, error) {
	b, err := src.Read(ctx, path, max)
	if err == nil && int64(len(b)) > max {
		err = ErrTooLarge.Because(fmt.Errorf("%s has more than %d bytes", path, max))
	}
	switch {
	case err == nil:
		return b, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("read %s of the feed: %w", path, ctx.Err())
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrUnreachable):
		return nil, err
	}
	return nil, ErrUnreachable.Because(fmt.Errorf("%s: %w", path, err))
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
