package wire

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"strings"

	"assent/fault"
)

// Token is an enrolment token: an id to look it up by, a secret that proves it, and the fingerprint
// of the CA that the new device must see, so that nothing is trusted on first use.
// Its text is "assent1-ID-SECRET-FINGERPRINT", all lower case.
type Token struct {
	ID     string // 8 characters, not secret
	Secret string // 26 characters: 128 bits
	CA     string // SHA-256 of the CA certificate's DER, hex
}

const tokenPrefix = "assent1"

var tokenText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewToken makes a token from the operating system's randomness.
func NewToken(caDER []byte) Token {
	var b [21]byte
	rand.Read(b[:]) // crypto/rand.Read never fails
	sum := sha256.Sum256(caDER)
	return Token{ID: tokenText.EncodeToString(b[:5]), Secret: tokenText.EncodeToString(b[5:]), CA: hex.EncodeToString(sum[:])}
}

// String is the token as it is given to the agent. It is a secret.
func (t Token) String() string {
	return strings.Join([]string{tokenPrefix, t.ID, t.Secret, t.CA}, "-")
}

// SecretHash is what the server stores instead of the secret: SHA-256, hex. The secret has 128 random
// bits, so a plain hash is enough.
func (t Token) SecretHash() string { return Digest([]byte(t.Secret)) }

// ErrToken is the refusal of text that is not an enrolment token.
var ErrToken = fault.New(fault.Invalid, "token_malformed", "This is not an enrolment token; make one with `assent token create`.").On("token")

// ParseToken reads the text of a token.
func ParseToken(s string) (Token, error) {
	p := strings.Split(strings.TrimSpace(s), "-")
	if len(p) != 4 || p[0] != tokenPrefix {
		return Token{}, ErrToken
	}
	t := Token{ID: p[1], Secret: p[2], CA: p[3]}
	if ca, err := hex.DecodeString(t.CA); err != nil || len(ca) != sha256.Size || len(t.ID) != 8 || len(t.Secret) != 26 {
		return Token{}, ErrToken
	}
	return t, nil
}
