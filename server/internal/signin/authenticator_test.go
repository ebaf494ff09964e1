package signin

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// authenticator is a security key in software that does what it is told, right or wrong.
type authenticator struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	id     []byte
	handle []byte
	count  uint32
	flags  byte   // user present 1, user verified 4
	origin string // of the page
	site   string // what it thinks the passkey is for
	alg    int
}

func newAuthenticator(t *testing.T) *authenticator {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authenticator{t: t, key: key, id: make([]byte, 32), count: 1, flags: 5, origin: siteName, site: "assent.test", alg: -7}
	rand.Read(a.id)
	return a
}

// options are what the browser is asked, as far as an authenticator looks at it.
type options struct {
	Challenge        string `json:"challenge"`
	UserVerification string `json:"userVerification"`
	Attestation      string `json:"attestation"`
	User             struct {
		ID string `json:"id"`
	} `json:"user"`
	Selection struct {
		ResidentKey      string `json:"residentKey"`
		UserVerification string `json:"userVerification"`
	} `json:"authenticatorSelection"`
	Exclude []struct {
		ID string `json:"id"`
	} `json:"excludeCredentials"`
	Allow []struct {
		ID string `json:"id"`
	} `json:"allowCredentials"`
}

func (a *authenticator) read(c Challenge) options {
	a.t.Helper()
	b, err := json.Marshal(c.Options)
	if err != nil {
		a.t.Fatal(err)
	}
	var o options
	if err := json.Unmarshal(b, &o); err != nil || o.Challenge == "" {
		a.t.Fatalf("%v in %s", err, b)
	}
	return o
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (a *authenticator) data(flags byte, more ...byte) []byte {
	site := sha256.Sum256([]byte(a.site))
	return append(binary.BigEndian.AppendUint32(append(site[:], flags), a.count), more...)
}

func (a *authenticator) client(what, challenge string) []byte {
	a.t.Helper()
	b, err := json.Marshal(map[string]any{"type": "webauthn." + what, "challenge": challenge, "origin": a.origin, "crossOrigin": false})
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

func (a *authenticator) answer(response map[string]any) []byte {
	a.t.Helper()
	b, err := json.Marshal(map[string]any{"id": b64(a.id), "rawId": b64(a.id), "type": "public-key", "response": response, "clientExtensionResults": map[string]any{}})
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

// create answers a challenge to register.
func (a *authenticator) create(c Challenge) []byte {
	a.t.Helper()
	o := a.read(c)
	var err error
	if a.handle, err = base64.RawURLEncoding.DecodeString(o.User.ID); err != nil {
		a.t.Fatal(err)
	}
	public, err := cbor.Marshal(map[int]any{1: 2, 3: a.alg, -1: 1, -2: a.key.X.FillBytes(make([]byte, 32)), -3: a.key.Y.FillBytes(make([]byte, 32))})
	if err != nil {
		a.t.Fatal(err)
	}
	made := bytes.Join([][]byte{make([]byte, 16), {0, byte(len(a.id))}, a.id, public}, nil)
	object, err := cbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": a.data(a.flags|0x40, made...)})
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(map[string]any{"clientDataJSON": b64(a.client("create", o.Challenge)), "attestationObject": b64(object), "transports": []string{"internal"}})
}

// sign answers a challenge to sign in or to confirm.
func (a *authenticator) sign(c Challenge) []byte {
	a.t.Helper()
	data, client := a.data(a.flags), a.client("get", a.read(c).Challenge)
	hash := sha256.Sum256(client)
	sum := sha256.Sum256(append(bytes.Clone(data), hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, sum[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(map[string]any{"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature), "userHandle": b64(a.handle)})
}
