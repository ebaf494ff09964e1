package client

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"assent/fault"
)

// get, post and the like are call with the answer's type.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	var out T
	err := c.call(ctx, http.MethodGet, path, query, nil, &out)
	return out, err
}

func send[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	err := c.call(ctx, method, path, nil, body, &out)
	return out, err
}

// values builds a query from pairs; empty values are left out.
func values(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Add(pairs[i], pairs[i+1])
		}
	}
	return q
}

func number[T ~int | ~int64 | ~uint64](n T) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func yesNo(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}

func add[T ~string](q url.Values, key string, all []T) {
	for _, v := range all {
		q.Add(key, string(v))
	}
}

func (p Page) add(q url.Values) url.Values {
	maps.Copy(q, values("sort", p.Sort, "limit", number(p.Limit), "cursor", p.Cursor))
	return q
}

// query is the filter as the address of a list spells it.
func (f Filter) query() url.Values {
	q := values("search", f.Search, "security", yesNo(f.Security), "needed", yesNo(f.Needed), "superseded", yesNo(f.Superseded), "group", f.Group, "device", f.Device,
		"view", f.View, "gated", yesNo(f.Gated), "revoked", yesNo(f.Revoked), "exploited", yesNo(f.Exploited), "installed", yesNo(f.Installed), "changed", yesNo(f.Changed), "agreements", yesNo(f.Agreements))
	add(q, "status", f.Status)
	add(q, "class", f.Class)
	add(q, "severity", f.Severity)
	add(q, "origin", f.Origin)
	add(q, "state", f.State)
	return q
}

// SignIn exchanges a one-time sign-in token for an access token.
func (c *Client) SignIn(ctx context.Context, in SignIn) (SignedIn, error) {
	return send[SignedIn](ctx, c, http.MethodPost, "/sign-in", in)
}

// SignOut ends the access token in use.
func (c *Client) SignOut(ctx context.Context) (Act, error) {
	return send[Act](ctx, c, http.MethodPost, "/sign-out", nil)
}

// Me says who the caller is.
func (c *Client) Me(ctx context.Context) (Me, error) { return get[Me](ctx, c, "/me", nil) }

// Status is the state of the whole.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/status", nil)
}

// Changes returns at once when something changed since after, else once something does or wait is over.
func (c *Client) Changes(ctx context.Context, after uint64, wait time.Duration) (Changes, error) {
	q := values("after", number(after), "wait", number(int(min(wait, time.Minute)/time.Second)))
	return get[Changes](ctx, c.waiting(wait), "/changes", q)
}

// waiting is a client that waits longer for an answer.
func (c *Client) waiting(extra time.Duration) *Client {
	longer := *c
	longer.wait += extra
	return &longer
}

// Updates lists updates as seen from the filter's group.
func (c *Client) Updates(ctx context.Context, f Filter, p Page) (List[UpdateRow], error) {
	return get[List[UpdateRow]](ctx, c, "/updates", p.add(f.query()))
}

// Update shows an update as seen from a group.
func (c *Client) Update(ctx context.Context, ref, group string) (UpdateDetail, error) {
	return get[UpdateDetail](ctx, c, "/updates/"+escape(ref), values("group", group))
}

// Decide approves, declines or undefines updates.
func (c *Client) Decide(ctx context.Context, d Decide) (Outcome, error) {
	return send[Outcome](ctx, c, http.MethodPost, "/decisions", d)
}

// Rollback puts back the versions before an update.
func (c *Client) Rollback(ctx context.Context, r RollbackRequest) (RollbackOutcome, error) {
	return send[RollbackOutcome](ctx, c, http.MethodPost, "/rollbacks", r)
}

// Exceptions lists exceptions from declines.
func (c *Client) Exceptions(ctx context.Context) (List[ExceptionRow], error) {
	return get[List[ExceptionRow]](ctx, c, "/exceptions", nil)
}

// Except lets an update pass a decline.
func (c *Client) Except(ctx context.Context, e ExceptionRequest) (Act, error) {
	return send[Act](ctx, c, http.MethodPost, "/exceptions", e)
}

// Unexcept ends an exception.
func (c *Client) Unexcept(ctx context.Context, id int64) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/exceptions/"+strconv.FormatInt(id, 10), nil)
}

// Why is the verdict on an update on a device, with its whole trace.
func (c *Client) Why(ctx context.Context, device, update string) (Why, error) {
	return get[Why](ctx, c, "/devices/"+escape(device)+"/why/"+escape(update), nil)
}

// Queue lists what is on its way.
func (c *Client) Queue(ctx context.Context, q QueueQuery, p Page) (List[QueueRow], error) {
	v := values("group", q.Group, "device", q.Device, "cause", string(q.Cause), "overdue", yesNo(q.Overdue))
	add(v, "state", q.State)
	return get[List[QueueRow]](ctx, c, "/queue", p.add(v))
}

