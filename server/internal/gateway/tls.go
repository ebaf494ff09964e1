package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/server/internal/ca"
)

// The refusals of a certificate that the CA did sign.
var (
	errNoCertificate = fault.New(fault.Unauthenticated, "certificate_missing", "This needs a device certificate; enrol the device with `assent-agent enrol`.")
	errUnknownDevice = fault.New(fault.Unauthenticated, "device_unknown", "The device is not known to this server; enrol it again.")
	errRetired       = fault.New(fault.Gone, "device_retired", "The device is retired; enrol it again to bring it back.")
	errKey           = fault.New(fault.Unauthenticated, "certificate_superseded", "The certificate has been replaced by a newer one; somebody may hold a copy of the device's old identity.")
	errExpired       = fault.New(fault.Unauthenticated, "certificate_expired", "The device certificate has expired; enrol the device again.")
	errQuarantined   = fault.New(fault.Forbidden, "device_quarantined", "The device is quarantined and gets no plans until an administrator releases it.")
)

// tlsConfig is TLS 1.3 with an optional client certificate by our CA. Session tickets stay on: a resumed
// handshake costs less, and VerifyConnection runs on it too.
func (g *Gateway) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: g.Server.Certificate,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      g.CA.Pool(),
		NextProtos:     []string{"http/1.1"},
		Time:           g.Now,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return nil // may enrol; the routes refuse everything else
			}
			_, err := g.identify(cs.PeerCertificates[0])
			if err != nil {
				g.metrics.refusals.WithLabelValues(fault.From(err).Code).Inc()
				if g.refused.may(g.Now()) {
					id, _ := ca.IdentityOf(cs.PeerCertificates[0])
					g.Log.Warn("refused a device at the handshake", "device", id.Device, "err", err)
				}
			}
			return err
		},
	}
}

// peer is who holds a connection's certificate.
type peer struct {
	ca.Identity
	cert *x509.Certificate
}

// identify says whose certificate this is and whether its key still counts: the one on record, or the
// successor that was issued to it and is used for the first time.
func (g *Gateway) identify(cert *x509.Certificate) (*peer, error) {
	id, err := ca.IdentityOf(cert)
	if err != nil {
		return nil, errUnknownDevice.Because(err)
	}
	p := &peer{Identity: id, cert: cert}
	_, err = g.current(p)
	return p, err
}

// current returns the device of a peer if it may still talk to the server.
func (g *Gateway) current(p *peer) (fleet.Device, error) {
	d, ok := g.known(p.Device)
	switch {
	case !ok:
		return d, errUnknownDevice
	case d.State == fleet.Retired:
		return d, errRetired
	case p.Key != d.Key && p.Replaces != d.Key:
		return d, errKey
	case g.Now().After(p.cert.NotAfter):
		return d, errExpired
	}
	return d, nil
}

// known finds a device. One that enrolled at another server a moment ago is read first: its certificate is one of this CA.
func (g *Gateway) known(id fleet.DeviceID) (fleet.Device, bool) {
	d, ok := g.Roster.Device(id)
	if ok || g.Others == nil {
		return d, ok
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := g.Others.Reach(ctx, 0); err != nil {
		g.Log.Warn("a device is not known and what other servers wrote could not be read", "device", id, "err", err)
	}
	return g.Roster.Device(id)
}

// device is the caller of a request: checked against the roster anew, because the connection may be older
// than the device's retirement. The first use of a renewed certificate makes its key the one on record.
func (g *Gateway) device(c *call, conn *conn) (err error) {
	if c.peer, err = g.peerOf(c.r, conn); err != nil {
		return err
	}
	if c.device, err = g.current(c.peer); err != nil {
		return err
	}
	if c.peer.Key == c.device.Key {
		return nil
	}
	renewed := func() error { return g.Acts.Renewed(c.r.Context(), c.device.ID, c.device.Key, c.peer.Key) }
	if err := g.durably(c, renewed); err != nil {
		return err
	}
	g.Log.Info("a device uses its renewed certificate", "device", c.device.ID)
	c.device.Key = c.peer.Key
	return nil
}

// peerOf reads the connection's certificate, once per connection.
func (g *Gateway) peerOf(r *http.Request, c *conn) (*peer, error) {
	if c == nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, errNoCertificate
	}
	if p := c.peer.Load(); p != nil {
		return p, nil
	}
	p, err := g.identify(r.TLS.PeerCertificates[0])
	if err != nil {
		return nil, err
	}
	if !g.conns.admit(c, p.Device) {
		return nil, errTooManyConns
	}
	c.peer.Store(p)
	return p, nil
}

type connKey struct{}

func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}
