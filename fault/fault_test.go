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

func TestKind_EveryKindHasAStatusOfItsOwn(t *testing.T) {
	seen := map[int]fault.Kind{}
	for _, k := range []fault.Kind{fault.Invalid, fault.NotFound, fault.Conflict, fault.Forbidden, fault.Unauthenticated, fault.Gone, fault.TooLarge, fault.Unavailable, fault.Internal} {
		if other, dup := seen[k.Status()]; dup {
			t.Errorf("%s and %s have the same status %d", k, other, k.Status())
		}
		seen[k.Status()] = k
	}
	if fault.Kind("odd").Status() != 500 {
		t.Error("an unknown kind is our fault")
	}
}
