package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"assent/fault"
)

func TestError_WorksWithErrorsIsOnKindAndCause(t *testing.T) {
	err := fmt.Errorf("approve: %w", fault.New(fault.NotFound, "update_unknown", "There is no update %q.", "u1").On("updates").Because(io.EOF))
	if !errors.Is(err, fault.NotFound) || !errors.Is(err, io.EOF) || errors.Is(err, fault.Conflict) {
		t.Error("errors.Is")
	}
	if f := fault.From(err); f.Code != "update_unknown" || f.Field != "updates" {
		t.Errorf("%+v", f)
	}
}

func TestFrom_HidesWhatWasNotBuiltForShowing(t *testing.T) {
	f := fault.From(errors.New("secret path /var/lib/x"))
	if f.Kind != fault.Internal || f.Code != "internal" || f.Message == f.Cause.Error() {
		t.Errorf("%+v", f)
	}
	if fault.From(nil) != nil {
		t.Error("From(nil)")
	}
}
