package uplink

import (
	"context"
	"errors"
	"net/http"

	"assent/wire"
)

// Leave tells the server that the device leaves. That it has left already is no error.
func (c *Client) Leave(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodPost, wire.PathLeave, nil, false, wire.MaxMessage)
	var refused *Refused
	if errors.As(err, &refused) && refused.Code == "device_retired" {
		return nil
	}
	return err
}
