package journal

import (
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strings"
	"testing"

	"assent/catalog"
	"assent/installation"
)

// TestAJournalOfAnEarlierAgentIsReadWithWhatIsInTheAir has the lines as the first agents wrote them: a rollback in the
// air, and an install before it.
func TestAJournalOfAnEarlierAgentIsReadWithWhatIsInTheAir(t *testing.T) {
	var lines strings.Builder
	for _, body := range []string{
		`{"reports":[{"id":"1","at":"2026-11-23T12:00:00Z","update":"u1","state":"installed"}],"tries":{"u1":{"plan":"p","count":0}}}`,
		`{"reports":[{"id":"2","at":"2026-11-23T12:01:00Z","update":"u2","state":"removing"}],"tries":{"u2":{"plan":"act 9","count":1,"next":"2026-11-23T12:02:00Z"}},` +
			`"flight":{"id":"f","plan":"p","counter":4,"rollback":true,"started":"2026-11-23T12:01:00Z","parts":[{"update":"u2","act":9,"items":[{"name":"app","arch":"amd64","version":"1","size":3,"sha256":"aa"}]}],"changes":[],"restart":null}}`,
	} {
		fmt.Fprintf(&lines, "%08x %s\n", crc32.ChecksumIEEE([]byte(body)), body)
	}
	d := openDir(t, filepath.Join(t.TempDir(), "s"))
	if err := d.Write(file, []byte(lines.String())); err != nil {
		t.Fatal(err)
	}
	j := open(t, d)
	f := j.Flight()
	if f == nil || !f.Rollback || f.Removal || len(f.Parts) != 1 || f.Parts[0].Probe != nil || f.Parts[0].Release != (catalog.Release{}) || f.Parts[0].Act != 9 {
		t.Fatalf("flight %+v", f)
	}
	if e := j.Entry("u1"); e.State != installation.Installed || j.Entry("u2").Try.Count != 1 || len(j.Outbox(1<<20)) != 2 {
		t.Errorf("entry %+v, outbox %v", e, j.Outbox(1<<20))
	}
	if err := j.Write(Record{Landed: "f", Flight: &Flight{ID: "g", Removal: true}}); err != nil || !j.Flight().Removal {
		t.Errorf("%+v %v", j.Flight(), err)
	}
}
