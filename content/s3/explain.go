package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"

	"assent/content"
	"assent/fault"
)

// response is the storage's refusal in an error; false when it did not answer.
func response(err error) (minio.ErrorResponse, bool) {
	var r minio.ErrorResponse
	return r, errors.As(err, &r)
}

// explain says what an error of the storage means for those who use files. An error that already does stays as it is.
func explain(err error) error {
	var known *fault.Error
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	r, answered := response(err)
	if !answered {
		return because(content.ErrAway, err)
	}
	switch r.Code {
	case minio.NoSuchKey, "NotFound":
		return content.ErrUnknown
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "EntityTooLarge":
		return because(content.ErrFull, err)
	}
	switch {
	case r.StatusCode == http.StatusInsufficientStorage:
		return because(content.ErrFull, err)
	case r.StatusCode >= 500, r.StatusCode == http.StatusTooManyRequests, r.StatusCode == http.StatusRequestTimeout:
		return because(content.ErrAway, err)
	}
	return fmt.Errorf("%w: %w (%s, %d)", content.ErrRefused, err, r.Code, r.StatusCode)
}

func because(known, err error) error { return fmt.Errorf("%w: %w", known, err) }

// taken reports whether a conditional write was refused because the object is there, or is just being written.
func taken(err error) bool {
	r, _ := response(err)
	return r.StatusCode == http.StatusPreconditionFailed || r.StatusCode == http.StatusConflict
}

// unconditional reports whether the storage does not know conditional writes.
func unconditional(err error) bool {
	r, _ := response(err)
	return r.StatusCode == http.StatusNotImplemented
}
