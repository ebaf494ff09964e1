package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/fault"
	"assent/fleet"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string, now func() time.Time) (*CA, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return Open(root, now)
}

func fresh(t *testing.T) *CA {
	t.Helper()
	c, err := open(t, t.TempDir(), func() time.Time { return start })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ed(t testing.TB) ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func csr(t testing.TB, key crypto.Signer, tmpl x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &tmpl, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func checked(t testing.TB, key crypto.Signer) Request {
	t.Helper()
	req, err := CheckRequest(csr(t, key, x509.CertificateRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestOpenMakesOneCAAndKeepsItWithAPrivateKeyFile(t *testing.T) {
	dir := t.TempDir()
	now := func() time.Time { return start }
	first, err := open(t, dir, now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := open(t, dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if first.Fingerprint() != second.Fingerprint() {
		t.Error("the second start made another CA: every device would be orphaned")
	}
	info, err := os.Stat(dir + "/" + file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: mode %v, err %v; want 0600", info.Mode(), err)
	}
	if err := os.Chmod(dir+"/"+file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir, now); err == nil {
		t.Error("a key file that the group may read was accepted")
	}
}

func TestOpenRefusesABrokenFileInsteadOfMakingANewCA(t *testing.T) {
	dir := t.TempDir()
	now := func() time.Time { return start }
	if _, err := open(t, dir, now); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(dir + "/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{0, 10, len(whole) / 2, len(whole) - 40} {
		if err := os.WriteFile(dir+"/"+file, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, dir, now); err == nil {
			t.Errorf("a CA file cut to %d of %d bytes was accepted", cut, len(whole))
		}
	}
}

func TestN30_OnlyTheKeyOfARequestCountsWhateverElseItAsksFor(t *testing.T) {
	c := fresh(t)
	caTrue, err := asn1.Marshal(struct{ CA bool }{true})
	if err != nil {
		t.Fatal(err)
	}
	other := &url.URL{Scheme: "assent", Opaque: "device/victim"}
	der := csr(t, ed(t), x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "victim", Organization: []string{"assent"}}, DNSNames: []string{"server.example"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, URIs: []*url.URL{other},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: caTrue}},
	})
	req, err := CheckRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := c.Device("d1", req, "")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(signed)
	if err != nil {
		t.Fatal(err)
	}
	id, err := IdentityOf(cert)
	if err != nil || id.Device != "d1" || id.Key != req.Key || id.Replaces != "" {
		t.Errorf("identity = %+v, %v; want d1 with the request's key", id, err)
	}
	if cert.IsCA || cert.Subject.String() != "" || len(cert.DNSNames)+len(cert.IPAddresses) != 0 || len(cert.URIs) != 1 {
		t.Errorf("something of the request crept in: CA %v, subject %q, names %v %v %v", cert.IsCA, cert.Subject, cert.DNSNames, cert.IPAddresses, cert.URIs)
	}
	if !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("extended key usage = %v; want client authentication only", cert.ExtKeyUsage)
	}
	if got := cert.NotAfter.Sub(start); got != DeviceLife {
		t.Errorf("valid for %v from now; want %v", got, DeviceLife)
	}
}

func TestN30_WeakKeysBrokenProofsAndHugeRequestsAreRefused(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := csr(t, ed(t), x509.CertificateRequest{})
	forged := slices.Clone(good)
	forged[len(forged)-1] ^= 1
	none := x509.CertificateRequest{}
	big := x509.CertificateRequest{Subject: pkix.Name{CommonName: strings.Repeat("x", maxCSR)}}
	for name, tc := range map[string]struct {
		der  []byte
		want error
	}{
		"no proof of possession": {forged, ErrCSR},
		"empty":                  {nil, ErrCSR},
		"trailing bytes":         {append(slices.Clone(good), 0), ErrCSR},
		"P-224":                  {csr(t, p224, none), ErrCSRKey},
		"P-384":                  {csr(t, p384, none), ErrCSRKey},
		"RSA":                    {csr(t, rsaKey, none), ErrCSRKey},
		"huge":                   {csr(t, ed(t), big), ErrCSRBig},
	} {
		_, err := CheckRequest(tc.der)
		if got, want := fault.From(err).Code, fault.From(tc.want).Code; err == nil || got != want {
			t.Errorf("%s: %v; want %s", name, err, want)
		}
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckRequest(csr(t, p256, none)); err != nil {
		t.Errorf("P-256: %v; want accepted", err)
	}
}

func TestDeviceCertificateNamesWhatItReplaces(t *testing.T) {
	c := fresh(t)
	old := checked(t, ed(t))
	der, err := c.Device("d1", checked(t, ed(t)), old.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := IdentityOf(cert); err != nil || id.Replaces != old.Key {
		t.Errorf("identity = %+v, %v; want one that replaces %s", id, err, old.Key)
	}
}

func TestDeviceRefusesIdsThatWouldChangeTheURIAndUncheckedRequests(t *testing.T) {
	c := fresh(t)
	for _, id := range []string{"", "a/b", "a b", "a?b", "a#b", "é", strings.Repeat("x", 65), "../x"} {
		if _, err := c.Device(fleet.DeviceID(id), checked(t, ed(t)), ""); err == nil {
			t.Errorf("id %q was signed", id)
		}
	}
	if _, err := c.Device("d1", Request{}, ""); err == nil {
		t.Error("an unchecked request was signed")
	}
}

func TestIdentityOfAForeignCertificateIsAnError(t *testing.T) {
	if _, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "x", Path: "/device/d1"}}}); !errors.Is(err, ErrIdentity) {
		t.Errorf("err = %v; want ErrIdentity", err)
	}
}

func TestServerCertificateIsRenewedAtHalfLifeAndVerifiesAgainstTheCA(t *testing.T) {
	now := start
	c, err := open(t, t.TempDir(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Server([]string{"assent.example", "127.0.0.1", "::1"})
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"assent.example", "127.0.0.1", "::1"} {
		opts := x509.VerifyOptions{Roots: c.Pool(), DNSName: name, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if _, err := first.Leaf.Verify(opts); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	opts := x509.VerifyOptions{Roots: c.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := first.Leaf.Verify(opts); err == nil {
		t.Error("the server's certificate would pass as a device's")
	}
	now = start.Add(serverLife/2 - time.Second)
	if same, _ := s.Certificate(nil); same != first {
		t.Error("renewed before half life")
	}
	now = start.Add(serverLife / 2)
	if next, err := s.Certificate(nil); err != nil || next == first || !next.Leaf.NotAfter.After(first.Leaf.NotAfter) {
		t.Errorf("not renewed at half life: %v", err)
	}
}

func TestServerRefusesNamesThatAreNone(t *testing.T) {
	c := fresh(t)
	for _, names := range [][]string{nil, {""}, {"a b"}, {"*.example"}, {"https://x"}, {"x:8443"}, {strings.Repeat("x", 300)}} {
		if _, err := c.Server(names); err == nil {
			t.Errorf("%q was accepted", names)
		}
	}
}

func FuzzCheckRequest(f *testing.F) {
	f.Add(csr(f, ed(f), x509.CertificateRequest{}))
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		req, err := CheckRequest(der)
		if (err == nil) != (req.pub != nil) {
			t.Errorf("key %v with error %v", req.pub, err)
		}
	})
}
