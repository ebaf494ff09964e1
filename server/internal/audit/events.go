package audit

import (
	"context"
	"fmt"

	"assent/client"
	"assent/server/internal/auth"
	"assent/server/internal/store"
)

// maxEvents bounds how many events are looked at for one page of a caller who sees only some devices.
const maxEvents = 10_000

// Events lists what devices reported, newest first: only of devices that who may see. Next tells that there
// are more: the last row's At and ID are where the next page begins.
func (s *Service) Events(ctx context.Context, who auth.Actor, q client.EventQuery) (client.List[client.Event], error) {
	out := client.List[client.Event]{Items: []client.Event{}}
	query, err := s.query(who, q)
	if err != nil {
		return out, err
	}
	names, want := s.Fleet.Names(), rows(q.Limit)
	for scanned := 0; scanned < maxEvents; {
		found, err := s.Store.Events(ctx, query)
		if err != nil {
			return out, fmt.Errorf("list events: %w", err)
		}
		for _, e := range found {
			scanned++
			query.Before, query.BeforeID = e.At, e.ID
			if !s.Fleet.Sees(who, e.Device) {
				continue
			}
			out.Items = append(out.Items, client.Event{ID: e.ID, At: e.At, Device: e.Device, DeviceName: names.Device(e.Device),
				Event: e.Event, Update: e.Update, Detail: e.Detail})
			if len(out.Items) == want {
				out.Total, out.Next = want, fmt.Sprint(e.ID)
				return out, nil
			}
		}
		if len(found) < query.Limit {
			break
		}
	}
	out.Total = len(out.Items)
	return out, nil
}

// query resolves the names in a query.
func (s *Service) query(who auth.Actor, q client.EventQuery) (store.EventQuery, error) {
	out := store.EventQuery{Event: q.Event, Before: q.Before, BeforeID: q.BeforeID, Limit: maxRows}
	var err error
	if q.Device != "" {
		if out.Device, err = s.Fleet.Device(who, q.Device); err != nil {
			return out, err
		}
	}
	if q.Update != "" {
		out.Update, err = s.Fleet.Update(q.Update)
	}
	return out, err
}
