package agent

import (
	"encoding/json"
	"fmt"

	"assent/agent/internal/statedir"
)

// maxPlanFile caps the stored plan.
const maxPlanFile = 128 << 20

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
