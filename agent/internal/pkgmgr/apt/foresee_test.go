package apt

import (
	"archive/tar"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/installation"
	"assent/wire"
)

func TestParseURIs_TakesWhatAptSaysAndPassesOverTheRest(t *testing.T) {
	out := "'http://deb.example/pool/a/acme_1%3a2.0_amd64.deb' acme_1%3a2.0_amd64.deb 1234 SHA256:abc\n" +
		"'file:/srv/x_1_all.deb' x_1_all.deb 5 \n" +
		"'http://deb.example/dists/x/InRelease' deb.example_InRelease 0 \nE: nonsense\n'broken' y.deb many\n"
	want := map[string]uri{"acme_1%3a2.0_amd64.deb": {"http://deb.example/pool/a/acme_1%3a2.0_amd64.deb", 1234}, "x_1_all.deb": {"file:/srv/x_1_all.deb", 5}}
	if diff := cmp.Diff(want, parseURIs(out), cmp.AllowUnexported(uri{})); diff != "" {
		t.Error(diff)
	}
}

// moody is a package source with its moods, by path.
func moody(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			t.Errorf("%s %s: files are not fetched by a look ahead", r.Method, r.URL)
		}
		switch r.URL.Path {
		case "/here":
			w.Header().Set("Content-Length", "100")
		case "/other":
			w.Header().Set("Content-Length", "99")
		case "/moved":
			http.Redirect(w, r, "/here", http.StatusFound)
		case "/secret":
			w.WriteHeader(http.StatusUnauthorized)
		case "/ill":
			w.WriteHeader(http.StatusBadGateway)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestForesee_TellsWhatASourceSaysForCertainAndNothingElse(t *testing.T) {
	s, gone := moody(t), httptest.NewServer(nil)
	gone.Close()
	secure := httptest.NewTLSServer(nil) // whose certificate only apt may know
	defer secure.Close()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "local.deb"), make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		address string
		want    installation.Cause
	}{
		{s.URL + "/here", ""}, {s.URL + "/moved", ""}, {s.URL + "/secret", ""}, {secure.URL + "/x", ""}, {"cdrom:[Debian]/x", ""}, {"file:/local.deb", ""},
		{s.URL + "/vanished", installation.ContentUnavailable}, {s.URL + "/ill", installation.ContentUnavailable}, {gone.URL + "/x", installation.ContentUnavailable},
		{"file:/vanished.deb", installation.ContentUnavailable}, {s.URL + "/other", installation.DigestMismatch},
	} {
		change := wire.Change{Op: wire.OpUpgrade, Name: "x", Arch: "all", Version: "1", Size: 100}
		got, err := newAsking(root, aptConfig{}).all(t.Context(), []wire.Change{change}, map[string]uri{"x_1_all.deb": {c.address, 100}})
		var cause installation.Cause
		if len(got) > 0 {
			cause = got[0].Cause
		}
		if err != nil || cause != c.want {
			t.Errorf("%s: %q, %v, want %q", c.address, cause, err, c.want)
		}
	}
}

func TestForesee_ASourceThatDoesNotAnswerIsAskedOnce(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	q := newAsking("", aptConfig{})
	_, first := q.size(t.Context(), gone.URL+"/a")
	_, second := q.size(t.Context(), gone.URL+"/b")
	if first == nil || first.Error() != second.Error() || errors.Is(second, fs.ErrNotExist) {
		t.Errorf("%v, then %v", first, second)
	}
}

func TestForesee_GoesThroughTheProxyThatAptGoesThrough(t *testing.T) {
	conf := aptConfig{}
	if err := conf.parse(`Acquire::http::Proxy "http://proxy:3128"; Acquire::http::Proxy::inside.example "DIRECT"; Acquire::https::Proxy "http://secure:1";`); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{"http://deb.example/x": "http://proxy:3128", "http://inside.example/x": "", "https://deb.example/x": "http://secure:1"} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if p, err := proxyFor(conf, u); err != nil {
			t.Error(err)
		} else if p != nil {
			got = p.String()
		}
		if got != want {
			t.Errorf("%s goes through %q, want %q", address, got, want)
		}
	}
}

func TestConffiles_OfAPackageFileAreFoundByTheirPath(t *testing.T) {
	if _, ok := parseConffile(" /etc/old 0123456789abcdef0123456789abcdef obsolete"); ok {
		t.Error("a file that the package does not own any more counts")
	}
	f, ok := parseConffile(" /etc/a.conf 0123456789abcdef0123456789abcdef")
	if !ok || f != (conffile{"/etc/a.conf", "0123456789abcdef0123456789abcdef"}) {
		t.Errorf("%+v %v", f, ok)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range map[string]string{"./etc/a.conf": "new", "./usr/bin/a": "program"} {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o644}), write(w, text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sum := md5.Sum([]byte("new"))
	got, err := pickSums(&b, []conffile{f, {Path: "/etc/absent"}})
	if diff := cmp.Diff(map[string]string{"/etc/a.conf": hex.EncodeToString(sum[:])}, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if _, err := pickSums(strings.NewReader("no tar at all, and long enough to be taken for the beginning of a header"+strings.Repeat("x", 600)), []conffile{f}); err == nil {
		t.Error("what is no tar was read")
	}
}

func write(w *tar.Writer, text string) error {
	_, err := w.Write([]byte(text))
	return err
}
