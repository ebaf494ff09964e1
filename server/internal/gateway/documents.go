package gateway

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"

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
	case !isDigest(digest) || g.Others == nil && !c.session.announces(kind, digest):
		return errAnnounced // where there are several servers, it may have been announced to another one
	}
	done, err := g.upload(c)
	if err != nil {
		return err
	}
	defer done()
	var body bytes.Buffer
	if err := g.receive(c, wire.MaxDocument, 10*g.Limits.BodyTimeout, &body); err != nil {
		return err
	}
	switch {
	case wire.Digest(body.Bytes()) != digest:
		return errDigest
	case !shallow(body.Bytes(), maxDepth):
		return errBodyDepth
	}
	err = g.durably(c, func() error {
		return g.Facts.ObserveDocument(c.r.Context(), c.device.ID, kind, digest, body.Bytes())
	})
	if err != nil {
		return fmt.Errorf("keep the %s of device %s: %w", kind, c.device.ID, err)
	}
	g.metrics.documents.WithLabelValues(string(kind)).Inc()
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// deviceUploads is how many large bodies of one device are received at once.
const deviceUploads = 2

// upload takes one of the places for large bodies, waiting a little: only a few are held in memory at a time. Who
// waits for a device to send holds no working place.
func (g *Gateway) upload(c *call) (done func(), err error) {
	g.leave(c)
	if c.session.uploads.Add(1) > deviceUploads {
		c.session.uploads.Add(-1)
		return nil, errTooMany
	}
	if !g.uploads.enter(c.r.Context(), string(c.device.ID)) {
		c.session.uploads.Add(-1)
		return nil, errBusy
	}
	return func() { g.uploads.leave(); c.session.uploads.Add(-1) }, nil
}
