// Package ca is the private certificate authority of one installation, on crypto/x509 alone.
//
// It signs two things: the server's certificate on the agent listener and the short-lived certificates
// of devices. A device's certificate says who reports; it authorises no install (security.md, A3), so a
// stolen CA key can impersonate reports and nothing more.
//
// Guarantees: the CA's key lies in a file with mode 0600 and never leaves the process; whatever stands in
// a signing request besides its public key is ignored; only Ed25519 and ECDSA P-256 keys are signed; a
// device certificate names its device in a URI SAN and lives 30 days. It keeps no list of what it signed:
// whether a device may still connect is asked of the roster at every handshake.
package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"time"
)

// file holds the CA inside the data directory: its key and its certificate, PEM. It is one file so that a
// crash at the first start leaves a whole CA or none.
const file = "ca.pem"

// Lifetimes.
const (
	caLife     = 20 * 365 * 24 * time.Hour
	serverLife = 90 * 24 * time.Hour
	// DeviceLife is how long a device certificate is valid; it is renewed at half of it.
	DeviceLife = 30 * 24 * time.Hour
	// backdate lets peers whose clocks run a little late accept a fresh certificate.
	backdate = time.Hour
)

// CA signs certificates. It is safe for concurrent use.
type CA struct {
	key  crypto.Signer
	cert *x509.Certificate
	now  func() time.Time
}

// Open reads the CA from the data directory, or makes one there when it has none.
func Open(dir *os.Root, now func() time.Time) (*CA, error) {
	data, err := ReadPrivate(dir, file)
	if errors.Is(err, fs.ErrNotExist) {
		return create(dir, now)
	}
	if err != nil {
		return nil, err
	}
	return parse(data, now)
}

// ReadPrivate reads a file of secrets and refuses one that others may read.
func ReadPrivate(dir *os.Root, name string) ([]byte, error) {
	info, err := dir.Lstat(name)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", name, err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key file %s has mode %v: it must be a plain file that nobody else may read; set it to 0600 after making sure that nobody did", name, mode)
	}
	data, err := dir.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// parse reads the CA's file and checks that key and certificate belong together.
func parse(data []byte, now func() time.Time) (*CA, error) {
	keyBlock, rest := pem.Decode(data)
	certBlock, _ := pem.Decode(rest)
	if keyBlock == nil || certBlock == nil {
		return nil, fmt.Errorf("read the CA: %s does not hold a key and a certificate", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the CA's key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("read the CA's key: a %T cannot sign", key)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	if pub, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(cert.PublicKey) {
		return nil, errors.New("the CA's key and certificate do not belong together")
	}
	return &CA{key: signer, cert: cert, now: now}, nil
}

// create makes a new CA.
func create(dir *os.Root, now func() time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the CA's key: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Assent device CA"},
		NotBefore: now().Add(-backdate), NotAfter: now().Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA's certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the CA's key: %w", err)
	}
	data := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := WriteSynced(dir, file, data, 0o600); err != nil {
		return nil, fmt.Errorf("keep the new CA: %w", err)
	}
	return parse(data, now)
}

// WriteSynced writes a new file of the data directory so that it is whole after a power cut, or not there
// at all. It never replaces a file.
func WriteSynced(dir *os.Root, name string, data []byte, mode fs.FileMode) error {
	if _, err := dir.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: %w", name, fs.ErrExist)
	}
	tmp := name + ".new"
	if err := dir.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clear %s: %w", tmp, err)
	}
	f, err := dir.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("create %s: %w", tmp, err)
	}
	_, writeErr := f.Write(data)
	if err := errors.Join(writeErr, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", tmp, err)
	}
	if err := dir.Rename(tmp, name); err != nil {
		return fmt.Errorf("put %s in place: %w", name, err)
	}
	return syncDir(dir)
}

func syncDir(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return fmt.Errorf("open the data directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync the data directory: %w", err)
	}
	return nil
}

// serial is a random 126-bit serial number: positive and short enough for RFC 5280.
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // crypto/rand.Read never fails
	b[0] = b[0]&0x3f | 0x20
	return new(big.Int).SetBytes(b[:])
}

// Certificate is the CA's certificate, DER.
func (c *CA) Certificate() []byte { return c.cert.Raw }

// Fingerprint is the SHA-256 of the CA's certificate, hex: what an enrolment token carries.
func (c *CA) Fingerprint() string {
	sum := sha256.Sum256(c.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Pool holds the CA alone: what peers' certificates must end in.
func (c *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.cert)
	return p
}

// sign makes the certificate for tmpl with the given life from now on.
func (c *CA) sign(tmpl *x509.Certificate, pub crypto.PublicKey, life time.Duration) ([]byte, error) {
	now := c.now()
	tmpl.SerialNumber, tmpl.BasicConstraintsValid = serial(), true
	tmpl.NotBefore, tmpl.NotAfter = now.Add(-backdate), now.Add(life)
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, pub, c.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	return der, nil
}