// Devices lists devices.
func (c *Client) Devices(ctx context.Context, q DeviceQuery, p Page) (List[DeviceRow], error) {
	here := ""
	if q.Here {
		here = "true"
	}
	return get[List[DeviceRow]](ctx, c, "/devices", p.add(values("group", q.Group, "search", q.Search, "state", string(q.State), "only", string(q.Only), "here", here)))
}

// Device shows a device.
func (c *Client) Device(ctx context.Context, ref string) (DeviceDetail, error) {
	return get[DeviceDetail](ctx, c, "/devices/"+escape(ref), nil)
}

// ChangeDevices moves, retires, quarantines or releases devices.
func (c *Client) ChangeDevices(ctx context.Context, d DeviceChange) (Act, error) {
	return send[Act](ctx, c, http.MethodPost, "/devices/changes", d)
}

// RefreshDevices asks devices to fetch their package lists now.
func (c *Client) RefreshDevices(ctx context.Context, r RefreshRequest) (Refreshed, error) {
	return send[Refreshed](ctx, c, http.MethodPost, "/devices/refresh", r)
}

// Groups lists the tree, parents before children.
func (c *Client) Groups(ctx context.Context) (List[GroupRow], error) {
	return get[List[GroupRow]](ctx, c, "/groups", nil)
}

// CreateGroup creates a group.
func (c *Client) CreateGroup(ctx context.Context, g GroupRequest) (GroupRow, error) {
	return send[GroupRow](ctx, c, http.MethodPost, "/groups", g)
}

// ChangeGroup renames, moves or guards a group.
func (c *Client) ChangeGroup(ctx context.Context, ref string, g GroupRequest) (GroupRow, error) {
	return send[GroupRow](ctx, c, http.MethodPatch, "/groups/"+escape(ref), g)
}

// DeleteGroup deletes a group that nothing refers to.
func (c *Client) DeleteGroup(ctx context.Context, ref string) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/groups/"+escape(ref), nil)
}

// Tokens lists enrolment tokens.
func (c *Client) Tokens(ctx context.Context) (List[TokenRow], error) {
	return get[List[TokenRow]](ctx, c, "/tokens", nil)
}

// CreateToken makes an enrolment token.
func (c *Client) CreateToken(ctx context.Context, t TokenRequest) (TokenRow, error) {
	return send[TokenRow](ctx, c, http.MethodPost, "/tokens", t)
}

// RevokeToken revokes an enrolment token.
func (c *Client) RevokeToken(ctx context.Context, id string) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/tokens/"+escape(id), nil)
}

// Operators lists who may use the API.
func (c *Client) Operators(ctx context.Context) (List[OperatorRow], error) {
	return get[List[OperatorRow]](ctx, c, "/operators", nil)
}

// SetOperator adds or changes an operator.
func (c *Client) SetOperator(ctx context.Context, o OperatorRequest) (OperatorRow, error) {
	return send[OperatorRow](ctx, c, http.MethodPut, "/operators/"+escape(o.Name), o)
}

// RemoveOperator removes an operator with all access.
func (c *Client) RemoveOperator(ctx context.Context, name string) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/operators/"+escape(name), nil)
}

// Accesses lists access tokens: the caller's, or all for an administrator of the root group.
func (c *Client) Accesses(ctx context.Context) (List[AccessRow], error) {
	return get[List[AccessRow]](ctx, c, "/access", nil)
}

// CreateAccess makes an access token.
func (c *Client) CreateAccess(ctx context.Context, a AccessRequest) (AccessRow, error) {
	return send[AccessRow](ctx, c, http.MethodPost, "/access", a)
}

// RevokeAccess revokes an access token.
func (c *Client) RevokeAccess(ctx context.Context, id string) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/access/"+escape(id), nil)
}

// Events lists what devices reported, newest first.
func (c *Client) Events(ctx context.Context, q EventQuery) (List[Event], error) {
	v := values("device", q.Device, "update", q.Update, "event", q.Event, "limit", number(q.Limit), "before_id", number(q.BeforeID))
	if !q.Before.IsZero() {
		v.Set("before", q.Before.UTC().Format(time.RFC3339Nano))
	}
	return get[List[Event]](ctx, c, "/events", v)
}

// Ledger lists entries, newest first.
func (c *Client) Ledger(ctx context.Context, q LedgerQuery) (List[LedgerRow], error) {
	v := values("kind", string(q.Kind), "by", q.By, "before", number(q.Before), "limit", number(q.Limit))
	return get[List[LedgerRow]](ctx, c, "/ledger", v)
}

// Checkpoint is the ledger's signed head.
func (c *Client) Checkpoint(ctx context.Context) (Checkpoint, error) {
	return get[Checkpoint](ctx, c, "/ledger/checkpoint", nil)
}

// Export writes the whole ledger to w, byte for byte as the server sends it. What it wrote is only to be
// believed after ledger.VerifyExport.
func (c *Client) Export(ctx context.Context, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, "/ledger/export", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fault.New(fault.Unavailable, "export_broken", "The export broke off; start it again.").Because(err)
	}
	return nil
}
