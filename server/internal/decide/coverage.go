package decide

import (
	"context"

	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
)

// Coverage is the compliance of each of these groups, in their order and all of one moment: what Status says of each,
// without counting everything else anew for every group.
func (s *Service) Coverage(_ context.Context, who auth.Actor, groups []fleet.GroupID) ([]client.Compliance, error) {
	out := make([]client.Compliance, 0, len(groups))
	err := s.look(func(m *moment) error {
		for _, g := range groups {
			view, err := m.from(who, ledger.Viewer, client.Filter{Group: string(g)})
			if err != nil {
				return err
			}
			out = append(out, view.compliance())
		}
		return nil
	})
	return out, err
}
