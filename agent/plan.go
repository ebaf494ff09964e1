package agent

import (
	"encoding/json"
	"fmt"
	"time"

	"assent/agent/internal/identity"
	"assent/agent/internal/statedir"
	"assent/wire"
)

// maxPlanFile caps the stored plan, in bytes: base64 makes it a third longer than it was.
const maxPlanFile = 2 * wire.MaxDocument

// readStored reads the plan that is on disk, unverified.
func readStored(dir *statedir.Dir) (stored, error) {
	var s stored
	b, err := dir.Read(planFile, maxPlanFile)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("read stored plan: %w", err)
	}
	return s, nil
}

// OpenPlan reads the plan in force and checks its signature again. Whether it has expired is the caller's question.
func OpenPlan(dir *statedir.Dir, id identity.Identity) (wire.StatementBody, wire.Plan, error) {
	_, body, plan, err := openStored(dir, id)
	return body, plan, err
}

func openStored(dir *statedir.Dir, id identity.Identity) (wire.Statement, wire.StatementBody, wire.Plan, error) {
	s, err := readStored(dir)
	if err != nil {
		return s.Statement, wire.StatementBody{}, wire.Plan{}, err
	}
	body, err := s.Statement.Verify(id.Trusted(), id.Device, 0, time.Time{})
	if err != nil {
		return s.Statement, body, wire.Plan{}, fmt.Errorf("stored plan: %w", err)
	}
	plan, err := body.Open(s.Plan)
	if err != nil {
		return s.Statement, body, plan, fmt.Errorf("stored plan: %w", err)
	}
	return s.Statement, body, plan, nil
}
