package catalog_test

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"testing"

	packageurl "github.com/package-url/packageurl-go"
	"pgregory.net/rapid"

	"assent/catalog"
)

func release(name, version string) catalog.Release {
	return catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: name}, Version: version}
}

func TestRelease_PURLIsTheOneOfTheIssue(t *testing.T) {
	if got, want := release("openssl", "3.0.17-1~deb12u3").PURL(), "pkg:deb/debian/openssl@3.0.17-1~deb12u3?arch=source"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRelease_PURLReadsBackWithTheReferenceLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := release(rapid.StringMatching(`[a-z0-9][a-z0-9+.-]{1,20}`).Draw(t, "name"), rapid.StringMatching(`([0-9]:)?[0-9][A-Za-z0-9.+~-]{0,20}`).Draw(t, "version"))
		p, err := packageurl.FromString(r.PURL())
		if err != nil {
			t.Fatal(err)
		}
		if p.Name != r.Name || p.Version != r.Version || p.Namespace != r.Namespace || p.Type != r.Ecosystem {
			t.Fatalf("%s reads back as %+v", r.PURL(), p)
		}
	})
}

func TestRelease_IDIsStable(t *testing.T) {
	if got := release("openssl", "3.0.17-1~deb12u3").ID(); len(got) != 13 || got != release("openssl", "3.0.17-1~deb12u3").ID() || got == release("openssl", "3.0.17-1~deb12u2").ID() {
		t.Errorf("id %q", got)
	}
}

func bound(name string, rev int, digest string) catalog.Bound {
	return catalog.Bound{Item: catalog.Item{Name: name, Arch: "amd64", Version: "1", Size: 1, SHA256: strings.Repeat(digest, 64)}, Role: catalog.Own, Rev: rev}
}

func TestPromise1_DigestBindsContentUpToARevision(t *testing.T) {
	u := catalog.Update{Items: []catalog.Bound{bound("a", 1, "a"), bound("b", 1, "b")}}
	before := u.Digest(1)
	u.Items = append(u.Items, bound("c", 2, "c"))
	if u.Digest(1) != before || u.Digest(2) == before || u.Rev() != 2 || len(u.Covered(1)) != 2 {
		t.Error("a later item changed what an earlier approval bound, or did not change the later one")
	}
	u.Items[0].SHA256 = strings.Repeat("d", 64)
	if u.Digest(1) == before {
		t.Error("other content under the same name has the same digest")
	}
}

func TestUpdate_ConflictsNameBothDigests(t *testing.T) {
	u := catalog.Update{Items: []catalog.Bound{bound("a", 1, "b"), bound("b", 1, "b"), bound("a", 2, "a")}}
	c := u.Conflicts()
	if len(c) != 1 || c[0].Key != "a:amd64=1" || len(c[0].Digests) != 2 || c[0].Digests[0] > c[0].Digests[1] {
		t.Errorf("%+v", c)
	}
}

func TestSeverity_UnratedRanksLowest(t *testing.T) {
	if catalog.Unrated.Rank() != 0 || catalog.Severity("odd").Rank() != 0 || catalog.Critical.Rank() <= catalog.High.Rank() {
		t.Error("severity ranks")
	}
}

// Ids stand in ledgers and links: however they are computed, they stay.
func TestIDOf_IsTheFirstTwelveDigitsOfTheHashInBase32(t *testing.T) {
	enc := base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)
	rapid.Check(t, func(t *rapid.T) {
		purl := rapid.String().Draw(t, "purl")
		sum := sha256.Sum256([]byte(purl))
		if got, want := catalog.IDOf(purl), catalog.UpdateID("u"+enc.EncodeToString(sum[:])[:12]); got != want {
			t.Fatalf("the id of %q is %s, want %s", purl, got, want)
		}
	})
	if got := release("openssl", "3.0.17-1~deb12u3").ID(); got != "ueak1a7zw53m6" {
		t.Errorf("the id is %s", got)
	}
}
