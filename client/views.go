package client

import (
	"context"
	"net/http"
	"time"
)

// ViewLists are the lists that can be saved as views.
func ViewLists() []string { return []string{"updates", "devices", "queue", "events"} }

// ViewRow is a saved view of a list.
type ViewRow struct {
	ID     string    `json:"id"`
	Name   string    `json:"name"`
	List   string    `json:"list"`
	Query  string    `json:"query"` // the list's address query
	Shared bool      `json:"shared"`
	By     string    `json:"by,omitempty"` // who saved it
	At     time.Time `json:"at,omitzero"`
}

// ViewRequest saves a view: for oneself, or as an administrator for everybody. One with the same list and name is
// replaced.
type ViewRequest struct {
	Name   string `json:"name"`
	List   string `json:"list"`
	Query  string `json:"query"`
	Shared bool   `json:"shared,omitempty"`
}

// Views lists the caller's own views and the shared ones, by name. list narrows them to one list.
func (c *Client) Views(ctx context.Context, list string) (List[ViewRow], error) {
	return get[List[ViewRow]](ctx, c, "/views", values("list", list))
}

// SaveView saves a view.
func (c *Client) SaveView(ctx context.Context, v ViewRequest) (ViewRow, error) {
	return send[ViewRow](ctx, c, http.MethodPost, "/views", v)
}

// DeleteView deletes an own view, or as an administrator a shared one.
func (c *Client) DeleteView(ctx context.Context, id string) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/views/"+escape(id), nil)
}
