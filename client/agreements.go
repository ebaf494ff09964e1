package client

import (
	"context"
	"net/http"
	"time"

	"assent/catalog"
)

// AgreementRow is an agreement of an update, with whether it stands accepted (A7).
type AgreementRow struct {
	Update   UpdateRef               `json:"update"` // whose it is
	Feed     string                  `json:"feed,omitempty"`
	ID       string                  `json:"id"` // the vendor's name of it
	Title    string                  `json:"title"`
	Digest   string                  `json:"digest"` // what is accepted: exactly these texts
	Texts    []catalog.AgreementText `json:"texts,omitempty"`
	Accepted bool                    `json:"accepted"`
	By       string                  `json:"by,omitempty"`
	At       time.Time               `json:"at,omitzero"`
	Act      int64                   `json:"act,omitempty"`
}

// AgreementText is an agreement in one language.
type AgreementText struct {
	Language string `json:"language"`
	SHA256   string `json:"sha256"`
	Text     string `json:"text"`
}

// AcceptRequest accepts agreements of an update by the digests of what was read.
type AcceptRequest struct {
	Update  string   `json:"update"`
	Digests []string `json:"digests"`
}

// WithdrawRequest takes an acceptance back. The digest may be shortened to 8 characters or more.
type WithdrawRequest struct {
	Digest string `json:"digest"`
	Reason string `json:"reason,omitempty"`
}

// Agreements lists what must be accepted before an update may install.
func (c *Client) Agreements(ctx context.Context, update string) (List[AgreementRow], error) {
	return get[List[AgreementRow]](ctx, c, "/updates/"+escape(update)+"/agreements", nil)
}

// AgreementText is the text of an agreement of an update.
func (c *Client) AgreementText(ctx context.Context, update, sha256 string) (AgreementText, error) {
	return get[AgreementText](ctx, c, "/updates/"+escape(update)+"/agreements/"+escape(sha256), nil)
}

// Accepted lists all agreements that stand accepted.
func (c *Client) Accepted(ctx context.Context) (List[AgreementRow], error) {
	return get[List[AgreementRow]](ctx, c, "/agreements", nil)
}

// Accept accepts agreements of an update.
func (c *Client) Accept(ctx context.Context, r AcceptRequest) (Act, error) {
	return send[Act](ctx, c, http.MethodPost, "/agreements", r)
}

// Withdraw takes the acceptance of an agreement back.
func (c *Client) Withdraw(ctx context.Context, r WithdrawRequest) (Act, error) {
	return send[Act](ctx, c, http.MethodPost, "/agreements/withdrawals", r)
}
