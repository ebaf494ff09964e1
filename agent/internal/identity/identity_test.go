package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/agent/internal/statedir"
	"assent/wire"
)

func dir(t *testing.T) *statedir.Dir {
	t.Helper()
	d, err := statedir.Open(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// grantor is a CA that answers requests.
type grantor struct {
	key  ed25519.PrivateKey
	cert *x509.Certificate
}

func newGrantor(t *testing.T) grantor {
	key := newKey(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return grantor{key, cert}
}

func (g grantor) answer(t *testing.T, pub any, use x509.ExtKeyUsage) wire.EnrolResponse {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(30 * 24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{use}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, g.cert, pub, g.key)
	if err != nil {
		t.Fatal(err)
	}
	return wire.EnrolResponse{Device: "d", Certificate: der, CA: g.cert.Raw, PlanKeys: [][]byte{make([]byte, ed25519.PublicKeySize)}}
}

func TestGrantTakesOnlyACertificateForItsOwnKeyUnderItsOwnCA(t *testing.T) {
	g, other := newGrantor(t), newGrantor(t)
	key := newKey(t)
	base := Identity{CA: g.cert.Raw, MachineID: "m"}
	good := g.answer(t, key.Public(), x509.ExtKeyUsageClientAuth)
	if _, err := Grant(base, key, good, time.Now()); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*wire.EnrolResponse)) wire.EnrolResponse {
		r := good
		change(&r)
		return r
	}
	for name, resp := range map[string]wire.EnrolResponse{
		"garbage":                with(func(r *wire.EnrolResponse) { r.Certificate = []byte("x") }),
		"another key":            g.answer(t, newKey(t).Public(), x509.ExtKeyUsageClientAuth),
		"another CA":             other.answer(t, key.Public(), x509.ExtKeyUsageClientAuth),
		"a server's certificate": g.answer(t, key.Public(), x509.ExtKeyUsageServerAuth),
		"no device":              with(func(r *wire.EnrolResponse) { r.Device = "" }),
		"no plan keys":           with(func(r *wire.EnrolResponse) { r.PlanKeys = nil }),
		"a short plan key":       with(func(r *wire.EnrolResponse) { r.PlanKeys = [][]byte{{1, 2, 3}} }),
	} {
		if _, err := Grant(base, key, resp, time.Now()); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := Grant(Identity{CA: g.cert.Raw, Device: "somebody else"}, key, good, time.Now()); err == nil {
		t.Error("a renewal made the device another one")
	}
}

func TestN45_GrantHoldsOnADeviceWhoseClockIsYearsBehindButNotOnceItHasEnded(t *testing.T) {
	g, key := newGrantor(t), newKey(t)
	resp := g.answer(t, key.Public(), x509.ExtKeyUsageClientAuth)
	if _, err := Grant(Identity{CA: g.cert.Raw}, key, resp, time.Unix(0, 0)); err != nil {
		t.Errorf("clock at 1970: %v", err)
	}
	if _, err := Grant(Identity{CA: g.cert.Raw}, key, resp, time.Now().AddDate(1, 0, 0)); err == nil {
		t.Error("a certificate that has ended was taken")
	}
}

func TestSavedIdentityComesBackAndIsClosedToOthers(t *testing.T) {
	d, g, key := dir(t), newGrantor(t), newKey(t)
	id, err := Grant(Identity{CA: g.cert.Raw, MachineID: "m", Server: "https://s:1"}, key, g.answer(t, key.Public(), x509.ExtKeyUsageClientAuth), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Save(d); err != nil {
		t.Fatal(err)
	}
	got, err := Load(d)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(id, got); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(d.Path(file)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	renew, end := got.Lifetime()
	if half := end.Sub(renew); half < 14*24*time.Hour || half > 16*24*time.Hour {
		t.Errorf("renewal is due %v before the end of 30 days", half)
	}
}

func TestN31_IdentityOfAnotherMachineIsRefused(t *testing.T) {
	id := Identity{MachineID: "a"}
	if err := id.CheckMachine("b"); !errors.Is(err, ErrClone) {
		t.Errorf("copied to another machine: %v", err)
	}
	for _, same := range []string{"a", ""} {
		if err := id.CheckMachine(same); err != nil {
			t.Errorf("machine-id %q: %v", same, err)
		}
	}
}

func TestNextKeyStaysTheSameUntilItIsUsed(t *testing.T) {
	d := dir(t)
	first, err := NextKey(d, Identity{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := NextKey(d, Identity{})
	if err != nil || !again.Equal(first) {
		t.Fatalf("a lost reply would strand the device: another key, %v", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(first)
	if err != nil {
		t.Fatal(err)
	}
	if next, err := NextKey(d, Identity{Key: der}); err != nil || next.Equal(first) {
		t.Errorf("the renewal would keep the old key, %v", err)
	}
	if err := DropNextKey(d); err != nil {
		t.Fatal(err)
	}
	if next, err := NextKey(d, Identity{}); err != nil || next.Equal(first) {
		t.Errorf("the dropped key came back, %v", err)
	}
}

func TestLoadWithoutIdentitySaysWhatToDo(t *testing.T) {
	if _, err := Load(dir(t)); !errors.Is(err, ErrNone) {
		t.Errorf("%v; want ErrNone", err)
	}
}

func TestLoadRefusesAnIdentityThatCannotBeUsed(t *testing.T) {
	d := dir(t)
	for _, text := range []string{"", "{", "{}", `{"key":"eA=="}`, "null"} {
		if err := d.Write(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(d); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestCSRProvesThePossessionOfItsKey(t *testing.T) {
	key := newKey(t)
	der, err := CSR(key)
	if err != nil {
		t.Fatal(err)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil || req.CheckSignature() != nil || !key.Public().(ed25519.PublicKey).Equal(req.PublicKey) {
		t.Errorf("%+v, %v", req, err)
	}
}
