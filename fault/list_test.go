package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"assent/fault"
)

func TestJoin_KeepsAllRefusalsAndLetsTheFirstSpeak(t *testing.T) {
	first, second := fault.New(fault.Invalid, "a", "A.").On("x"), fault.New(fault.Conflict, "b", "B.")
	if fault.Join(nil) != nil || fault.Join([]*fault.Error{first}) != error(first) {
		t.Error("none and one are no lists")
	}
	err := fmt.Errorf("save: %w", fault.Join([]*fault.Error{first, second}))
	var all fault.List
	if !errors.As(err, &all) || len(all) != 2 || fault.From(err) != first || !errors.Is(err, fault.Conflict) || !errors.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
	if all.Error() != "a: A. (x); b: B." {
		t.Error(all.Error())
	}
}
