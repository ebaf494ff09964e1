package task

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"assent/approval"
	"assent/fault"
	"assent/fleet"
)

// MaxJSON caps one task as JSON, in bytes.
const MaxJSON = 1 << 20

// Decode reads one task as JSON, strictly: an unknown field, a value of another type or bytes after it are refused, since what
// an unknown field would have restricted must not be left out silently. It reads what earlier builds wrote. It does not judge
// what is in it; Validate does. The error is a *fault.Error.
func Decode(raw []byte) (Task, error) {
	if len(raw) > MaxJSON {
		return Task{}, fault.New(fault.TooLarge, "task_too_large", "The task has %d bytes; %d are allowed.", len(raw), MaxJSON)
	}
	var t Task
	if err := json.Unmarshal(raw, &t); err != nil {
		return Task{}, fault.New(fault.Invalid, "task_malformed", "The task is not the JSON that tasks are written in: %.200s.", reason(err)).Because(err)
	}
	return t, nil
}

// reason is what of a JSON error helps its writer.
func reason(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Sprintf("%s cannot be %s", wrong.Field, wrong.Value)
	}
	return err.Error()
}

// stored is a Task with the field that earlier builds had instead of Targets.
type stored struct {
	plain
	Scope fleet.GroupID `json:"scope,omitempty"`
}

// plain is a Task without its methods.
type plain Task

// UnmarshalJSON reads a task, strictly, in this form or in that of earlier builds.
func (t *Task) UnmarshalJSON(raw []byte) error {
	in := stored{plain: plain{Enabled: true}}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return err
	}
	if in.Scope != "" {
		if len(in.Targets.Groups) > 0 {
			return errors.New("scope and targets cannot stand together")
		}
		in.Targets.Groups = []fleet.GroupID{in.Scope}
	}
	*t = Task(in.plain)
	return nil
}

// UnmarshalJSON reads the word, or the list of statuses that earlier builds wrote. No rule of theirs admitted declined updates,
// whatever it listed, and none that is read from them does.
func (a *Admits) UnmarshalJSON(raw []byte) error {
	if len(raw) == 0 || raw[0] != '[' {
		var word string
		if err := json.Unmarshal(raw, &word); err != nil {
			return err
		}
		*a = Admits(word)
		return nil
	}
	var list []approval.Status
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	switch approved := slices.Contains(list, approval.Approved); {
	case approved && slices.Contains(list, approval.Undefined):
		*a = ApprovedOrUndefined
	case approved:
		*a = Approved
	default:
		return fmt.Errorf("a rule cannot admit %q alone", list)
	}
	return nil
}
