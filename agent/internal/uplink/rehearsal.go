package uplink

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"assent/wire"
)

// Rehearsal tells the server what the device found when it rehearsed its plan. A server that takes none says 404.
func (c *Client) Rehearsal(ctx context.Context, r wire.Rehearsal) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the rehearsal: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = c.call(ctx, http.MethodPost, wire.PathRehearsal, c.enc.EncodeAll(body, nil), true, wire.MaxMessage)
	return err
}
