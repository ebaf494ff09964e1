package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"assent/fault"
	"assent/fleet"
)

// The URI SANs of a device certificate.
const (
	deviceURI   = "assent:device/"   // the device's id
	replacesURI = "assent:replaces/" // key of the certificate that this one was made to replace
)

// maxCSR is the largest signing request, in bytes. An honest one has under 500.
const maxCSR = 8 << 10

// deviceID is what a device id may look like in a certificate.
var deviceID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// The refusals of a signing request.
var (
	ErrCSR    = fault.New(fault.Invalid, "csr_invalid", "The certificate request cannot be read or is not signed by its own key.").On("csr")
	ErrCSRKey = fault.New(fault.Invalid, "csr_key", "The certificate request must hold an Ed25519 or ECDSA P-256 key.").On("csr")
	ErrCSRBig = fault.New(fault.TooLarge, "csr_too_large", "The certificate request is larger than %d bytes.", maxCSR).On("csr")
)

// Request is a checked signing request: nothing of it counts but the key.
type Request struct {
	pub crypto.PublicKey
	Key string // KeyHash of the public key
}

// CheckRequest reads a PKCS #10 request: its signature must be by the key it asks for (proof of
// possession) and the key of a kind that Assent uses. Subject, extensions and attributes are ignored.
func CheckRequest(der []byte) (Request, error) {
	if len(der) > maxCSR {
		return Request{}, ErrCSRBig
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return Request{}, ErrCSR.Because(err)
	}
	switch key := csr.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return Request{}, ErrCSRKey
		}
	default:
		return Request{}, ErrCSRKey
	}
	if err := csr.CheckSignature(); err != nil {
		return Request{}, ErrCSR.Because(err)
	}
	hash, err := KeyHash(csr.PublicKey)
	if err != nil {
		return Request{}, ErrCSRKey.Because(err)
	}
	return Request{pub: csr.PublicKey, Key: hash}, nil
}

// KeyHash names a public key: SHA-256 of its SubjectPublicKeyInfo, hex (fleet.Device.Key).
func KeyHash(pub crypto.PublicKey) (string, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("encode a public key: %w", err)
	}
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:]), nil
}

// Device makes a device certificate, DER. replaces is the key hash of the certificate that this one
// succeeds, empty at enrolment: with it the server recognises the successor of the key it has on record,
// so that a lost reply to a renewal locks no device out and needs no memory of pending renewals.
func (c *CA) Device(id fleet.DeviceID, req Request, replaces string) ([]byte, error) {
	if !deviceID.MatchString(string(id)) {
		return nil, fmt.Errorf("the device id %q cannot stand in a certificate", id)
	}
	if req.pub == nil {
		return nil, errors.New("the signing request was not checked")
	}
	tmpl := &x509.Certificate{
		URIs:        []*url.URL{{Scheme: "assent", Opaque: strings.TrimPrefix(deviceURI, "assent:") + string(id)}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if replaces != "" {
		tmpl.URIs = append(tmpl.URIs, &url.URL{Scheme: "assent", Opaque: strings.TrimPrefix(replacesURI, "assent:") + replaces})
	}
	return c.sign(tmpl, req.pub, DeviceLife)
}

// Identity is who a verified device certificate belongs to.
type Identity struct {
	Device   fleet.DeviceID
	Key      string // KeyHash of the certificate's key
	Replaces string // key hash of its predecessor; empty for a first certificate
}

// ErrIdentity is the refusal of a certificate that names no device.
var ErrIdentity = errors.New("the certificate names no device")

// IdentityOf reads who a certificate belongs to. It does not verify the certificate: crypto/tls did.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	id := Identity{Key: hex.EncodeToString(sum[:])}
	for _, u := range cert.URIs {
		s := u.String()
		if v, ok := strings.CutPrefix(s, deviceURI); ok && id.Device == "" && deviceID.MatchString(v) {
			id.Device = fleet.DeviceID(v)
		}
		if v, ok := strings.CutPrefix(s, replacesURI); ok && id.Replaces == "" {
			id.Replaces = v
		}
	}
	if id.Device == "" {
		return Identity{}, ErrIdentity
	}
	return id, nil
}
