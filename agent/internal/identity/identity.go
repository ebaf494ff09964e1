// Package identity keeps who this device is: its private key, its certificate, the CA and the plan keys it
// trusts, and the machine it was enrolled on.
//
// It guarantees that key and certificate always fit (they live in one file that is replaced at once), that
// nothing is accepted that does not chain to the CA of the enrolment token, and that an identity copied
// to another machine is noticed (machine-id). A key is durable before the server hears of it, so a lost
// reply never strands the device. It does not talk to the network.
package identity

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"assent/agent/internal/statedir"
	"assent/fault"
	"assent/fleet"
	"assent/wire"
)

const (
	file    = "identity.json"
	pending = "next-key.json" // a key that the server may know already
	maxFile = 1 << 20
)

// The refusals of an identity, in the user's words.
var (
	ErrNone  = fault.New(fault.NotFound, "not_enrolled", "This device is not enrolled: run `assent-agent enrol --server URL --token TOKEN`.")
	ErrClone = fault.New(fault.Conflict, "cloned_identity", "This identity was made on another machine (its machine-id differs), so this looks like a copy of a device: run `assent-agent enrol --force` with a new token here.")
)

// Identity is what is on disk.
type Identity struct {
	Device      fleet.DeviceID `json:"device"`
	Server      string         `json:"server"`                // https://host:port
	ServerName  string         `json:"server_name,omitempty"` // expected in the server's certificate instead of the host
	MachineID   string         `json:"machine_id"`
	Key         []byte         `json:"key"`         // PKCS #8, Ed25519
	Certificate []byte         `json:"certificate"` // DER
	CA          []byte         `json:"ca"`          // DER
	PlanKeys    [][]byte       `json:"plan_keys"`
	EnrolledAt  time.Time      `json:"enrolled_at"`
}

// Load reads the identity. Without one the error is ErrNone.
func Load(dir *statedir.Dir) (Identity, error) {
	var id Identity
	b, err := dir.Read(file, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return id, ErrNone
	}
	if err != nil {
		return id, fmt.Errorf("read identity: %w", err)
	}
	if err := json.Unmarshal(b, &id); err != nil {
		return id, fmt.Errorf("read identity: %w", err)
	}
	if _, err := id.TLS(); err != nil {
		return id, err
	}
	return id, nil
}

// Save makes the identity durable, in one step.
func (id Identity) Save(dir *statedir.Dir) error {
	b, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("encode identity: %w", err)
	}
	return dir.Write(file, b)
}

// CheckMachine refuses an identity that was made on another machine. A machine without a machine-id cannot be told
// from another one and is let through: the server sees clones by their sequence numbers.
func (id Identity) CheckMachine(machineID string) error {
	if id.MachineID != "" && machineID != "" && id.MachineID != machineID {
		return ErrClone
	}
	return nil
}

// NextKey returns the key to ask a certificate for. It is durable, and the same one until Grant accepted a
// certificate for it: asking twice is asking for the same. A left over key that id has already is not used again.
func NextKey(dir *statedir.Dir, id Identity) (ed25519.PrivateKey, error) {
	if b, err := dir.Read(pending, maxFile); err == nil {
		var der []byte
		if json.Unmarshal(b, &der) == nil {
			if key, err := parseKey(der); err == nil && !bytes.Equal(der, id.Key) {
				return key, nil
			}
		}
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make device key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode device key: %w", err)
	}
	b, err := json.Marshal(der)
	if err != nil {
		return nil, fmt.Errorf("encode device key: %w", err)
	}
	return key, dir.Write(pending, b)
}

// DropNextKey forgets a key that was only asked for.
func DropNextKey(dir *statedir.Dir) error { return dir.Remove(pending) }

func parseKey(der []byte) (ed25519.PrivateKey, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("read device key: %w", err)
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("device key is a %T and not Ed25519", k)
	}
	return key, nil
}

// CSR asks for a certificate for key. The subject is empty: the server names the device.
func CSR(key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{}}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// Grant checks the server's answer for key and returns the identity it makes of base: base holds the server's
// address, the machine and the CA (DER) that the certificate must chain to. Nothing is stored.
func Grant(base Identity, key ed25519.PrivateKey, resp wire.EnrolResponse, now time.Time) (Identity, error) {
	cert, err := x509.ParseCertificate(resp.Certificate)
	if err != nil {
		return base, fmt.Errorf("read the certificate the server gave: %w", err)
	}
	if pub, ok := cert.PublicKey.(ed25519.PublicKey); !ok || !pub.Equal(key.Public()) {
		return base, errors.New("the certificate the server gave is for another key")
	}
	ca, err := x509.ParseCertificate(base.CA)
	if err != nil {
		return base, fmt.Errorf("read the CA: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if now.Before(cert.NotBefore) {
		now = cert.NotBefore // a device clock that is behind must not keep the device out
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return base, fmt.Errorf("the certificate the server gave does not hold: %w", err)
	}
	if resp.Device == "" || (base.Device != "" && base.Device != resp.Device) {
		return base, fmt.Errorf("the server calls this device %q and not %q", resp.Device, base.Device)
	}
	keys, err := planKeys(resp.PlanKeys)
	if err != nil {
		return base, err
	}
	id := base
	if id.Key, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return base, fmt.Errorf("encode device key: %w", err)
	}
	id.Device, id.Certificate, id.PlanKeys = resp.Device, resp.Certificate, keys
	return id, nil
}

func planKeys(keys [][]byte) ([][]byte, error) {
	if len(keys) == 0 || len(keys) > 64 {
		return nil, fmt.Errorf("the server named %d plan keys", len(keys))
	}
	for _, k := range keys {
		if len(k) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("the server named a plan key of %d bytes", len(k))
		}
	}
	return keys, nil
}

// Trusted returns the keys whose signatures on plans count.
func (id Identity) Trusted() []ed25519.PublicKey {
	var out []ed25519.PublicKey
	for _, k := range id.PlanKeys {
		out = append(out, ed25519.PublicKey(k))
	}
	return out
}

// TLS is the identity as a TLS client certificate.
func (id Identity) TLS() (tls.Certificate, error) {
	key, err := parseKey(id.Key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(id.Certificate)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read device certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{id.Certificate}, PrivateKey: key, Leaf: leaf}, nil
}

// Lifetime says when the certificate is to be renewed, at half its life, and when it ends.
func (id Identity) Lifetime() (renew, end time.Time) {
	leaf, err := x509.ParseCertificate(id.Certificate)
	if err != nil {
		return time.Time{}, time.Time{}
	}
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2), leaf.NotAfter
}
