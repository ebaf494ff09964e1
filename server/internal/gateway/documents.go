package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/wire"
)

// The refusals of a document.
var (
	errKind      = fault.New(fault.NotFound, "document_kind", "There is no such kind of document.").On("kind")
	errAnnounced = fault.New(fault.Conflict, "document_unannounced", "The device's last check-in did not name this document; check in first.").On("digest")
	errDigest    = fault.New(fault.Invalid, "document_digest", "The document's content does not have the digest it was sent under.").On("digest")
)

// document takes the body of a document that the device announced.
func (g *Gateway) document(c *call) error {
	kind, digest := wire.Kind(c.r.PathValue("kind")), c.r.PathValue("digest")
	switch {
	case c.device.State != fleet.Active:
		return errQuarantined
	case !slices.Contains(wire.Kinds(), kind):
		return errKind
	case !isDigest(digest) || !c.session.announces(kind, digest):
		return errAnnounced
	}
	done, err := g.upload(c.r.Context())
	if err != nil {
		return err
	}
	defer done()
	var body bytes.Buffer
	if err := g.readBody(c, wire.MaxDocument, 10*g.Limits.BodyTimeout, &body); err != nil {
		return err
	}
	switch {
	case wire.Digest(body.Bytes()) != digest:
		return errDigest
	case !shallow(body.Bytes(), maxDepth):
		return errBodyDepth
	}
	if err := g.Facts.ObserveDocument(c.r.Context(), c.device.ID, kind, digest, body.Bytes()); err != nil {
		return fmt.Errorf("keep the %s of device %s: %w", kind, c.device.ID, err)
	}
	g.metrics.documents.WithLabelValues(string(kind)).Inc()
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// upload takes one of the places for documents, waiting a little: bodies are large, so only a few are
// held in memory at a time.
func (g *Gateway) upload(ctx context.Context) (done func(), err error) {
	wait := time.NewTimer(10 * time.Second)
	defer wait.Stop()
	select {
	case g.uploads <- struct{}{}:
		return func() { <-g.uploads }, nil
	case <-wait.C:
		return nil, errBusy
	case <-ctx.Done():
		return nil, errBusy.Because(ctx.Err())
	}
}
