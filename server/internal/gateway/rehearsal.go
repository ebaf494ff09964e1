package gateway

import (
	"fmt"
	"net/http"

	"assent/fault"
	"assent/fleet"
	"assent/wire"
)

var errRehearsal = fault.New(fault.Invalid, "rehearsal_invalid", "The rehearsal lacks its time, its plan or its inventory.")

// rehearsal takes what a device found when it rehearsed its plan.
func (g *Gateway) rehearsal(c *call) error {
	if c.device.State != fleet.Active {
		return errQuarantined
	}
	var in wire.Rehearsal
	if err := g.readJSON(c, wire.MaxMessage, &in); err != nil {
		return err
	}
	if in.At.IsZero() || !isDigest(in.Plan) || !isDigest(in.Inventory) {
		return errRehearsal
	}
	trimRehearsal(&in)
	if err := g.Facts.Rehearsed(c.r.Context(), c.device.ID, in); err != nil {
		return fmt.Errorf("take the rehearsal of device %s: %w", c.device.ID, err)
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// trimRehearsal cuts what is over the caps.
func trimRehearsal(r *wire.Rehearsal) {
	r.At = r.At.UTC()
	r.Took, r.Left = max(r.Took, 0), max(r.Left, 0)
	if more := len(r.Updates) - wire.MaxRehearsed; more > 0 {
		r.Updates, r.Left = r.Updates[:wire.MaxRehearsed], r.Left+more
	}
	for i := range r.Updates {
		u := &r.Updates[i]
		cut((*string)(&u.Update), 128)
		cut((*string)(&u.Cause), 128)
		cut(&u.Detail, 2<<10)
		u.Needs, u.Kept = u.Needs[:min(len(u.Needs), maxNeeds)], u.Kept[:min(len(u.Kept), wire.MaxKept)]
		for j := range u.Needs {
			cut(&u.Needs[j], 512)
		}
		for j := range u.Kept {
			cut(&u.Kept[j], 512)
		}
	}
}
