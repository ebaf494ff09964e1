package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"assent/fault"
	"assent/ledger"
)

// Token is the text of an access token or a sign-in token in its parts. The text is
// "assent_ID_SECRET_CRC": a prefix that secret scanners can look for, an id to look it up by, 130 random
// bits, and a checksum that tells a slip of the keyboard from a wrong token.
type Token struct {
	ID     string // 8 characters, not secret
	Secret string // 26 characters
}

const (
	tokenPrefix = "assent"
	idLen       = 8
	secretLen   = 26
)

var tokenText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewToken makes a token from the operating system's randomness.
func NewToken() Token {
	var b [22]byte
	rand.Read(b[:]) // crypto/rand.Read never fails
	return Token{ID: tokenText.EncodeToString(b[:5]), Secret: tokenText.EncodeToString(b[5:])[:secretLen]}
}

// NewAccess makes an access token for an operator (a sign-in token if oneTime) and returns what the ledger
// records of it and, apart, its text, which is nowhere kept.
func NewAccess(operator, note string, expires time.Time, oneTime bool) (ledger.Access, string) {
	t := NewToken()
	return ledger.Access{ID: t.ID, Operator: operator, Hash: t.hash(), Note: note, Expires: expires.UTC().Truncate(time.Second), OneTime: oneTime}, t.String()
}

// String is the token as it is given to a person. It is a secret.
func (t Token) String() string {
	s := strings.Join([]string{tokenPrefix, t.ID, t.Secret}, "_")
	return fmt.Sprintf("%s_%08x", s, crc32.ChecksumIEEE([]byte(s)))
}

// hash is what is stored instead of the secret. The secret has 130 random bits, so a plain hash is enough.
func (t Token) hash() string {
	sum := sha256.Sum256([]byte(t.Secret))
	return hex.EncodeToString(sum[:])
}

var errMalformed = fault.New(fault.Invalid, "token_malformed", "This is not a token of Assent, or a character of it is wrong; copy it again.").On("token")

// ParseToken reads the text of a token and checks its form and checksum.
func ParseToken(s string) (Token, error) {
	if len(s) > 100 {
		return Token{}, errMalformed
	}
	p := strings.Split(s, "_")
	if len(p) != 4 || p[0] != tokenPrefix || len(p[1]) != idLen || len(p[2]) != secretLen {
		return Token{}, errMalformed
	}
	t := Token{ID: p[1], Secret: p[2]}
	if t.String() != s {
		return Token{}, errMalformed
	}
	return t, nil
}
