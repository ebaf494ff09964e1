package packages

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/content"
	"assent/fault"
	"assent/lab/debrepo"
	"assent/server/internal/auth"
)

// desk is the service over a book with one package, a few files and tokens that are counted.
type desk struct {
	*Service
	row    client.PackageRow
	made   catalog.Release // what CreateAgentPackage was asked for
	files  map[string]string
	closed int
	tokens []client.TokenRequest
	denied error
}

func newDesk(t *testing.T, row client.PackageRow, texts ...string) *desk {
	t.Helper()
	d := &desk{row: row, files: map[string]string{}}
	for _, text := range texts {
		d.files[item("", "", "", "", text).SHA256] = text
	}
	var err error
	d.Service, err = New(Config{Book: book{d}, Files: files{d}, Tokens: tokens{d}, Dir: t.TempDir(), Server: "https://assent.test:8443", CA: strings.Repeat("c", 64)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

type book struct{ *desk }

func (b book) Packages(context.Context, auth.Actor) (client.List[client.PackageRow], error) {
	return client.List[client.PackageRow]{Items: []client.PackageRow{b.row}}, nil
}
func (b book) Package(context.Context, auth.Actor, string) (client.PackageRow, error) {
	return b.row, nil
}
func (b book) CreatePackage(context.Context, auth.Actor, client.PackageRequest) (client.PackageRow, error) {
	return b.row, nil
}
func (b book) CreateAgentPackage(_ context.Context, _ auth.Actor, _ client.PackageRequest, r catalog.Release) (client.PackageRow, error) {
	b.made = r
	b.row = client.PackageRow{ID: "p1", Name: "Agent", Update: client.UpdateRef{ID: r.ID(), Name: r.Name, Version: r.Version}, Builds: []client.PackageBuild{}}
	b.desk.made, b.desk.row = b.made, b.row
	return b.row, nil
}
func (b book) DeletePackage(context.Context, auth.Actor, string) (client.Act, error) {
	return client.Act{}, nil
}
func (b book) MayHandOut(context.Context, auth.Actor, client.PackageRow) error { return b.denied }

type files struct{ *desk }

func (f files) Open(_ context.Context, sha256 string) (content.File, error) {
	text, ok := f.desk.files[sha256]
	if !ok {
		return nil, content.ErrUnknown
	}
	return payloadOf(text, &f.desk.closed), nil
}

type tokens struct{ *desk }

func (k tokens) CreateToken(_ context.Context, _ auth.Actor, r client.TokenRequest) (client.TokenRow, error) {
	k.desk.tokens = append(k.desk.tokens, r)
	return client.TokenRow{ID: "abcd1234", Group: "Web Shop", Text: "assent1-abcd1234-s-c", Expires: time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)}, nil
}

var who = auth.Actor{Name: "ada"}

func (d *desk) download(t *testing.T, r client.PackageDownload) (client.Download, []byte) {
	t.Helper()
	got, err := d.Download(t.Context(), who, "p1", r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(got.Body)
	if err != nil || int64(len(b)) != got.Size {
		t.Fatalf("%d bytes of %d: %v", len(b), got.Size, err)
	}
	if err := got.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return got, b
}

// wants demands a refusal.
func wants(t *testing.T, err error, code string) {
	t.Helper()
	if f := fault.From(err); f == nil || f.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestDownload_OnePackageIsTheVendorsFileByteForByte(t *testing.T) {
	f := item("ledger", "1.0", "amd64", "", "the vendor's bytes")
	d := newDesk(t, client.PackageRow{ID: "p1", Feed: "acme", Builds: []client.PackageBuild{{Arch: "amd64", File: "ledger_1.0_amd64.deb", Files: []client.PackageFile{f}}}}, "the vendor's bytes")
	got, b := d.download(t, client.PackageDownload{})
	if string(b) != "the vendor's bytes" || got.Name != "ledger_1.0_amd64.deb" || got.SHA256 != f.SHA256 || d.closed != 1 || got.Token != "" || len(d.tokens) != 0 {
		t.Errorf("%+v %q, %d closed", got, b, d.closed)
	}
}

func TestDownload_EverythingElseIsAScriptWithAnArchiveBehindIt(t *testing.T) {
	one, two := item("runtime", "3.0", "all", "", "runtime"), item("ledgerd", "1.0", "amd64", catalog.Tar, "tree")
	d := newDesk(t, client.PackageRow{ID: "p1", Name: "Ledger", Feed: "acme", Builds: []client.PackageBuild{{Arch: "amd64", File: "ledgerd-1.0-amd64.sh", Files: []client.PackageFile{one, two}}}}, "runtime", "tree")
	_, b := d.download(t, client.PackageDownload{Arch: "amd64"})
	_, archive, _ := bytes.Cut(b, []byte("\nmain \"$@\"\nexit\n"))
	r := tar.NewReader(bytes.NewReader(archive))
	for _, want := range []string{"1.deb=runtime", "2.payload=tree"} {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil || h.Name+"="+string(text) != want {
			t.Errorf("%s=%s, want %s: %v", h.Name, text, want, err)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last file: %v", err)
	}
	if d.closed != 2 {
		t.Errorf("%d payloads were closed", d.closed)
	}
}

func TestDownload_OfTheAgentCarriesATokenThatTheLedgerTiesToTheFile(t *testing.T) {
	f := item("assent-agent", "1.0", "amd64", "", "agent")
	d := newDesk(t, client.PackageRow{ID: "p1", Feed: "assent", Enrols: true, GroupID: "g-web", Builds: []client.PackageBuild{{Arch: "amd64", File: "assent-agent-1.0-amd64.sh", Files: []client.PackageFile{f}}}}, "agent")
	got, b := d.download(t, client.PackageDownload{TTL: 5 * time.Minute})
	if len(d.tokens) != 1 || d.tokens[0].Uses != 1 || d.tokens[0].Group != "g-web" || d.tokens[0].TTL != 5*time.Minute || !strings.Contains(d.tokens[0].Note, "p1") || !strings.Contains(d.tokens[0].Note, f.SHA256) {
		t.Errorf("token: %+v", d.tokens)
	}
	if got.Name != "assent-enrol-web-shop.sh" || got.Token != "abcd1234" || got.Until.IsZero() || got.SHA256 != "" {
		t.Errorf("%+v", got)
	}
	for _, want := range []string{"kit_token='assent1-abcd1234-s-c'", "kit_server='https://assent.test:8443'", "kit_ca='cccc", "kit_group='Web Shop'"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the script does not have %q", want)
		}
	}
}

func TestDownload_IsRefusedBeforeAFileIsOpenedOrATokenMade(t *testing.T) {
	f := item("x", "1", "amd64", "", "x")
	g := item("x", "1", "arm64", "", "x")
	builds := []client.PackageBuild{{Arch: "amd64", File: "a.sh", Files: []client.PackageFile{f}}, {Arch: "arm64", File: "b.sh", Files: []client.PackageFile{g}}}
	for name, c := range map[string]struct {
		row    client.PackageRow
		ask    client.PackageDownload
		denied error
		code   string
	}{
		"withheld":         {client.PackageRow{Builds: builds, Enrols: true, Refused: &client.Refusal{Code: "declined", Message: "No."}}, client.PackageDownload{Arch: "amd64"}, nil, "declined"},
		"may not":          {client.PackageRow{Builds: builds, Enrols: true}, client.PackageDownload{Arch: "amd64"}, fault.New(fault.Forbidden, "role_missing", "No."), "role_missing"},
		"which one":        {client.PackageRow{Builds: builds, Enrols: true}, client.PackageDownload{}, nil, "arch_missing"},
		"no such platform": {client.PackageRow{Builds: builds, Enrols: true}, client.PackageDownload{Arch: "s390x"}, nil, "no_payload"},
		"nothing at all":   {client.PackageRow{Enrols: true}, client.PackageDownload{Arch: "amd64"}, nil, "no_payload"},
		"useless ttl":      {client.PackageRow{Builds: builds}, client.PackageDownload{Arch: "amd64", TTL: time.Hour}, nil, "ttl_useless"},
		"not there":        {client.PackageRow{Builds: []client.PackageBuild{{Arch: "all", Files: []client.PackageFile{item("y", "1", "all", "", "gone")}}}, Enrols: true}, client.PackageDownload{}, nil, "content_unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			c.row.Feed = "acme"
			d := newDesk(t, c.row, "x")
			d.denied = c.denied
			_, err := d.Download(t.Context(), who, "p1", c.ask)
			wants(t, err, c.code)
			if len(d.tokens) != 0 || d.closed != 0 {
				t.Errorf("%d tokens were made, %d files opened", len(d.tokens), d.closed)
			}
		})
	}
}

// put puts a Debian package into the directory of packages.
func (d *desk) put(t *testing.T, name string, p debrepo.Package) {
	t.Helper()
	b, err := debrepo.Deb(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheAgentOnTheServerIsFoundByWhatItIs(t *testing.T) {
	d := newDesk(t, client.PackageRow{})
	_, err := d.CreatePackage(t.Context(), who, client.PackageRequest{Agent: true})
	wants(t, err, "agent_missing")
	_, err = d.CreatePackage(t.Context(), who, client.PackageRequest{Agent: true, Update: "u1"})
	wants(t, err, "package_twice")
	d.put(t, "assent-agent_1.9_amd64.deb", debrepo.Package{Name: "assent-agent", Version: "1.9", Arch: "amd64"})
	d.put(t, "assent-agent_1.10_amd64.deb", debrepo.Package{Name: "assent-agent", Version: "1.10", Arch: "amd64"})
	d.put(t, "assent-agent_1.10_arm64.deb", debrepo.Package{Name: "assent-agent", Version: "1.10", Arch: "arm64"})
	row, err := d.CreatePackage(t.Context(), who, client.PackageRequest{Agent: true})
	if err != nil || d.made.Version != "1.10" || len(row.Builds) != 2 || row.Builds[0].Arch != "amd64" || !row.Enrols || row.Refused != nil {
		t.Fatalf("%+v, %v", row, err)
	}
	got, _ := d.download(t, client.PackageDownload{Arch: "arm64"})
	if len(d.tokens) != 1 || d.tokens[0].Group != "root" || got.Token == "" {
		t.Errorf("%+v %+v", got, d.tokens)
	}
	for _, name := range []string{"assent-agent_1.10_amd64.deb", "assent-agent_1.10_arm64.deb"} {
		if err := os.Remove(filepath.Join(d.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = d.Download(t.Context(), who, "p1", client.PackageDownload{Arch: "amd64"})
	wants(t, err, "agent_missing")
	d.put(t, "assent-agent_2_amd64.deb", debrepo.Package{Name: "something-else", Version: "2", Arch: "amd64"})
	_, err = d.Download(t.Context(), who, "p1", client.PackageDownload{Arch: "amd64"})
	wants(t, err, "agent_unreadable")
}
