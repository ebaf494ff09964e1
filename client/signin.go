package client

import (
	"context"
	"net/http"
)

// PasswordRequest gives an operator a password for the console. It is sent once and kept nowhere.
type PasswordRequest struct {
	Password string `json:"password"`
}

// SetPassword gives an operator a password for the console: oneself, or an operator below an administrator. It ends
// their sessions there.
func (c *Client) SetPassword(ctx context.Context, operator string, r PasswordRequest) (Act, error) {
	return send[Act](ctx, c, http.MethodPut, "/operators/"+escape(operator)+"/password", r)
}

// RemovePassword takes an operator's password away and ends their sessions in the console.
func (c *Client) RemovePassword(ctx context.Context, operator string) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/operators/"+escape(operator)+"/password", nil)
}

// SignOutOperator ends an operator's sessions in the console. Their access tokens still count.
func (c *Client) SignOutOperator(ctx context.Context, operator string) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/operators/"+escape(operator)+"/sessions", nil)
}
