package packages

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/catalog"
	"assent/client"
	"assent/content"
)

// inMemory is an open file that counts how often it is closed.
type inMemory struct {
	*bytes.Reader
	closed *int
}

func (m inMemory) Close() error { *m.closed++; return nil }
func (m inMemory) Size() int64  { return m.Reader.Size() }

func payloadOf(text string, closed *int) content.File {
	return inMemory{bytes.NewReader([]byte(text)), closed}
}

func item(name, version, arch string, format catalog.Format, text string) client.PackageFile {
	sum := sha256.Sum256([]byte(text))
	return client.PackageFile{Item: catalog.Item{Name: name, Version: version, Arch: arch, Format: format, Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:])}}
}

// mixed is a kit with one of everything.
func mixed() (kit, []string) {
	texts := []string{"runtime", strings.Repeat("ledger", 1000), "the tree", "the signatures"}
	return kit{Title: "Acme's `Ledger` $(reboot)\n\"; rm -rf /", Feed: "acme", Build: client.PackageBuild{Arch: "all", Files: []client.PackageFile{
		item("runtime", "3.0", "all", "", texts[0]), item("acme-ledger", "1:1.0~rc1", "all", "", texts[1]),
		item("ledgerd", "1.0.0", "all", catalog.Tar, texts[2]), item("signatures", "2026.11", "all", catalog.ContentFile, texts[3])}},
		Enrol: &enrolment{Server: "https://assent.test:8443", CA: strings.Repeat("c", 64), Group: "Bob's", ID: "abcd1234", Token: "assent1-abcd1234-s-c", Until: time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)}}, texts
}

func built(t *testing.T, k kit, texts []string) []byte {
	t.Helper()
	closed := 0
	var files []content.File
	for _, text := range texts {
		files = append(files, payloadOf(text, &closed))
	}
	r, size, err := assemble(k, files)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || int64(len(b)) != size {
		t.Fatalf("%d bytes, announced %d: %v", len(b), size, err)
	}
	if err := r.Close(); err != nil || closed != len(files) {
		t.Fatalf("%d of %d payloads were closed: %v", closed, len(files), err)
	}
	return b
}

// run writes a script and runs it with a real shell, as nobody in particular.
func run(t *testing.T, script []byte, args ...string) (string, int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "it's a file.sh")
	if err := os.WriteFile(path, script, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{path}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestAScriptUnpacksToExactlyTheFilesThatWereSigned(t *testing.T) {
	k, texts := mixed()
	whole := built(t, k, texts)
	out, code := run(t, whole, "--check")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	for _, want := range []string{"Acme's `Ledger` $(reboot)", "acme-ledger 1:1.0~rc1 all  SHA-256 " + k.Build.Files[1].SHA256, `enrols one machine into "Bob's" with https://assent.test:8443`, "abcd1234 until 2026-11-23 13:00 UTC"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q: %s", want, out)
		}
	}
	if strings.Contains(out, k.Enrol.Token) {
		t.Error("--check shows the token")
	}
	if !bytes.Equal(whole, built(t, k, texts)) {
		t.Error("the same files make other bytes")
	}
}

func TestADamagedScriptInstallsNothing(t *testing.T) {
	k, texts := mixed()
	whole := built(t, k, texts)
	head := len(k.head())
	for name, spoil := range map[string]func([]byte) []byte{
		"a byte of a payload":    func(b []byte) []byte { b[head+512+2] ^= 1; return b },
		"a byte of a header":     func(b []byte) []byte { b[head+3] ^= 1; return b },
		"cut off in a payload":   func(b []byte) []byte { return b[:head+600] },
		"cut off in the script":  func(b []byte) []byte { return b[:head-20] },
		"nothing but the script": func(b []byte) []byte { return b[:head] },
	} {
		if out, code := run(t, spoil(bytes.Clone(whole)), "--check"); code == 0 {
			t.Errorf("%s: it is taken for whole: %s", name, out)
		}
	}
	cmd := exec.Command("sh")
	cmd.Stdin = bytes.NewReader(whole)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "save this script") && os.Geteuid() == 0 {
		t.Errorf("through a pipe: %v %s", err, out)
	}
}

func TestTheStepsKeepTheOrderAndPutPackagesIntoOneTransaction(t *testing.T) {
	k, _ := mixed()
	want := `	debs ./1.deb ./2.deb
	have 'runtime' '3.0'
	have 'acme-ledger' '1:1.0~rc1'
	tree 'acme' 'ledgerd' '1.0.0' 3.payload
	data 'acme' 'signatures' '2026.11' 4.payload
`
	if got := k.steps(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestAPayloadThatIsNotWhatWasSignedBreaksTheDownload(t *testing.T) {
	k := kit{Title: "x", Build: client.PackageBuild{Arch: "all", Files: []client.PackageFile{item("x", "1", "all", "", "right")}}}
	closed := 0
	r, _, err := assemble(k, []content.File{payloadOf("wrong", &closed)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, content.ErrMismatch) {
		t.Errorf("read to its end: %v", err)
	}
}

// TestAnyTextIsOneWordOfAShell: the shell gives back what went in.
func TestAnyTextIsOneWordOfAShell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching("[^\x00]{0,40}").Draw(t, "text")
		out, err := exec.Command("sh", "-c", "printf '%s' "+word(s)).Output()
		if err != nil || string(out) != s {
			t.Fatalf("%q became %q: %v", s, out, err)
		}
	})
}

func TestTheScriptIsSoundForAShell(t *testing.T) {
	k, _ := mixed()
	cmd := exec.Command("sh", "-n")
	cmd.Stdin = strings.NewReader(k.head())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
