package server

import "testing"

func TestLoginLine_PinsTheCAWhereTheServerShowsItsOwnCertificate(t *testing.T) {
	c := Config{Listen: "127.0.0.1:8480"}
	if got, want := loginLine(c, "ab12", "tok"), "assent login --server http://127.0.0.1:8480 --token tok"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	c = Config{Listen: ":8480", ServerNames: []string{"assent.example.org"}}
	if got, want := loginLine(c, "ab12", "tok"), "assent login --server https://assent.example.org:8480 --ca ab12 --token tok"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
