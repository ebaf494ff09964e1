package ledger

import "assent/fault"

// The acts on what operators sign in with. They say that it happened and name the credential; what proves a person is
// nowhere in the ledger, so they change nothing of the state.
type (
	// PasswordSet gives an operator a password, or another one.
	PasswordSet struct {
		Operator string `json:"operator"`
	}
	// PasswordRemove takes an operator's password away.
	PasswordRemove struct {
		Operator string `json:"operator"`
	}
	// PasskeyAdd registers a passkey.
	PasskeyAdd struct {
		Operator string `json:"operator"`
		ID       string `json:"id"`
		Name     string `json:"name"`
	}
	// PasskeyRemove ends a passkey.
	PasskeyRemove struct {
		Operator string `json:"operator"`
		ID       string `json:"id"`
		Reason   string `json:"reason,omitempty"` // where the server did it
	}
	// SessionEnd signs an operator out of every browser. Only what somebody else ends is recorded.
	SessionEnd struct {
		Operator string `json:"operator"`
	}
)

// Kind names what each act is.
func (PasswordSet) Kind() Kind    { return "password.set" }
func (PasswordRemove) Kind() Kind { return "password.remove" }
func (PasskeyAdd) Kind() Kind     { return "passkey.add" }
func (PasskeyRemove) Kind() Kind  { return "passkey.remove" }
func (SessionEnd) Kind() Kind     { return "session.end" }

// subject is the operator whose sign-in an act changes.
func subject(body Body) (string, bool) {
	switch b := body.(type) {
	case PasswordSet:
		return b.Operator, true
	case PasswordRemove:
		return b.Operator, true
	case PasskeyAdd:
		return b.Operator, true
	case PasskeyRemove:
		return b.Operator, true
	case SessionEnd:
		return b.Operator, true
	}
	return "", false
}

// signIn checks an act on what an operator signs in with.
func (s *State) signIn(body Body) error {
	name, ok := subject(body)
	if _, known := s.Operators[name]; ok && !known {
		return fault.New(fault.NotFound, "operator_unknown", "There is no operator %q.", name).On("operator")
	}
	return nil
}
