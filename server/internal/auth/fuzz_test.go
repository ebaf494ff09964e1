package auth

import "testing"

// FuzzParseToken: what parses is written as it was read, so there is one text for a token.
func FuzzParseToken(f *testing.F) {
	f.Add(NewToken().String())
	f.Add("assent_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaa_00000000")
	f.Add("____")
	f.Fuzz(func(t *testing.T, s string) {
		if tok, err := ParseToken(s); err == nil && tok.String() != s {
			t.Fatalf("%q parses as %q", s, tok)
		}
	})
}
