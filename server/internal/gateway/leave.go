package gateway

import (
	"fmt"
	"net/http"

	"assent/fleet"
)

// quit retires the device that asks for it: `assent-agent leave`. It can do that to itself only. A
// quarantined one cannot: of two that hold its key, nobody knows which one asks.
func (g *Gateway) quit(c *call) error {
	if c.device.State != fleet.Active {
		return errQuarantined
	}
	if err := g.durably(c, func() error { return g.Acts.Leave(c.r.Context(), c.device.ID) }); err != nil {
		return fmt.Errorf("retire device %s, which leaves: %w", c.device.ID, err)
	}
	g.Log.Info("a device left", "device", c.device.ID, "name", c.device.Name)
	c.w.Header().Set("Connection", "close")
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
