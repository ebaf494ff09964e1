package debrepo

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func openTest(t *testing.T) *Repo {
	t.Helper()
	r, err := Open(t.TempDir(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func app(version string) Package {
	return Package{
		Name: "acme-app", Version: version, Arch: HostArch(), Source: "acme", SourceVersion: "9",
		Depends:   "libc6",
		Files:     map[string]string{"/usr/bin/acme-app": "#!/bin/sh\necho " + version + "\n", "/etc/acme-app.conf": "a=1\n"},
		Conffiles: []string{"/etc/acme-app.conf"},
		PostInst:  "#!/bin/sh\nexit 0\n", Pad: 5000,
	}
}

func publish(t *testing.T, r *Repo, s Suite) {
	t.Helper()
	if err := r.Publish(s); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	return string(out), err
}

func TestDeb_IsDeterministicAndReadByDpkgDeb(t *testing.T) {
	first, err := Deb(app("1.0"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Deb(app("1.0"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("two builds of one package differ")
	}
	file := filepath.Join(t.TempDir(), "a.deb")
	if err := os.WriteFile(file, first, 0o600); err != nil {
		t.Fatal(err)
	}
	fields, err := run(t, "dpkg-deb", "-f", file, "Package", "Version", "Source", "Depends")
	if want := "Package: acme-app\nVersion: 1.0\nSource: acme (9)\nDepends: libc6\n"; err != nil || fields != want {
		t.Errorf("dpkg-deb -f: %v\n%s", err, fields)
	}
	list, err := run(t, "dpkg-deb", "-c", file)
	if err != nil || !strings.Contains(list, "-rwxr-xr-x root/root") || !strings.Contains(list, "./etc/acme-app.conf") {
		t.Errorf("dpkg-deb -c: %v\n%s", err, list)
	}
	info, err := run(t, "dpkg-deb", "-I", file)
	if err != nil || !strings.Contains(info, "conffiles") || !strings.Contains(info, "postinst") {
		t.Errorf("dpkg-deb -I: %v\n%s", err, info)
	}
}

func TestDeb_RefusesWhatNoArchiveWouldCarry(t *testing.T) {
	for name, p := range map[string]Package{
		"no name":           {Version: "1"},
		"bad version":       {Name: "app", Version: "one"},
		"relative file":     {Name: "app", Version: "1", Files: map[string]string{"etc/a": ""}},
		"stray conffile":    {Name: "app", Version: "1", Conffiles: []string{"/etc/a"}},
		"field with break":  {Name: "app", Version: "1", Depends: "a\nEssential: yes"},
		"phased everywhere": {Name: "app", Version: "1", Phased: 100},
	} {
		if _, err := Deb(p); err == nil {
			t.Errorf("%s: built", name)
		}
	}
}

// verify runs Debian's gpgv on the published InRelease with the repository's key.
func verify(t *testing.T, r *Repo) (string, error) {
	t.Helper()
	public, err := r.Key().Public()
	if err != nil {
		t.Fatal(err)
	}
	armoured := filepath.Join(t.TempDir(), "key.asc")
	if err := os.WriteFile(armoured, public, 0o600); err != nil {
		t.Fatal(err)
	}
	ring := armoured + ".gpg"
	if out, err := run(t, "gpg", "--homedir", t.TempDir(), "-o", ring, "--dearmor", armoured); err != nil {
		t.Fatalf("dearmor: %v\n%s", err, out)
	}
	return run(t, "gpgv", "--keyring", ring, r.public("dists/acme/InRelease"))
}

func TestPublish_SignatureIsGoodForGpgvAndEverySealFailsIt(t *testing.T) {
	r := openTest(t)
	publish(t, r, Suite{Name: "acme", Packages: []Package{app("1.0")}})
	if out, err := verify(t, r); err != nil {
		t.Fatalf("good seal: %v\n%s", err, out)
	}
	for seal, want := range map[Seal]string{WrongKey: "No public key", BadSignature: "BAD signature"} {
		publish(t, r, Suite{Name: "acme", Seal: seal})
		if out, err := verify(t, r); err == nil || !strings.Contains(out, want) {
			t.Errorf("seal %d: %v\n%s", seal, err, out)
		}
	}
	publish(t, r, Suite{Name: "acme", Seal: Unsigned})
	if _, err := os.Stat(r.public("dists/acme/InRelease")); err == nil {
		t.Error("unsigned suite still has an InRelease")
	}
}

func TestPublish_EachStateIsNewerThanAptCanConfuse(t *testing.T) {
	r := openTest(t)
	srv := httptest.NewServer(r.Handler())
	defer srv.Close()
	var last string
	for _, v := range []string{"1.0", "1.1", "1.0"} {
		publish(t, r, Suite{Name: "acme", Packages: []Package{app(v)}})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/dists/acme/InRelease", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-Modified-Since", last)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("state with %s: status %d", v, res.StatusCode)
		}
		last = res.Header.Get("Last-Modified")
	}
}

func TestPublish_ManyVersionsAndReopenedRepositoryKeepsItsKey(t *testing.T) {
	r := openTest(t)
	publish(t, r, Suite{Name: "acme", Packages: []Package{app("1.0"), app("1:1.1"), app("2.0")}})
	index, err := os.ReadFile(r.public("dists/acme/main/binary-" + HostArch() + "/Packages"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(index, []byte("Package: acme-app\n")); n != 3 {
		t.Errorf("%d versions in the index, want 3", n)
	}
	again, err := Open(r.Dir(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	if again.Key().Fingerprint() != r.Key().Fingerprint() {
		t.Error("a reopened repository has another key")
	}
	if _, err := again.Pool("acme-app", "1:1.1"); err != nil {
		t.Error(err)
	}
}

func TestHandler_FaultsActFromTheNextRequestAndEnd(t *testing.T) {
	r := openTest(t)
	publish(t, r, Suite{Name: "acme", Packages: []Package{app("1.0")}})
	srv := httptest.NewServer(r.Handler())
	defer srv.Close()
	client := &http.Client{Timeout: 300 * time.Millisecond}
	fetch := func() (int, error) {
		res, err := client.Get(srv.URL + "/dists/acme/Release")
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		var body bytes.Buffer
		_, err = body.ReadFrom(res.Body)
		return res.StatusCode, err
	}
	for kind, fails := range map[FaultKind]bool{Hang: true, Slow: true, Cut: true} {
		if err := r.SetFaults(Fault{Match: "Release", Kind: kind}); err != nil {
			t.Fatal(err)
		}
		if _, err := fetch(); (err != nil) != fails {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if err := r.SetFaults(Fault{Kind: Status, Code: 503}); err != nil {
		t.Fatal(err)
	}
	if code, err := fetch(); code != 503 {
		t.Errorf("status fault: %d %v", code, err)
	}
	if err := r.SetFaults(); err != nil {
		t.Fatal(err)
	}
	if code, err := fetch(); code != 200 || err != nil {
		t.Errorf("without faults: %d %v", code, err)
	}
	if err := r.SetFaults(Fault{Kind: "sulk"}); err == nil {
		t.Error("an unknown fault was accepted")
	}
}

func TestHandler_ServesNothingOutsideThePublicTree(t *testing.T) {
	r := openTest(t)
	srv := httptest.NewServer(r.Handler())
	defer srv.Close()
	for _, name := range []string{"/../private/signing.asc", "/%2e%2e/private/signing.asc", "/dists"} {
		res, err := http.Get(srv.URL + name)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d", name, res.StatusCode)
		}
	}
}
