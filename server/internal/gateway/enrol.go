package gateway

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"assent/fault"
	"assent/fleet"
	"assent/server/internal/ca"
	"assent/wire"
)

var errOtherServer = fault.New(fault.Invalid, "token_other_server", "The enrolment token belongs to another server; make one on this server.").On("token")

// enrol admits a new device. It is the only request without a certificate: everything is checked before
// anything is written, and failures are limited per address.
func (g *Gateway) enrol(c *call) error {
	if !g.attempts.allowed(c.r.RemoteAddr, g.Now()) {
		return errAttempts
	}
	d, der, err := g.admit(c)
	if err != nil {
		if k := fault.From(err).Kind; k != fault.Internal && k != fault.Unavailable {
			g.attempts.failed(c.r.RemoteAddr, g.Now())
			if g.refused.may(g.Now()) {
				g.Log.Warn("refused an enrolment", "remote", c.r.RemoteAddr, "err", err)
			}
		}
		return err
	}
	g.Log.Debug("gave a device its first certificate", "device", d.ID, "remote", c.r.RemoteAddr) // the roster logs the act
	return g.reply(c, g.identity(d, der))
}

func (g *Gateway) admit(c *call) (fleet.Device, []byte, error) {
	var in wire.EnrolRequest
	if err := g.readJSON(c, maxEnrol, &in); err != nil {
		return fleet.Device{}, nil, err
	}
	token, err := wire.ParseToken(in.Token)
	if err != nil {
		return fleet.Device{}, nil, err
	}
	if token.CA != g.CA.Fingerprint() {
		return fleet.Device{}, nil, errOtherServer
	}
	req, err := ca.CheckRequest(in.CSR)
	if err != nil {
		return fleet.Device{}, nil, err
	}
	var d fleet.Device
	err = g.durably(c, func() (err error) {
		d, err = g.Roster.Enrol(c.r.Context(), token, req.Key, in.Hostname)
		return err
	})
	if err != nil {
		return d, nil, err
	}
	der, err := g.CA.Device(d.ID, req, "")
	if err != nil {
		return d, nil, fmt.Errorf("sign the certificate of device %s: %w", d.ID, err)
	}
	return d, der, nil
}

// identity is what a device gets with a new certificate.
func (g *Gateway) identity(d fleet.Device, der []byte) wire.EnrolResponse {
	keys := make([][]byte, len(g.PlanKeys))
	for i, k := range g.PlanKeys {
		keys[i] = slices.Clone[ed25519.PublicKey](k)
	}
	return wire.EnrolResponse{Device: d.ID, Certificate: der, CA: g.CA.Certificate(), PlanKeys: keys, Feeds: g.Feeds.Roots(), Now: g.Now()}
}

// renew gives a device its next certificate. The key on record changes when the new certificate is first
// used, so a lost reply leaves the old one working.
func (g *Gateway) renew(c *call) error {
	if c.device.State != fleet.Active {
		return errQuarantined.Because(errors.New("a certificate is not renewed while two agents may hold it"))
	}
	var in wire.RenewRequest
	if err := g.readJSON(c, maxEnrol, &in); err != nil {
		return err
	}
	req, err := ca.CheckRequest(in.CSR)
	if err != nil {
		return err
	}
	replaces := c.device.Key
	if req.Key == c.device.Key {
		replaces = c.peer.Replaces // the same key, a longer life: nothing is replaced
	}
	der, err := g.CA.Device(c.device.ID, req, replaces)
	if err != nil {
		return fmt.Errorf("renew the certificate of device %s: %w", c.device.ID, err)
	}
	return g.reply(c, g.identity(c.device, der))
}
